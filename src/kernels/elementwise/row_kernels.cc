#include "kernels/elementwise/row_kernels.h"

#include "platform/cpu/cpu.h"

namespace tessera {

const RowKernels& ActiveRowKernels() noexcept {
  switch (ActiveIsa()) {
    case Isa::kScalar:
      return RowKernelsScalar();
    case Isa::kAvx2:
      return RowKernelsAvx2();
    case Isa::kAvx512:
    case Isa::kAvx512Bf16:
      return RowKernelsAvx512();
  }
  return RowKernelsScalar();
}

}  // namespace tessera
