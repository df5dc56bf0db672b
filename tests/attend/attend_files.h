// Files for `tessera attend`, and the program run on them.
#pragma once
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "support/command.h"
#include "support/temporary_folder.h"
#include "tensor/tensor.h"
#include "weights/safetensors.h"

namespace tessera {

using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

Tensor Normal(const Shape& shape, uint64_t seed, DType dtype = DType::kF32);
Tensor Whole(const std::vector<int32_t>& values, const Shape& shape);
Tensor Bytes(const std::vector<uint8_t>& values, const Shape& shape);

// f32 operands of "f32 b1 h2/2 d16 q12 kv12 mask=none".
constexpr const char* kProblem = "f32 b1 h2/2 d16 q12 kv12 mask=none";
NamedTensors Operands();

class AttendFolder {
 public:
  std::filesystem::path Write(const std::string& name, const NamedTensors& tensors,
                              const std::map<std::string, std::string>& metadata = {});
  // tessera attend --input in.safetensors --output out.safetensors MORE, in this folder.
  testing::CommandResult Attend(const std::vector<std::string>& more) const;
  SafetensorsFile Out() const { return SafetensorsFile(folder_.path() / "out.safetensors"); }
  std::string At(const std::string& name) const { return (folder_.path() / name).string(); }
  bool Has(const std::string& name) const { return std::filesystem::exists(folder_.path() / name); }
  const TemporaryFolder& folder() const { return folder_; }

 private:
  TemporaryFolder folder_;
};

}  // namespace tessera
