#include "weights/weight_map.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr size_t kNamedKeys = 4;

bool IsFloat(DType dtype) {
  using enum DType;
  constexpr std::array kFloats{kF64, kF32, kBF16, kF16, kF8E4M3, kF8E5M2};
  return std::ranges::find(kFloats, dtype) != kFloats.end();
}

}  // namespace

void WeightMap::Insert(std::string key, Tensor tensor, std::string file) {
  const auto [place, is_first] = entries_.try_emplace(std::move(key));
  if (!is_first) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: tensor '{}' is in '{}' and in '{}'", name_, Printable(place->first),
                            Printable(place->second.file, 400), Printable(file, 400)));
  }
  place->second = {std::move(tensor), std::move(file)};
}

void WeightMap::StripPrefix(std::string_view prefix) {
  std::vector<std::string> keys;
  for (auto entry = entries_.lower_bound(prefix); entry != entries_.end() && entry->first.starts_with(prefix);
       ++entry) {
    keys.push_back(entry->first);
  }
  std::vector<decltype(entries_)::node_type> nodes;
  for (const std::string& key : keys) nodes.push_back(entries_.extract(key));
  for (auto& node : nodes) {
    node.key().erase(0, prefix.size());
    const auto result = entries_.insert(std::move(node));
    if (!result.inserted) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: tensor '{}' is there with and without the prefix '{}'", name_,
                                                  Printable(result.position->first), Printable(prefix)));
    }
  }
}

void WeightMap::Ignore(std::string_view pattern) {
  const bool is_prefix = pattern.ends_with('*');
  if (is_prefix) pattern.remove_suffix(1);
  for (auto entry = entries_.lower_bound(pattern); entry != entries_.end(); ++entry) {
    if (is_prefix ? !entry->first.starts_with(pattern) : entry->first != pattern) break;
    if (entry->second.use == Use::kUnused) entry->second.use = Use::kIgnored;
  }
}

bool WeightMap::Contains(std::string_view key) const { return entries_.contains(key); }

const Tensor& WeightMap::Peek(const std::string& key) const { return const_cast<WeightMap*>(this)->Find(key).tensor; }

WeightMap::Entry& WeightMap::Find(const std::string& key) {
  const auto place = entries_.find(key);
  if (place != entries_.end()) return place->second;
  std::string message = fmt::format("{}: tensor '{}' is missing", name_, Printable(key));
  const std::vector<std::string> keys = Keys();
  if (const auto near = Nearest(key, keys)) message += fmt::format("; there is '{}'", Printable(*near));
  if (keys.empty()) message += "; there are no tensors at all";
  throw Error(ErrorKind::kFormat, message);
}

Tensor WeightMap::Take(const std::string& key, const Shape& shape) {
  Entry& entry = Find(key);
  if (!(entry.tensor.shape() == shape)) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{}: tensor '{}' of '{}' has the shape {}, expected {}", name_, Printable(key),
                            Printable(entry.file, 400), entry.tensor.shape().ToString(), shape.ToString()));
  }
  TESSERA_CHECK(entry.use == Use::kUnused);
  entry.use = Use::kTaken;
  return entry.tensor;
}

Tensor WeightMap::TakeF32(const std::string& key, const Shape& shape) {
  const Tensor tensor = Take(key, shape);
  if (tensor.dtype() == DType::kF8E4M3 || tensor.dtype() == DType::kF8E5M2) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: tensor '{}' is {}; here only bf16, f16 and f32 can be read",
                                                     name_, Printable(key), Name(tensor.dtype())));
  }
  return tensor.To(DType::kF32);
}

void WeightMap::Finish() const {
  std::vector<std::string> names;
  size_t count = 0;
  std::string file;
  for (const auto& [key, entry] : entries_) {
    if (entry.use != Use::kUnused) continue;
    if (count++ == 0) file = entry.file;
    if (names.size() < kNamedKeys) names.push_back(fmt::format("'{}'", Printable(key)));
  }
  if (count == 0) return;
  if (count > names.size()) names.push_back(fmt::format("and {} more", count - names.size()));
  throw Error(ErrorKind::kFormat,
              fmt::format("{}: {} of {} tensors do not belong to this model: {} (the first in '{}')", name_, count,
                          entries_.size(), Join(names, ", "), Printable(file, 400)));
}

size_t WeightMap::total_bytes() const noexcept {
  size_t total = 0;
  for (const auto& [key, entry] : entries_) total += entry.tensor.bytes();
  return total;
}

DType WeightMap::MainDType() const noexcept {
  std::array<size_t, 1 + static_cast<size_t>(DType::kBool)> bytes{};
  for (const auto& [key, entry] : entries_) {
    if (IsFloat(entry.tensor.dtype())) bytes[static_cast<size_t>(entry.tensor.dtype())] += entry.tensor.bytes();
  }
  const auto most = std::ranges::max_element(bytes);
  return *most == 0 ? DType::kF32 : static_cast<DType>(most - bytes.begin());
}

std::vector<std::string> WeightMap::Keys() const {
  std::vector<std::string> keys;
  for (const auto& [key, entry] : entries_) keys.push_back(key);
  return keys;
}

}  // namespace tessera
