#include "tensor/workspace.h"

#include <algorithm>

#include "base/round_up.h"
#include "tensor/storage.h"

namespace tessera {
namespace {
constexpr size_t kSmallestChunk = size_t{1} << 20;
}  // namespace

void Workspace::Reserve(size_t bytes) {
  if (reserved_bytes() >= bytes) return;
  TESSERA_CHECK(InUse() == 0);
  chunks_.clear();
  current_ = 0;
  chunks_.push_back({AllocateAligned(bytes), bytes, 0});
}

void Workspace::Release() noexcept {
  TESSERA_CHECK(InUse() == 0);
  chunks_.clear();
  current_ = 0;
}

Tensor Workspace::Take(const Shape& shape, DType dtype) noexcept {
  return Tensor::Borrow(TakeBytes(static_cast<size_t>(shape.numel()) * SizeOf(dtype)), shape, dtype);
}

void* Workspace::TakeBytes(size_t bytes) noexcept {
  const size_t needed = Aligned(std::max<size_t>(bytes, 1));
  while (current_ < chunks_.size() && chunks_[current_].size - chunks_[current_].used < needed) {
    if (current_ + 1 == chunks_.size()) break;
    ++current_;
  }
  if (chunks_.empty() || chunks_[current_].size - chunks_[current_].used < needed) {
    const size_t size = std::max(needed, kSmallestChunk);
    chunks_.push_back({AllocateAligned(size), size, 0});
    current_ = chunks_.size() - 1;
  }
  Chunk& chunk = chunks_[current_];
  void* result = chunk.bytes.get() + chunk.used;
  chunk.used += needed;
  peak_ = std::max(peak_, InUse());
  return result;
}

size_t Workspace::reserved_bytes() const noexcept {
  size_t total = 0;
  for (const Chunk& chunk : chunks_) total += chunk.size;
  return total;
}

size_t Workspace::InUse() const noexcept {
  size_t total = 0;
  for (const Chunk& chunk : chunks_) total += chunk.used;
  return total;
}

Workspace::Scope::Scope(Workspace& workspace) noexcept
    : workspace_(workspace),
      chunk_(workspace.current_),
      used_(workspace.chunks_.empty() ? 0 : workspace.chunks_[workspace.current_].used) {}

Workspace::Scope::~Scope() {
  for (size_t i = chunk_; i < workspace_.chunks_.size(); ++i) workspace_.chunks_[i].used = i == chunk_ ? used_ : 0;
  workspace_.current_ = workspace_.chunks_.empty() ? 0 : chunk_;
}

}  // namespace tessera
