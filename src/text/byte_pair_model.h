// Byte pair encoding: neighbours are merged, the pair that was learned first before all others.
#pragma once
#include <memory>
#include <string>

#include "text/piece_model.h"

namespace tessera {
std::unique_ptr<PieceModel> MakeBytePairModel(const nlohmann::json& model, const std::string& file);
}  // namespace tessera
