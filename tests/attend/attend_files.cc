#include "attend/attend_files.h"

#include <algorithm>
#include <cstring>

#include "tensor/random.h"

namespace tessera {

Tensor Normal(const Shape& shape, uint64_t seed, DType dtype) { return TorchGenerator(seed).Randn(shape, dtype); }

Tensor Whole(const std::vector<int32_t>& values, const Shape& shape) {
  Tensor tensor = Tensor::Empty(shape, DType::kI32);
  std::memcpy(tensor.mutable_raw(), values.data(), tensor.bytes());
  return tensor;
}

Tensor Bytes(const std::vector<uint8_t>& values, const Shape& shape) {
  Tensor tensor = Tensor::Empty(shape, DType::kU8);
  std::memcpy(tensor.mutable_raw(), values.data(), tensor.bytes());
  return tensor;
}

NamedTensors Operands() {
  const Shape shape{1, 12, 2, 16};
  return {{"q", Normal(shape, 1)}, {"k", Normal(shape, 2)}, {"v", Normal(shape, 3)}};
}

std::filesystem::path AttendFolder::Write(const std::string& name, const NamedTensors& tensors,
                                          const std::map<std::string, std::string>& metadata) {
  WriteSafetensors(folder_.path() / name, tensors, metadata);
  return folder_.path() / name;
}

testing::CommandResult AttendFolder::Attend(const std::vector<std::string>& more) const {
  std::vector<std::string> words = {TESSERA_BINARY, "attend"};
  const std::pair<std::string, std::string> usual[] = {
      {"--input", At("in.safetensors")}, {"--output", At("out.safetensors")}, {"--runs", "1"}};
  for (const auto& [flag, value] : usual) {
    if (std::find(more.begin(), more.end(), flag) == more.end()) words.insert(words.end(), {flag, value});
  }
  words.insert(words.end(), more.begin(), more.end());
  return testing::RunCommand(words);
}

}  // namespace tessera
