// The one thread pool (OpenMP's, shared with oneDNN): loops over independent items.
#pragma once
#include <cstdint>

#include "parallel/loop_body.h"

namespace tessera {

void SetThreads(int threads);  // 0: all cores this process may use
int Threads() noexcept;

// Calls body(begin, end) on contiguous parts of [0, count). Parts are at least `grain` long.
// The split depends on the number of threads, so a body must give the same result for any split.
void ParallelFor(int64_t count, int64_t grain, LoopBody<int64_t, int64_t> body) noexcept;

// Calls body(item, thread) for every item in [0, count), handed out one by one; thread < Threads().
void ParallelItems(int64_t count, LoopBody<int64_t, int> body) noexcept;

}  // namespace tessera
