// What a test reads of the stand-in for AITER: the last call.
#pragma once
#include <cstdint>
#include <vector>

#include "aiter/attn_aiter.h"

struct AiterRecord {
  attn_aiter_desc desc{};
  std::vector<int32_t> seqstart_q, seqstart_k, cu_seqlen_k;
  int calls = 0;
  int answer = 0;  // what the next calls return; not 0: nothing is computed
};

extern "C" AiterRecord* standin_aiter_record(void);
