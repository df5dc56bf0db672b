#include "cli/random_model/random_values.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/check.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr int64_t kBlock = 4194319;  // a prime: no width divides it
constexpr int64_t kGrain = 1 << 16;

// SplitMix64 (Steele, Lea, Flood 2014): the output for a counter.
uint64_t Mix(uint64_t counter) noexcept {
  uint64_t z = counter * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  return z ^ (z >> 31);
}

// Box and Muller's transform of the two halves of a word.
float Normal(uint64_t word) noexcept {
  const double radius = static_cast<double>((word >> 32) + 1) * 0x1p-32;  // (0, 1]
  const double angle = static_cast<double>(word & 0xFFFFFFFFu) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(radius)) * std::cos(2.0 * std::numbers::pi * angle));
}

uint64_t HashOf(std::string_view text) noexcept {  // FNV-1a
  uint64_t hash = 0xCBF29CE484222325u;
  for (char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

struct Affine {
  float scale, offset;
};

Affine AffineOf(const TensorSpec& spec) noexcept {
  if (spec.kind == TensorKind::kScale) return {0.1f, 1.0f};
  if (spec.kind == TensorKind::kOffset) return {0.1f, 0.0f};
  const int64_t inputs = spec.shape.numel() / spec.shape[0];
  return {1.0f / std::sqrt(static_cast<float>(inputs)), 0.0f};
}

template <class T>
void FillFrom(const float* block, const Affine& affine, int64_t count, T* to) noexcept {
  for (int64_t i = 0; i < count; ++i) Store(block[i] * affine.scale + affine.offset, to + i);
}

}  // namespace

RandomValues::RandomValues(uint64_t seed) : seed_(seed), block_(static_cast<size_t>(kBlock)) {
  const uint64_t stream = Mix(seed + 1);
  ParallelFor(kBlock, kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      block_[static_cast<size_t>(i)] = Normal(Mix(stream + static_cast<uint64_t>(i)));
  });
}

void RandomValues::Fill(const TensorSpec& spec, DType dtype, int64_t first, int64_t count, std::byte* to) const {
  if (spec.kind == TensorKind::kCounter) {
    std::fill_n(to, static_cast<size_t>(count) * SizeOf(DType::kI64), std::byte{0});
    return;
  }
  const Affine affine = AffineOf(spec);
  const auto start = static_cast<int64_t>(Mix(seed_ ^ HashOf(spec.name) ^ spec.stream) % static_cast<uint64_t>(kBlock));
  ParallelFor(count, kGrain, [&](int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t place = (start + first + begin) % kBlock;
      const int64_t run = std::min(end - begin, kBlock - place);
      std::byte* const part = to + static_cast<size_t>(begin) * SizeOf(dtype);
      const float* const block = block_.data() + place;
      if (dtype == DType::kF32) {
        FillFrom(block, affine, run, reinterpret_cast<float*>(part));
      } else if (dtype == DType::kBF16) {
        FillFrom(block, affine, run, reinterpret_cast<BFloat16*>(part));
      } else {
        TESSERA_CHECK(dtype == DType::kF16);
        FillFrom(block, affine, run, reinterpret_cast<Float16*>(part));
      }
      begin += run;
    }
  });
}

}  // namespace tessera
