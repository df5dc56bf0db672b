// The tensors of one component: named views into mapped files, each consumed exactly once.
#pragma once
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace tessera {

// Owns the mappings. Loading code takes every tensor by name; Finish() fails when something is missing or left over.
class WeightMap {
 public:
  // `name`: for messages, for example "transformer".
  explicit WeightMap(std::string name) : name_(std::move(name)) {}

  // Throws Error{kFormat} for a name that is there twice.
  void Insert(std::string key, Tensor tensor, std::string file);

  // Removes a prefix from every key that has it ("model.", "language_model.model.", as some checkpoints write).
  void StripPrefix(std::string_view prefix);
  // Marks tensors as deliberately unused: exact names, or prefixes ending in '*'.
  void Ignore(std::string_view pattern);

  bool Contains(std::string_view key) const;
  // Shape and dtype without consuming. Throws Error{kFormat} when missing (naming near names).
  const Tensor& Peek(const std::string& key) const;

  // The tensor as it lies in the file (read-only view). Throws Error{kFormat} when the name is missing or the shape
  // differs; consuming twice is a bug. Shape checks always say key, file, found and expected shape.
  Tensor Take(const std::string& key, const Shape& shape);
  // Converted to f32 (a copy): for norms, biases, statistics. Throws Error{kUnsupported} for 8-bit floats.
  Tensor TakeF32(const std::string& key, const Shape& shape);

  // Throws Error{kFormat} naming a few of the tensors that nobody took and how many there are.
  void Finish() const;

  const std::string& name() const noexcept { return name_; }
  size_t total_bytes() const noexcept;
  size_t size() const noexcept { return entries_.size(); }
  // The float type most weight bytes have: what "the checkpoint's type" means.
  DType MainDType() const noexcept;
  std::vector<std::string> Keys() const;

 private:
  enum class Use { kUnused, kTaken, kIgnored };
  struct Entry {
    Tensor tensor;
    std::string file;
    Use use = Use::kUnused;
  };
  Entry& Find(const std::string& key);
  std::string name_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace tessera
