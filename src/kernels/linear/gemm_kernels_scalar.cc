#include "kernels/linear/gemm_kernels.h"

#include "kernels/simd/lanes-inl.h"

namespace tessera {
namespace {
struct Arithmetic {
  static constexpr bool kPairs = false;
  static constexpr int kSrcRows = 4;
  static Lanes MulAddWords(Lanes a, Lanes b, Lanes sum) { return MulAdd(a, b, sum); }
};
}  // namespace
}  // namespace tessera

#include "kernels/linear/gemm_kernels-inl.h"

namespace tessera {
const GemmKernels& GemmKernelsScalar() noexcept { return kGemmKernels; }
}  // namespace tessera
