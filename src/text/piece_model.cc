#include "text/piece_model.h"

#include "base/config.h"
#include "text/byte_pair_model.h"
#include "text/tokenizer_part.h"

namespace tessera {

std::unique_ptr<PieceModel> MakePieceModel(const nlohmann::json& model, const std::string& file) {
  // Old files have no type; only byte pair models have merges.
  const std::string type = model.value("type", model.contains("merges") ? nlohmann::json("BPE") : nlohmann::json());
  if (type == "BPE") return MakeBytePairModel(model, file);
  RefuseType(Config({{"type", type}}, file), "model", "BPE");
}

}  // namespace tessera
