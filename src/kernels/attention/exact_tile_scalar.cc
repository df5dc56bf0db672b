#include <math.h>
#include <stdint.h>
#include <string.h>

namespace tessera {
namespace {

inline float Bf16ToFloat(uint16_t half);
inline float F16ToFloat(uint16_t half);

// Four floats, so that a compiler may use the vector unit every machine of its target has.
struct Vec {
  static constexpr int kLanes = 4;
  float value[kLanes];

  template <class Function>
  static Vec Each(Function function) {
    Vec result;
    for (int i = 0; i < kLanes; ++i) result.value[i] = function(i);
    return result;
  }
  static Vec Set(float x) {
    return Each([&](int) { return x; });
  }
  static Vec Load(const float* from) {
    return Each([&](int i) { return from[i]; });
  }
  static void Store(Vec x, float* to) { memcpy(to, x.value, sizeof x.value); }
  static Vec Add(Vec a, Vec b) {
    return Each([&](int i) { return a.value[i] + b.value[i]; });
  }
  static Vec Sub(Vec a, Vec b) {
    return Each([&](int i) { return a.value[i] - b.value[i]; });
  }
  static Vec Mul(Vec a, Vec b) {
    return Each([&](int i) { return a.value[i] * b.value[i]; });
  }
  static Vec MulAdd(Vec a, Vec b, Vec c) { return Add(Mul(a, b), c); }
  static Vec Max(Vec a, Vec b) {
    return Each([&](int i) { return a.value[i] > b.value[i] ? a.value[i] : b.value[i]; });
  }
  // Nearest whole number of |x| < 2^22 through the lowest bit of a large float.
  static Vec Round(Vec x) {
    return Each([&](int i) { return (x.value[i] + 12582912.0f) - 12582912.0f; });
  }
  static Vec PowerOfTwo(Vec whole) {
    return Each([&](int i) {
      const float clamped = whole.value[i] > -126.0f ? whole.value[i] : -126.0f;  // NaN too
      const uint32_t bits = static_cast<uint32_t>(static_cast<int32_t>(clamped) + 127) << 23;
      float result;
      memcpy(&result, &bits, sizeof result);
      return result;
    });
  }
  static Vec ZeroWhereLess(Vec x, Vec a, Vec b) {
    return Each([&](int i) { return a.value[i] < b.value[i] ? 0.0f : x.value[i]; });
  }
  static int AnyNotEqual(Vec a, Vec b) {
    int any = 0;
    for (int i = 0; i < kLanes; ++i) any |= a.value[i] != b.value[i];
    return any;
  }
  static Vec LoadBf16(const uint16_t* from) {
    return Each([&](int i) { return Bf16ToFloat(from[i]); });
  }
  static Vec LoadF16(const uint16_t* from) {
    return Each([&](int i) { return F16ToFloat(from[i]); });
  }
};

constexpr int kGroup = 1;

}  // namespace
}  // namespace tessera

#include "kernels/attention/exact_tile-inl.h"

namespace tessera {
const ExactTileKernels& ExactTileScalar() noexcept { return kKernels; }
}  // namespace tessera
