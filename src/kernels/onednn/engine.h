// The oneDNN engine and streams that all products share, and how primitives are planned for one thread.
#pragma once
#include <dnnl.hpp>

namespace tessera {

const dnnl::engine& CpuEngine();
dnnl::stream& ThreadStream();  // of the calling thread

// Primitives created in its scope use one thread: callers split the work themselves in a way that depends on shapes
// only, so results are the same for any number of threads (oneDNN's own split changes the order of sums).
class OneThreadPlanning {
 public:
  OneThreadPlanning() noexcept;
  ~OneThreadPlanning();
  OneThreadPlanning(const OneThreadPlanning&) = delete;
  OneThreadPlanning& operator=(const OneThreadPlanning&) = delete;

 private:
  int threads_;
};

// A memory over elements that a primitive only reads, or writes.
dnnl::memory MemoryOver(const dnnl::memory::desc& desc, const void* elements);

}  // namespace tessera
