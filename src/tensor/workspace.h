// Stack-like scratch memory for activations: reserved while planning, reused by every step.
#pragma once
#include <cstddef>
#include <memory>
#include <vector>

#include "tensor/tensor.h"

namespace tessera {

class TraceRecorder;

// Take() gives memory that is valid until the enclosing Scope ends. Grows by a new chunk when a plan was too small
// (counted, never an error); peak_bytes() is what tests compare with the plan.
class Workspace {
 public:
  Workspace() = default;
  explicit Workspace(size_t bytes) { Reserve(bytes); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  void Reserve(size_t bytes);  // throws Error{kMemory}
  void Release() noexcept;     // gives the memory back; nothing may be in use

  Tensor Take(const Shape& shape, DType dtype) noexcept;  // 64-byte aligned, not initialised, writable
  void* TakeBytes(size_t bytes) noexcept;

  size_t peak_bytes() const noexcept { return peak_; }
  size_t reserved_bytes() const noexcept;

  // Where the passes that work in this memory are recorded; null (the default): nowhere. It belongs to the run.
  TraceRecorder* trace() const noexcept { return trace_; }
  void SetTrace(TraceRecorder* trace) noexcept { trace_ = trace; }

  class Scope {
   public:
    explicit Scope(Workspace& workspace) noexcept;
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Workspace& workspace_;
    size_t chunk_;
    size_t used_;
  };

 private:
  struct Chunk {
    std::shared_ptr<std::byte> bytes;
    size_t size = 0;
    size_t used = 0;
  };
  size_t InUse() const noexcept;

  std::vector<Chunk> chunks_;
  size_t current_ = 0;
  size_t peak_ = 0;
  TraceRecorder* trace_ = nullptr;
};

}  // namespace tessera
