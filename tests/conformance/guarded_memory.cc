#include "conformance/guarded_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "base/check.h"

namespace tessera {

GuardedMemory::GuardedMemory(size_t size, size_t alignment) : size_(size) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const size_t padded = (size + alignment - 1) / alignment * alignment;
  const size_t inner = (padded + page - 1) / page * page;
  mapped_ = inner + 2 * page;
  mapping_ = ::mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  TESSERA_CHECK(mapping_ != MAP_FAILED);
  auto* accessible = static_cast<std::byte*>(mapping_) + page;
  if (inner > 0) TESSERA_CHECK(::mprotect(accessible, inner, PROT_READ | PROT_WRITE) == 0);
  begin_ = accessible + inner - padded;
  Poison();
}

GuardedMemory::~GuardedMemory() { ::munmap(mapping_, mapped_); }

void GuardedMemory::Poison() noexcept {
  if (size_ > 0) std::memset(begin_, 0xFF, size_);
}

}  // namespace tessera
