#ifdef _OPENMP
#include "parallel/parallel_for.h"

#include <omp.h>
#include <sched.h>

#include <algorithm>

namespace tessera {

void SetThreads(int threads) {
  if (threads <= 0) {
    cpu_set_t set;
    threads = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
  }
  omp_set_dynamic(0);
  omp_set_num_threads(threads);
}

int Threads() noexcept { return omp_get_max_threads(); }

void ParallelFor(int64_t count, int64_t grain, LoopBody<int64_t, int64_t> body) noexcept {
  const int64_t parts = std::min<int64_t>(Threads(), count / std::max<int64_t>(grain, 1));
  if (parts <= 1 || omp_in_parallel()) {
    if (count > 0) body(0, count);
    return;
  }
#pragma omp parallel for schedule(static) num_threads(static_cast <int>(parts))
  for (int64_t part = 0; part < parts; ++part) body(count * part / parts, count * (part + 1) / parts);
}

void ParallelItems(int64_t count, LoopBody<int64_t, int> body) noexcept {
  if (omp_in_parallel()) {
    for (int64_t item = 0; item < count; ++item) body(item, omp_get_thread_num());
    return;
  }
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t item = 0; item < count; ++item) body(item, omp_get_thread_num());
}

}  // namespace tessera
#endif
