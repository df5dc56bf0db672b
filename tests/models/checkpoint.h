// Checkpoints that tests can change before a model loads them, and how far apart two results are.
#pragma once
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "base/config.h"
#include "models/forward_context.h"
#include "support/relative_error.h"
#include "weights/safetensors.h"
#include "weights/weight_map.h"

namespace tessera {

std::filesystem::path GoldenFolder(const std::string& name);

// A component's tensors as they lie in one file.
class Checkpoint {
 public:
  explicit Checkpoint(const std::filesystem::path& file);

  // Every second value of an f32 tensor (a whole projection scaled at once would vanish in a norm).
  Checkpoint& Scale(const std::string& key, float factor);
  Checkpoint& Fill(const std::string& key, float value);
  Checkpoint& Remove(const std::string& key);
  Checkpoint& Add(const std::string& key, Tensor tensor);
  Checkpoint& AddPrefix(const std::string& prefix);  // to every key
  Checkpoint& StripPrefix(const std::string& prefix);
  Checkpoint& Convert(DType dtype);  // of all f32 tensors

  const Tensor& at(const std::string& key) const;
  WeightMap Map(const std::string& component) const;

 private:
  std::vector<std::pair<std::string, Tensor>>::iterator Find(const std::string& key);
  std::vector<std::pair<std::string, Tensor>> tensors_;
};

Config ConfigWith(const Config& config, const std::string& key, const nlohmann::json& value);  // null removes
nlohmann::json Without(const nlohmann::json& json, const std::string& key);

double Cosine(const Tensor& got, const Tensor& want);
bool SameBytes(const Tensor& a, const Tensor& b);

// Fresh scratch and attention with the default schedule.
struct TestContext {
  TestContext();
  ForwardContext forward() { return {workspace, attention}; }
  Workspace workspace;
  AttentionContext attention;
};

// Runs `body` with that many threads and restores the default.
class ScopedThreads {
 public:
  explicit ScopedThreads(int threads);
  ~ScopedThreads();
  ScopedThreads(const ScopedThreads&) = delete;
  ScopedThreads& operator=(const ScopedThreads&) = delete;
};

// Standard normal numbers.
Tensor RandomTensor(const Shape& shape, uint64_t seed);

}  // namespace tessera
