// Stand-ins for Ascend's libraries: descriptors as plain structures, and the last call of the operator as a test reads
// it.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

struct AscendTensor {
  std::vector<int64_t> dims, strides;
  int type = -1;
  int format = -1;
  void* at = nullptr;
};
struct AscendList {
  std::vector<const AscendTensor*> tensors;
};
struct AscendIntegers {
  std::vector<int64_t> values;
};

struct FiaRecord {
  int version = 0;
  AscendTensor query, key, value, mask, out, lse;  // `type` is -1 where the slot was null
  std::vector<int64_t> lengths_q, lengths_kv;
  int slots_in_use = 0;  // of the slots for quantisation, paging, prefixes and rotary parts: none should be
  int64_t heads = 0, kv_heads = 0, pre_tokens = 0, next_tokens = 0, sparse_mode = 0, inner_precise = 0;
  int64_t modes = 0;  // sum of all block sizes and quantisation modes
  double scale = 0;
  std::string layout;
  bool lse_flag = false;
  int runs = 0;
  int answer = 0;  // what the next first phases return
};

extern "C" FiaRecord* standin_fia_record(void);
