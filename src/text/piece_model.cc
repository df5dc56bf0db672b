#include "text/piece_model.h"

#include "base/config.h"
#include "text/byte_pair_model.h"
#include "text/tokenizer_part.h"
#include "text/unigram_model.h"

namespace tessera {

std::unique_ptr<PieceModel> MakePieceModel(const nlohmann::json& model, const std::string& file) {
  // Old files have no type; only byte pair models have merges, only Unigram models have scores.
  nlohmann::json part = nlohmann::json::object();
  if (model.contains("type")) part["type"] = model.at("type");
  if (!model.contains("type") && model.contains("merges")) part["type"] = "BPE";
  if (!part.contains("type") && model.contains("vocab") && model.at("vocab").is_array()) part["type"] = "Unigram";
  const Config config(std::move(part), file);
  if (TypeOf(config) == "BPE") return MakeBytePairModel(model, file);
  if (TypeOf(config) == "Unigram") return MakeUnigramModel(model, file);
  RefuseType(config, "model", "BPE and Unigram");
}

}  // namespace tessera
