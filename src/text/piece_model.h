// The model part of a tokenizer.json: pieces of text to ids.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace tessera {

class PieceModel {
 public:
  virtual ~PieceModel() = default;
  virtual void Append(std::string_view piece, std::vector<int32_t>& ids) const = 0;
  virtual std::optional<int32_t> IdOf(std::string_view token) const = 0;
  virtual std::string_view TokenOf(int32_t id) const = 0;  // "" when no token has that id
  virtual int32_t id_limit() const = 0;                    // one more than the largest id
};

// `model` is the member of that name; `file` is for messages. Throws Error{kFormat}, Error{kUnsupported} naming a type
// that is not known.
std::unique_ptr<PieceModel> MakePieceModel(const nlohmann::json& model, const std::string& file);

}  // namespace tessera
