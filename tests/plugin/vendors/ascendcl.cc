// Stands in for libascendcl.so: device memory is host memory.
#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace {
int live = 0, streams = 0;
bool started = false;
}  // namespace

extern "C" {
int aclInit(const char*) {
  if (started) return 100002;
  started = true;
  return 0;
}
int aclrtSetDevice(int32_t) { return started ? 0 : 100001; }
int aclrtMalloc(void** at, size_t bytes, int) {
  *at = std::malloc(bytes);
  ++live;
  return 0;
}
int aclrtFree(void* at) {
  std::free(at);
  --live;
  return 0;
}
int aclrtMemcpy(void* to, size_t room, const void* from, size_t bytes, int direction) {
  if (bytes > room || (direction != 1 && direction != 2)) return 107000;
  std::memcpy(to, from, bytes);
  return 0;
}
int aclrtCreateStream(void** stream) {
  *stream = &streams;
  ++streams;
  return 0;
}
int aclrtDestroyStream(void*) {
  --streams;
  return 0;
}
int aclrtSynchronizeStream(void* stream) { return stream == &streams ? 0 : 107001; }
const char* aclGetRecentErrMsg(void) { return "EZ9999: a made-up reason"; }

int standin_ascend_live(void) { return live + streams; }
}
