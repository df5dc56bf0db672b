#include "attention/coarse_attention.h"

#include <algorithm>
#include <limits>

#include "base/round_up.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr float kHidden = -std::numeric_limits<float>::infinity();

// Up to kLanes query tiles of one head.
struct Group {
  int64_t batch_entry;
  int head;
  int64_t first;
  int count;
};

// One thread's memory, all [..][kLanes] but the last.
struct Scratch {
  float *queries, *output, *scores;
  float *maximum, *sum, *rescale;
  float* row;

  Scratch(float* at, const MeanShape& shape)
      : queries(at),
        output(queries + shape.channels * kLanes),
        scores(output + shape.channels * kLanes),
        maximum(scores + shape.rows * kLanes),
        sum(maximum + kLanes),
        rescale(sum + kLanes),
        row(rescale + kLanes) {}
};

void Score(const CoarseCall& call, const Group& group, const float* q, const float* k, const Scratch& scratch) {
  IntoLanes(q, group.count, call.shape.channels, scratch.queries);
  MeanKernels().scores({k, call.shape.channels, call.shape.rows, call.shape.channels}, scratch.queries, kLanes,
                       call.scale, scratch.scores);
  if (call.rounding == CoarseRounding::kScores) RoundToBf16(scratch.scores, call.tiles * kLanes);
  const int32_t* visible = call.visible + group.batch_entry * call.tiles;
  for (int64_t tile = 0; tile < call.shape.rows; ++tile) {
    if (tile < call.tiles && visible[tile] > 0) continue;
    std::fill_n(scratch.scores + tile * kLanes, kLanes, kHidden);
  }
}

// Replaces the q means of the group by the outputs.
void Mix(const CoarseCall& call, const Group& group, float* q, const float* v, const Scratch& scratch) {
  const ExactTileKernels& kernels = MeanKernels();
  std::fill_n(scratch.maximum, kLanes, kHidden);
  std::fill_n(scratch.sum, kLanes, 0.0f);
  std::fill_n(scratch.output, call.shape.channels * kLanes, 0.0f);
  kernels.softmax(scratch.scores, call.shape.rows, kLanes, {scratch.maximum, scratch.sum, scratch.rescale});
  kernels.accumulate({v, call.shape.channels, call.shape.rows, call.shape.channels}, scratch.scores, kLanes, nullptr,
                     scratch.output);
  for (int i = 0; i < group.count; ++i) {
    const float factor = scratch.sum[i] > 0 ? 1 / scratch.sum[i] : 0;
    for (int64_t d = 0; d < call.shape.channels; ++d) {
      q[i * call.shape.channels + d] = scratch.output[d * kLanes + i] * factor;
    }
  }
  if (call.rounding == CoarseRounding::kScores) RoundToBf16(q, group.count * call.shape.channels);
}

}  // namespace

size_t CoarseScratchFloats(const MeanShape& shape) noexcept {
  return static_cast<size_t>((2 * shape.channels + shape.rows + 3) * kLanes + RoundUp(shape.rows, 16));
}

void AttendCoarsely(const CoarseCall& call, float* scratch, CoarseDecision decide) noexcept {
  const int64_t groups = (call.tiles + kLanes - 1) / kLanes;
  ParallelItems(call.batch * call.heads * groups, [&](int64_t item, int thread) {
    const int64_t set = item / groups, first = item % groups * kLanes;
    const Group group{set / call.heads, static_cast<int>(set % call.heads), first,
                      static_cast<int>(std::min<int64_t>(kLanes, call.tiles - first))};
    const int64_t kv_set = group.batch_entry * call.kv_heads + group.head / (call.heads / call.kv_heads);
    float* q = call.q_means + set * call.shape.head_floats() + first * call.shape.channels;
    const Scratch mine(scratch + static_cast<size_t>(thread) * CoarseScratchFloats(call.shape), call.shape);
    Score(call, group, q, call.k_means + kv_set * call.shape.head_floats(), mine);
    for (int i = 0; i < group.count; ++i) {
      for (int64_t tile = 0; tile < call.tiles; ++tile) mine.row[tile] = mine.scores[tile * kLanes + i];
      decide(call.row(group.batch_entry, group.head, first + i), thread,
             std::span<const float>(mine.row, static_cast<size_t>(call.tiles)));
    }
    if (call.v_means != nullptr) Mix(call, group, q, call.v_means + kv_set * call.shape.head_floats(), mine);
  });
}

}  // namespace tessera
