#include "models/checkpoint.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <gtest/gtest.h>

#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"
#include "tensor/random.h"

namespace tessera {

std::filesystem::path GoldenFolder(const std::string& name) {
  return std::filesystem::path(TESSERA_SOURCE_FOLDER) / "tests/golden" / name;
}

Checkpoint::Checkpoint(const std::filesystem::path& file) {
  const SafetensorsFile safetensors(file);
  for (const SafetensorsEntry& entry : safetensors.header().entries) {
    tensors_.emplace_back(entry.key, safetensors.View(entry));
  }
}

std::vector<std::pair<std::string, Tensor>>::iterator Checkpoint::Find(const std::string& key) {
  const auto found = std::ranges::find(tensors_, key, &std::pair<std::string, Tensor>::first);
  if (found == tensors_.end()) throw std::runtime_error("no tensor " + key);
  return found;
}

Checkpoint& Checkpoint::Scale(const std::string& key, float factor) {
  Tensor& tensor = Find(key)->second;
  tensor = tensor.Clone();
  float* value = tensor.mutable_data<float>();
  for (int64_t i = 0; i < tensor.numel(); i += 2) value[i] *= factor;
  return *this;
}

Checkpoint& Checkpoint::Fill(const std::string& key, float value) {
  Tensor& tensor = Find(key)->second;
  tensor = Tensor::Empty(tensor.shape(), DType::kF32);
  std::fill_n(tensor.mutable_data<float>(), tensor.numel(), value);
  return *this;
}

Checkpoint& Checkpoint::Remove(const std::string& key) {
  tensors_.erase(Find(key));
  return *this;
}

Checkpoint& Checkpoint::Add(const std::string& key, Tensor tensor) {
  tensors_.emplace_back(key, std::move(tensor));
  return *this;
}

Checkpoint& Checkpoint::AddPrefix(const std::string& prefix) {
  for (auto& [key, tensor] : tensors_) key = prefix + key;
  return *this;
}

Checkpoint& Checkpoint::StripPrefix(const std::string& prefix) {
  for (auto& [key, tensor] : tensors_) {
    if (key.starts_with(prefix)) key.erase(0, prefix.size());
  }
  return *this;
}

Checkpoint& Checkpoint::Convert(DType dtype) {
  for (auto& [key, tensor] : tensors_) {
    if (tensor.dtype() == DType::kF32) tensor = tensor.To(dtype);
  }
  return *this;
}

const Tensor& Checkpoint::at(const std::string& key) const { return const_cast<Checkpoint*>(this)->Find(key)->second; }

WeightMap Checkpoint::Map(const std::string& component) const {
  WeightMap weights(component);
  for (const auto& [key, tensor] : tensors_) weights.Insert(key, tensor, "model.safetensors");
  return weights;
}

nlohmann::json Without(const nlohmann::json& json, const std::string& key) {
  nlohmann::json copy = json;
  copy.erase(key);
  return copy;
}

Config ConfigWith(const Config& config, const std::string& key, const nlohmann::json& value) {
  nlohmann::json json = Without(config.json(), key);
  if (!value.is_null()) json[key] = value;
  return {std::move(json), config.file()};
}

double Cosine(const Tensor& got, const Tensor& want) {
  EXPECT_EQ(got.numel(), want.numel());
  const Tensor a = got.To(DType::kF32), b = want.To(DType::kF32);
  double ab = 0, aa = 0, bb = 0;
  for (int64_t i = 0; i < std::min(a.numel(), b.numel()); ++i) {
    const double x = a.data<float>()[i], y = b.data<float>()[i];
    ab += x * y;
    aa += x * x;
    bb += y * y;
  }
  return ab / std::sqrt(aa * bb);
}

bool SameBytes(const Tensor& a, const Tensor& b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

TestContext::TestContext() : attention(CpuDevice(), AttentionSchedule()) {}

ScopedThreads::ScopedThreads(int threads) { SetThreads(threads); }
ScopedThreads::~ScopedThreads() { SetThreads(0); }

Tensor RandomTensor(const Shape& shape, uint64_t seed) { return TorchGenerator(seed).Randn(shape, DType::kF32); }

}  // namespace tessera
