// The same loops on threads of our own, for compilers without OpenMP and for ThreadSanitizer, which does not know how
// libgomp synchronises. Threads start and end with each loop: correct, not fast.
#ifndef _OPENMP
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <thread>
#include <vector>

#include "parallel/parallel_for.h"

namespace tessera {
namespace {

int AvailableThreads() noexcept {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

std::atomic<int> wanted_threads = 0;   // 0: not set
thread_local int thread_in_loop = -1;  // number of this thread inside a loop

// Calls body(thread) once on each of `threads` threads, the caller's among them.
template <class Body>
void OnThreads(int threads, const Body& body) noexcept {
  const auto run = [&](int thread) {
    thread_in_loop = thread;
    body(thread);
    thread_in_loop = -1;
  };
  std::vector<std::thread> others;
  for (int thread = 1; thread < threads; ++thread) others.emplace_back(run, thread);
  run(0);
  for (std::thread& other : others) other.join();
}

}  // namespace

void SetThreads(int threads) { wanted_threads = threads <= 0 ? AvailableThreads() : threads; }

int Threads() noexcept {
  const int threads = wanted_threads;
  return threads > 0 ? threads : AvailableThreads();
}

void ParallelFor(int64_t count, int64_t grain, LoopBody<int64_t, int64_t> body) noexcept {
  const int64_t parts = std::min<int64_t>(Threads(), count / std::max<int64_t>(grain, 1));
  if (parts <= 1 || thread_in_loop >= 0) {
    if (count > 0) body(0, count);
    return;
  }
  OnThreads(static_cast<int>(parts), [&](int part) { body(count * part / parts, count * (part + 1) / parts); });
}

void ParallelItems(int64_t count, LoopBody<int64_t, int> body) noexcept {
  if (thread_in_loop >= 0) {
    for (int64_t item = 0; item < count; ++item) body(item, thread_in_loop);
    return;
  }
  std::atomic<int64_t> next = 0;
  OnThreads(static_cast<int>(std::min<int64_t>(Threads(), std::max<int64_t>(count, 1))), [&](int thread) {
    for (int64_t item = next++; item < count; item = next++) body(item, thread);
  });
}

}  // namespace tessera
#endif
