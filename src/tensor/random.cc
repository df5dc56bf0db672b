#include "tensor/random.h"

#include <bit>
#include <cmath>
#include <numbers>
#include <span>

namespace tessera {
namespace {

// The block transform of torch's normal_fill: 8 radii and 8 angles lie side by side.
constexpr int64_t kBlock = 16, kHalf = kBlock / 2;

// Natural logarithm of a normal positive number, with Cephes' polynomial (logf.c) and a fused multiply-add wherever
// g++ forms one in torch's AVX2 build: only then are the last bits torch's.
float CephesLog(float x) noexcept {
  constexpr float kPolynomial[] = {7.0376836292e-2f,  -1.1514610310e-1f, 1.1676998740e-1f,
                                   -1.2420140846e-1f, 1.4249322787e-1f,  -1.6668057665e-1f,
                                   2.0000714765e-1f,  -2.4999993993e-1f, 3.3333331174e-1f};
  constexpr float kLn2High = 0.693359375f, kLn2Low = -2.12194440e-4f;
  const auto bits = std::bit_cast<uint32_t>(x);
  auto exponent = static_cast<float>(static_cast<int>(bits >> 23) - 126);
  float mantissa = std::bit_cast<float>((bits & 0x007FFFFFu) | 0x3F000000u);  // [0.5, 1)
  if (mantissa < std::numbers::sqrt2_v<float> / 2) {
    exponent -= 1.0f;
    mantissa += mantissa - 1.0f;
  } else {
    mantissa -= 1.0f;
  }
  const float square = mantissa * mantissa;
  float y = kPolynomial[0];
  for (const float coefficient : std::span(kPolynomial).subspan(1)) y = std::fma(y, mantissa, coefficient);
  y = std::fma(y * mantissa, square, exponent * kLn2Low);
  y = std::fma(-square, 0.5f, y);
  return std::fma(exponent, kLn2High, mantissa + y);
}

struct SineCosine {
  float sine, cosine;
};

// For 0 <= x < 8192, with Cephes' polynomials (sinf.c); see CephesLog about the fused multiply-adds.
SineCosine CephesSineCosine(float x) noexcept {
  constexpr float kPi4[] = {0.78515625f, 2.4187564849853515625e-4f, 3.77489497744594108e-8f};  // pi/4 in three parts
  const int octant = (static_cast<int>(x * 1.27323954473516f) + 1) & ~1;
  for (const float part : kPi4) x = std::fma(static_cast<float>(octant), -part, x);
  const float square = x * x;
  float even = std::fma(2.443315711809948e-5f, square, -1.388731625493765e-3f);
  even = std::fma(even, square, 4.166664568298827e-2f) * square;
  even = std::fma(even, square, -(square * 0.5f)) + 1.0f;
  float odd = std::fma(-1.9515295891e-4f, square, 8.3321608736e-3f);
  odd = std::fma(odd, square, -1.6666654611e-1f) * square;
  odd = std::fma(odd, x, x);
  const bool swapped = (octant & 2) != 0;
  const float sine = swapped ? even : odd, cosine = swapped ? odd : even;
  return {(octant & 4) != 0 ? -sine : sine, ((octant + 2) & 4) != 0 ? -cosine : cosine};
}

void TransformF32(float* block) noexcept {
  for (int64_t j = 0; j < kHalf; ++j) {
    const float radius = std::sqrt(-2.0f * CephesLog(1.0f - block[j]));
    const SineCosine angle = CephesSineCosine(2.0f * std::numbers::pi_v<float> * block[j + kHalf]);
    block[j] = radius * angle.cosine;
    block[j + kHalf] = radius * angle.sine;
  }
}

float Rounded(double value) noexcept { return ToFloat(ToBFloat16(static_cast<float>(value))); }

// torch has no vector code for bf16: every operation of the formula is rounded to bf16.
void TransformBF16(BFloat16* block) noexcept {
  for (int64_t j = 0; j < kHalf; ++j) {
    const float u1 = Rounded(1.0f - ToFloat(block[j])), u2 = ToFloat(block[j + kHalf]);
    const float radius = Rounded(std::sqrt(Rounded(-2.0f * Rounded(std::log(u1)))));
    const float theta = Rounded(2.0 * std::numbers::pi * static_cast<double>(u2));
    block[j] = ToBFloat16(radius * Rounded(std::cos(theta)));
    block[j + kHalf] = ToBFloat16(radius * Rounded(std::sin(theta)));
  }
}

// All uniforms first, then blocks; the last 16 are drawn again when the count is no multiple of 16.
template <class T, class Draw, class Transform>
void FillBlocks(std::span<T> values, const Draw& draw, const Transform& transform) noexcept {
  for (T& value : values) value = draw();
  const auto count = static_cast<int64_t>(values.size());
  for (int64_t begin = 0; begin + kBlock <= count; begin += kBlock) transform(values.data() + begin);
  if (count % kBlock == 0) return;
  T* tail = values.data() + count - kBlock;
  for (int64_t i = 0; i < kBlock; ++i) tail[i] = draw();
  transform(tail);
}

}  // namespace

TorchGenerator::TorchGenerator(uint64_t seed) : state_{} {
  state_[0] = static_cast<uint32_t>(seed);
  for (size_t i = 1; i < state_.size(); ++i) {
    state_[i] = 1812433253u * (state_[i - 1] ^ (state_[i - 1] >> 30)) + static_cast<uint32_t>(i);
  }
}

// Matsumoto and Nishimura, "Mersenne Twister" (1998), mt19937.
uint32_t TorchGenerator::Next32() noexcept {
  constexpr size_t kSize = 624, kShift = 397;
  if (next_ == static_cast<int>(kSize)) {
    for (size_t i = 0; i < kSize; ++i) {
      const uint32_t mixed = (state_[i] & 0x80000000u) | (state_[i + 1 < kSize ? i + 1 : 0] & 0x7FFFFFFFu);
      const uint32_t twist = (mixed & 1u) != 0 ? 0x9908B0DFu : 0u;
      state_[i] = state_[i + kShift < kSize ? i + kShift : i + kShift - kSize] ^ (mixed >> 1) ^ twist;
    }
    next_ = 0;
  }
  uint32_t y = state_[static_cast<size_t>(next_++)];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9D2C5680u;
  y ^= (y << 15) & 0xEFC60000u;
  return y ^ (y >> 18);
}

// Box-Muller in double precision; the second value of a pair is kept for the next call.
double TorchGenerator::ScalarNormal() noexcept {
  if (cached_normal_) {
    const double value = *cached_normal_;
    cached_normal_.reset();
    return value;
  }
  const auto uniform = [this] {
    const uint64_t high = Next32(), low = Next32();
    return static_cast<double>((high << 32 | low) & ((uint64_t{1} << 53) - 1)) * 0x1p-53;
  };
  const double u1 = uniform(), u2 = uniform();
  const double radius = std::sqrt(-2.0 * std::log1p(-u2)), theta = 2.0 * std::numbers::pi * u1;
  cached_normal_ = radius * std::sin(theta);
  return radius * std::cos(theta);
}

Tensor TorchGenerator::Randn(const Shape& shape, DType dtype) {
  TESSERA_CHECK(dtype == DType::kF32 || dtype == DType::kBF16);
  Tensor result = Tensor::Empty(shape, dtype);
  const int64_t count = result.numel();
  if (dtype == DType::kF32) {
    const std::span values(result.mutable_data<float>(), static_cast<size_t>(count));
    const auto draw = [this] { return static_cast<float>(Next32() & 0xFFFFFFu) * 0x1p-24f; };
    if (count >= kBlock) {
      FillBlocks(values, draw, TransformF32);
    } else {
      for (float& value : values) value = static_cast<float>(ScalarNormal());
    }
  } else {
    const std::span values(result.mutable_data<BFloat16>(), static_cast<size_t>(count));
    const auto draw = [this] { return ToBFloat16(static_cast<float>(Next32() & 0xFFu) * 0x1p-8f); };
    if (count >= kBlock) {
      FillBlocks(values, draw, TransformBF16);
    } else {
      for (BFloat16& value : values) value = ToBFloat16(static_cast<float>(ScalarNormal()));
    }
  }
  return result;
}

Tensor TorchGenerator::Rand(const Shape& shape) {
  Tensor result = Tensor::Empty(shape, DType::kF32);
  float* values = result.mutable_data<float>();
  for (int64_t i = 0; i < result.numel(); ++i) values[i] = static_cast<float>(Next32() & 0xFFFFFFu) * 0x1p-24f;
  return result;
}

}  // namespace tessera
