#include "kernels/linear/few_rows-inl.h"

namespace tessera {
MultiplyFewRows FewRowsAvx2() noexcept { return MultiplyFew; }
}  // namespace tessera
