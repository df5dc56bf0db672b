// Ascend's libraries without their headers: the runtime, descriptors of operands, and the fused attention operator in
// whichever version is installed. Types of theirs are opaque; numbers are those of acl_base.h.
#pragma once
#include <cstddef>
#include <cstdint>
#include <string>

#include "vendor_library.h"

namespace vendor {

enum class AclType : int { kFloat = 0, kFloat16 = 1, kBool = 12, kBFloat16 = 27 };
constexpr int kAclSuccess = 0;

// An attention call as FusedInferAttentionScore takes it, whatever its version. Pointers lie on the device.
struct AscendCall {
  AclType type = AclType::kFloat16;
  const char* layout = "BSND";                 // or "TND": packed sequences
  int64_t batch = 1, q_len = 0, kv_len = 0;    // "TND": batch is 1
  int64_t heads = 1, kv_heads = 1, width = 0;  // channels, of whole sixteens
  void *q = nullptr, *k = nullptr, *v = nullptr, *out = nullptr;
  void* mask = nullptr;  // bool [2048, 2048], true: hidden
  float* lse = nullptr;  // BSND: [batch, heads, q_len, 1]; TND: [q_len, heads, 1]; null: not wanted
  const int64_t *lengths_q = nullptr, *lengths_kv = nullptr;  // BSND: per batch entry; TND: cumulative ends
  uint64_t length_count = 0;
  double scale = 1;
  int64_t sparse_mode = 0, inner_precise = 0;
};

class Ascend {
 public:
  Ascend();

  // "" when everything is there; else what is missing.
  const std::string& missing() const noexcept { return missing_; }
  bool Has(int version) const noexcept { return operators_[version].size != nullptr; }
  // The version taken when none is asked for: 3, 2, 4 or 1, the first that is there.
  int preferred() const noexcept;

  // All return Ascend's status, 0 on success.
  int Start(int device) const noexcept;  // once a plan; initialises the runtime
  int UseDevice(int device) const noexcept { return set_device_(device); }
  int Allocate(void** at, size_t bytes) const noexcept { return allocate_(at, bytes, 0); }
  void Release(void* at) const noexcept { release_(at); }
  int ToDevice(void* to, const void* from, size_t bytes) const noexcept { return copy_(to, bytes, from, bytes, 1); }
  int ToHost(void* to, const void* from, size_t bytes) const noexcept { return copy_(to, bytes, from, bytes, 2); }
  int CreateStream(void** stream) const noexcept { return create_stream_(stream); }
  void DestroyStream(void* stream) const noexcept { destroy_stream_(stream); }
  int Synchronize(void* stream) const noexcept { return synchronize_(stream); }
  const char* LastError() const noexcept;

  // Memory on the device that the operator asks for; keeps its size.
  struct Scratch {
    void* at = nullptr;
    size_t bytes = 0;
  };
  // Both phases of the operator. `scratch` grows when it must; it is in use until the stream is synchronised.
  int Run(const AscendCall& call, int version, Scratch* scratch, void* stream) const noexcept;

 private:
  struct Operator {
    void* size = nullptr;  // aclnnFusedInferAttentionScoreV<n>GetWorkspaceSize
    int (*run)(void*, uint64_t, void*, void*) = nullptr;
  };
  struct Operands;  // the descriptors of one call
  int Ask(const AscendCall& call, const Operands& operands, int version, uint64_t* bytes,
          void** executor) const noexcept;
  std::string WhatIsMissing() const;

  VendorLibrary runtime_, descriptors_, operations_;
  Operator operators_[5];  // by version; 0 is not used
  int (*init_)(const char*);
  int (*set_device_)(int32_t);
  int (*allocate_)(void**, size_t, int);
  int (*release_)(void*);
  int (*copy_)(void*, size_t, const void*, size_t, int);
  int (*create_stream_)(void**);
  int (*destroy_stream_)(void*);
  int (*synchronize_)(void*);
  const char* (*last_error_)();
  void* (*create_tensor_)(const int64_t*, uint64_t, int, const int64_t*, int64_t, int, const int64_t*, uint64_t, void*);
  int (*destroy_tensor_)(const void*);
  void* (*create_list_)(const void* const*, uint64_t);
  int (*destroy_list_)(const void*);  // with the tensors in it
  void* (*create_integers_)(const int64_t*, uint64_t);
  int (*destroy_integers_)(const void*);
  std::string missing_;
};

}  // namespace vendor
