// Exact attention on the CPU for any shape, mask and layout: softmax(scale * q k^T + bias) v in f32 arithmetic.
#pragma once
#include <cstddef>
#include <cstdint>
#include <span>

#include "tensor/dtype.h"

namespace tessera {

// Channel d of token s of head h of batch b is at b*batch + s*seq + h*head + d; strides in elements.
template <class Pointer>
struct HeadRows {
  Pointer elements = nullptr;
  int64_t batch_stride = 0, seq_stride = 0, head_stride = 0;
};

// Key j of query i of head h of batch b is at b*batch + h*head + i*query + j; strides may be 0.
struct ScoreBias {
  const void* elements = nullptr;  // null: none
  DType dtype = DType::kF32;       // f32, bf16, f16: added to the scaled score; bool: false hides the key
  int64_t batch_stride = 0, head_stride = 0, query_stride = 0;
};

// Blocks of one side: block n of a set covers positions [offsets[n], offsets[n+1]); position p is token permutation[p].
// Set s (of batch * heads) starts at s * stride; a stride of 0 shares one set.
struct PositionBlocks {
  const int32_t* offsets = nullptr;
  const int32_t* permutation = nullptr;  // null: position = token
  int32_t count = 0;
  int64_t offsets_stride = 0, permutation_stride = 0;
};

// Which key blocks every query block visits: row (b * heads + h) * q.count + i lists kv_list[row_begin[row] ..
// row_begin[row + 1]). Bit n of entry e's words (e * mask_words) says whether query n of the block sees that key block.
struct BlockLists {
  PositionBlocks q, kv;
  const int64_t* row_begin = nullptr;
  const int32_t* kv_list = nullptr;
  const uint64_t* query_masks = nullptr;  // null: all queries see all listed blocks
  int32_t mask_words = 0;
};

enum class CausalAlignment { kNone, kBottomRight, kTopLeft };  // j <= i + keys - queries; j <= i

// Masks combine: a key is visible when none of them hides it. What is hidden is never read as k or v of a query that
// does not see it, so it may hold anything. A query that sees no key gets out = 0 and lse = -inf.
struct ExactAttention {
  DType dtype = DType::kF32;  // of q, k, v and out: f32, bf16 or f16
  int64_t batch = 1;
  int heads = 1, kv_heads = 1, head_dim = 0;
  int64_t q_len = 0, kv_len = 0;
  float scale = 1;
  HeadRows<const void*> q, k, v;
  HeadRows<void*> out;
  float* lse = nullptr;  // null, or [batch, heads, q_len], natural log
  CausalAlignment causal = CausalAlignment::kNone;
  const int32_t* key_lengths = nullptr;  // null, or [batch]
  // Null, or [sequences + 1]: queries and keys of different sequences do not see each other; causal counts within one.
  const int32_t* cu_seqlens_q = nullptr;
  const int32_t* cu_seqlens_k = nullptr;
  int64_t sequences = 0;
  ScoreBias bias;
  const BlockLists* blocks = nullptr;  // null: every query visits every key
};

// Scratch for `threads` threads; Run with more threads uses only that many.
size_t ExactAttentionWorkspaceBytes(int head_dim, int threads) noexcept;

// The same bytes for any number of threads. `workspace` is 64-byte aligned and holds at least one thread's scratch.
void RunExactAttention(const ExactAttention& call, std::span<std::byte> workspace) noexcept;

// The same function in plain loops and doubles: the definition the fast one is checked against.
void RunExactAttentionReference(const ExactAttention& call);

}  // namespace tessera
