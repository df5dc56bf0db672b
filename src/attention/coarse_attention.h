// Attention between the mean rows of tiles: the coarse stage of video sparse attention (Zhang et al., arXiv
// 2505.13389).
#pragma once
#include <cstdint>
#include <span>

#include "attention/block_means.h"
#include "parallel/loop_body.h"

namespace tessera {

// What is rounded to bf16: nothing, the means, or the means, the scores and the outputs.
enum class CoarseRounding { kNone, kMeans, kScores };

struct CoarseCall {
  int64_t batch = 1;
  int heads = 1, kv_heads = 1;
  int32_t tiles = 0;
  MeanShape shape;
  float scale = 1;
  CoarseRounding rounding = CoarseRounding::kNone;
  float* q_means = nullptr;          // [batch, heads, shape]; replaced by the outputs when there are v_means
  const float* k_means = nullptr;    // [batch, kv_heads, shape]
  const float* v_means = nullptr;    // the same, or null: no outputs
  const int32_t* visible = nullptr;  // [batch, tiles]: visible tokens; tiles without any score -inf

  int64_t row(int64_t batch_entry, int head, int64_t tile) const noexcept {
    return (batch_entry * heads + head) * tiles + tile;
  }
};

// decide(row, thread, scores): scores [tiles] of one query tile, before the softmax; thread < Threads().
using CoarseDecision = LoopBody<int64_t, int, std::span<const float>>;

size_t CoarseScratchFloats(const MeanShape& shape) noexcept;  // of one thread

// Scores are scale * <q mean, k mean>; outputs their softmax times v means. No tile weighs more for its size.
// `scratch` holds CoarseScratchFloats for each of Threads() threads, 64-byte aligned.
void AttendCoarsely(const CoarseCall& call, float* scratch, CoarseDecision decide) noexcept;

}  // namespace tessera
