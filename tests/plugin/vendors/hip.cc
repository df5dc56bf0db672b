// Stands in for libamdhip64.so: device memory is host memory.
#include <cstdlib>
#include <cstring>

namespace {
int live = 0, allocations_left = -1, device = -1;
}

extern "C" {
int hipSetDevice(int number) {
  device = number;
  return 0;
}
int hipMalloc(void** at, size_t bytes) {
  if (allocations_left == 0) return 2;
  if (allocations_left > 0) --allocations_left;
  *at = std::malloc(bytes);
  ++live;
  return 0;
}
int hipFree(void* at) {
  std::free(at);
  --live;
  return 0;
}
int hipMemcpy(void* to, const void* from, size_t bytes, int direction) {
  if (direction != 1 && direction != 2) return 21;
  std::memcpy(to, from, bytes);
  return 0;
}
int hipDeviceSynchronize(void) { return 0; }
const char* hipGetErrorString(int code) { return code == 2 ? "out of memory" : "some error"; }

// What a test looks at.
int standin_hip_live(void) { return live; }
int standin_hip_device(void) { return device; }
void standin_hip_allow(int allocations) { allocations_left = allocations; }
}
