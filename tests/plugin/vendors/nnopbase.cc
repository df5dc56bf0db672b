// Stands in for libnnopbase.so: descriptors of operands.
#include "plugin/vendors/ascend.h"

namespace {
int live = 0;
}

extern "C" {
void* aclCreateTensor(const int64_t* dims, uint64_t count, int type, const int64_t* strides, int64_t offset, int format,
                      const int64_t*, uint64_t, void* at) {
  ++live;
  if (offset != 0) return nullptr;
  return new AscendTensor{{dims, dims + count}, {strides, strides + count}, type, format, at};
}
int aclDestroyTensor(const void* tensor) {
  --live;
  delete static_cast<const AscendTensor*>(tensor);
  return 0;
}
void* aclCreateTensorList(const void* const* tensors, uint64_t count) {
  auto* list = new AscendList;
  for (uint64_t i = 0; i < count; ++i) list->tensors.push_back(static_cast<const AscendTensor*>(tensors[i]));
  return list;
}
int aclDestroyTensorList(const void* list) {
  const auto* own = static_cast<const AscendList*>(list);
  for (const AscendTensor* tensor : own->tensors) aclDestroyTensor(tensor);
  delete own;
  return 0;
}
void* aclCreateIntArray(const int64_t* values, uint64_t count) {
  ++live;
  return new AscendIntegers{{values, values + count}};
}
int aclDestroyIntArray(const void* integers) {
  --live;
  delete static_cast<const AscendIntegers*>(integers);
  return 0;
}

int standin_descriptors_live(void) { return live; }
}
