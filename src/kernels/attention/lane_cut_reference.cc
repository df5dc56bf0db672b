#include <algorithm>
#include <limits>

#include "kernels/attention/lane_cut.h"

namespace tessera {
namespace {

// Of the rows of a lane that `counts` accepts by their order.
template <class Predicate>
double Weigh(const LaneRows& rows, int lane, const Predicate& counts) {
  double sum = 0;
  for (int64_t at = lane; at < rows.rows * kCutLanes; at += kCutLanes) {
    if (counts(rows.orders[at])) sum += static_cast<double>(rows.weights[at]);
  }
  return sum;
}

}  // namespace

void LaneCutReference(const LaneRows& rows, LaneCuts* cuts) {
  constexpr int32_t kLeast = std::numeric_limits<int32_t>::min(), kMost = std::numeric_limits<int32_t>::max();
  for (int lane = 0; lane < kCutLanes; ++lane) {
    int32_t cut = cuts->goals[lane] <= 0 ? kMost : kLeast;
    for (int64_t at = lane; at < rows.rows * kCutLanes; at += kCutLanes) {
      const int32_t least = rows.orders[at];
      const double sum = Weigh(rows, lane, [&](int32_t order) { return order >= least; });
      if (sum >= cuts->goals[lane]) cut = std::max(cut, least);
    }
    cuts->orders[lane] = cut;
    cuts->above[lane] = Weigh(rows, lane, [&](int32_t order) { return order > cut; });
  }
}

}  // namespace tessera
