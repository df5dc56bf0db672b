#include "kernels/linear/few_rows-inl.h"

namespace tessera {
MultiplyFewRows FewRowsScalar() noexcept { return MultiplyFew; }
}  // namespace tessera
