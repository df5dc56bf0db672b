#include "kernels/onednn/engine.h"

#include "parallel/parallel_for.h"

namespace tessera {

const dnnl::engine& CpuEngine() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::stream& ThreadStream() {
  thread_local dnnl::stream stream(CpuEngine());
  return stream;
}

OneThreadPlanning::OneThreadPlanning() noexcept : threads_(Threads()) { SetThreads(1); }
OneThreadPlanning::~OneThreadPlanning() { SetThreads(threads_); }

dnnl::memory MemoryOver(const dnnl::memory::desc& desc, const void* elements) {
  return dnnl::memory(desc, CpuEngine(), const_cast<void*>(elements));  // oneDNN has no read-only memory
}

}  // namespace tessera
