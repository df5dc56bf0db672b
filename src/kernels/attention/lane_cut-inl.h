// The body of lane_cut.h: the cuts are found bit by bit, eight lanes at a time.
#include <stdint.h>
#include <string.h>

#include "kernels/attention/lane_cut.h"

namespace tessera {
namespace {

constexpr int kCutWidth = 8;
constexpr int kCutVectors = 4;  // at a time: more than one, to hide the latency of additions
constexpr int kCutStep = kCutWidth * kCutVectors;
typedef int32_t CutOrders __attribute__((vector_size(kCutWidth * 4)));
typedef float CutWeights __attribute__((vector_size(kCutWidth * 4)));
typedef double CutSums __attribute__((vector_size(kCutWidth * 8)));

// Adds up the weights of the rows whose orders are at least from[lane].
[[gnu::always_inline]] inline void WeighFrom(const LaneRows& rows, int lane, const uint32_t* from, double* to) {
  CutSums sums[kCutVectors] = {};
  CutOrders least[kCutVectors];
  memcpy(least, from, sizeof least);
  const int32_t* orders = rows.orders + lane;
  const float* weights = rows.weights + lane;
  for (int64_t row = 0; row < rows.rows; ++row, orders += kCutLanes, weights += kCutLanes) {
#pragma GCC unroll 4
    for (int v = 0; v < kCutVectors; ++v) {
      CutOrders order, weight;
      memcpy(&order, orders + v * kCutWidth, sizeof order);
      memcpy(&weight, weights + v * kCutWidth, sizeof weight);
      weight &= order >= least[v];  // a weight that does not count becomes 0
      sums[v] += __builtin_convertvector(reinterpret_cast<CutWeights>(weight), CutSums);
    }
  }
  memcpy(to, sums, sizeof sums);
}

void LaneCut(const LaneRows& rows, LaneCuts* cuts) {
  for (int lane = 0; lane < kCutLanes; lane += kCutStep) {
    uint32_t found[kCutStep], next[kCutStep];  // two's complement
    double sums[kCutStep];
    for (int i = 0; i < kCutStep; ++i) found[i] = 0x80000000u;
    for (int bit = 31; bit >= 0; --bit) {
      for (int i = 0; i < kCutStep; ++i) next[i] = found[i] + (1u << bit);
      WeighFrom(rows, lane, next, sums);
      for (int i = 0; i < kCutStep; ++i) found[i] = sums[i] >= cuts->goals[lane + i] ? next[i] : found[i];
    }
    memcpy(cuts->orders + lane, found, sizeof found);
    for (int i = 0; i < kCutStep; ++i) next[i] = found[i] + (found[i] != 0x7FFFFFFFu);
    WeighFrom(rows, lane, next, cuts->above + lane);
    for (int i = 0; i < kCutStep; ++i) {
      if (found[i] == 0x7FFFFFFFu) cuts->above[lane + i] = 0;
    }
  }
}

}  // namespace
}  // namespace tessera
