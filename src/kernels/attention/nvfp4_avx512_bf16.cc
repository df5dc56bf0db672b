#include "kernels/attention/flash_operands_bf16-inl.h"
#include "kernels/attention/nvfp4_pack-inl.h"

namespace tessera {
const Nvfp4Kernel& Nvfp4Avx512Bf16() noexcept { return Nvfp4Table<Bf16Operands, FlashArithmetic::kBf16Dot>::kTable; }
}  // namespace tessera
