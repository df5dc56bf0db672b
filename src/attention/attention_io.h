// Operands of one attention call. Layout is fixed: BSHD, [batch, seq, heads, head_dim], head_dim contiguous.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace tessera {

struct BlockPlan;

// Strides in elements. Channel d of token s of head h of batch b is at b*batch + s*seq + h*head + d.
template <class Pointer>
struct Bshd {
  Pointer elements = nullptr;
  int64_t batch_stride = 0, seq_stride = 0, head_stride = 0;
};
using BshdIn = Bshd<const void*>;
using BshdOut = Bshd<void*>;

// Strides may be 0 (broadcast). Key j of query i of head h of batch b is at b*batch + h*head + i*query + j.
struct AttentionBias {
  const void* elements = nullptr;
  DType dtype = DType::kF32;  // f32, bf16 or f16: added to the scaled score; bool: false hides the key
  int64_t batch_stride = 0, head_stride = 0, query_stride = 0;
};

// Where in a denoising run a call sits; methods that differ between layers or remember earlier steps ask for it.
struct AttentionPlace {
  int layer = 0;  // counted over the component
  int pass = 0;   // forward pass of the step: 0 conditional, 1 unconditional, ...
};

// All operands have the problem's dtype. Keys beyond key_lengths may hold anything, NaN included; other hidden keys
// must be finite, unless a backend says otherwise. A query that sees no key gets out = 0 and lse = -inf.
struct AttentionIO {
  BshdIn q, k, v;
  BshdOut out;
  float* lse = nullptr;                  // [batch, heads, q_len], natural log; written when the problem asks for it
  AttentionBias bias;                    // with kMaskBias
  std::span<const int32_t> key_lengths;  // [batch], with kMaskKeyLengths
  std::span<const int32_t> cu_seqlens_q, cu_seqlens_k;  // [sequences + 1], with kMaskVarlen
  BshdIn gate;                                          // with has_gate
  const BlockPlan* blocks = nullptr;                    // null: every key block
  AttentionPlace place = {};
};

}  // namespace tessera
