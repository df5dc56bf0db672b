#include "kernels/linear/few_rows-inl.h"

namespace tessera {
MultiplyFewRows FewRowsAvx512() noexcept { return MultiplyFew; }
}  // namespace tessera
