#include "kernels/linear/gemm_kernels.h"

#include "kernels/simd/lanes-inl.h"

namespace tessera {
namespace {
struct Arithmetic {
  static constexpr bool kPairs = true;
  static constexpr int kSrcRows = 12;
  static Lanes MulAddWords(Lanes a, Lanes b, Lanes sum) {
    return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
};
}  // namespace
}  // namespace tessera

#include "kernels/linear/gemm_kernels-inl.h"

namespace tessera {
const GemmKernels& GemmKernelsAvx512Bf16() noexcept { return kGemmKernels; }
}  // namespace tessera
