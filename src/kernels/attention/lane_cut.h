// Where rankings of rows are cut, one ranking per lane: each lane takes its rows by descending `orders` until their
// weights add up to its goal.
#pragma once
#include <stdint.h>

namespace tessera {

constexpr int kCutLanes = 64;

// [rows][kCutLanes]. Weights are at least 0.
struct LaneRows {
  const int32_t* orders;
  const float* weights;
  int64_t rows;
};

struct LaneCuts {
  double goals[kCutLanes];    // given
  int32_t orders[kCutLanes];  // the largest x for which rows with orders >= x reach the goal; INT32_MIN when none do
  double above[kCutLanes];    // what the rows with larger orders than that weigh
};

// Sums are formed in doubles, row by row: all kernels give the same bytes.
using LaneCutKernel = void (*)(const LaneRows& rows, LaneCuts* cuts);

// Each is linked in every build and may be called only where its instructions exist.
LaneCutKernel LaneCutScalar() noexcept;
LaneCutKernel LaneCutAvx2() noexcept;
LaneCutKernel LaneCutAvx512() noexcept;

void LaneCutReference(const LaneRows& rows, LaneCuts* cuts);

}  // namespace tessera
