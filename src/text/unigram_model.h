// Unigram language model: the split of a piece whose tokens' log probabilities have the largest sum (Kudo,
// arXiv 1804.10959), as the `tokenizers` library computes it.
#pragma once
#include <memory>
#include <string>

#include "text/piece_model.h"

namespace tessera {
std::unique_ptr<PieceModel> MakeUnigramModel(const nlohmann::json& model, const std::string& file);
}  // namespace tessera
