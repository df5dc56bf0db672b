#include "kernels/attention/flash_operands_bf16-inl.h"
#include "kernels/attention/flash_pack-inl.h"

namespace tessera {
namespace {

using Packing = FlashPacking<Bf16Operands>;
constexpr int kChannelStep = 8;
// f32 rows are parts of a result that is rounded once.
void Finish(const FlashFormat& format, const FlashBlock& block, void* const* rows) {
  if (format.dtype == DType::kF32) {
    Packing::Finish<float>(format, block, rows);
  } else {
    Packing::Finish<BFloat16>(format, block, rows);
  }
}
constexpr FlashKernel kTable{FlashArithmetic::kBf16Dot,
                             kChannelStep,
                             2,
                             Packing::PackKeys<BFloat16>,
                             Packing::PackValues<BFloat16>,
                             Packing::PackQueries<BFloat16>,
                             Flash<Bf16Operands>::Attend,
                             Finish};

}  // namespace

const FlashKernel& FlashAvx512Bf16() noexcept { return kTable; }
}  // namespace tessera
