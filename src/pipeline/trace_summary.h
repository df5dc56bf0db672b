// Where the time of a recorded run went.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "base/table.h"
#include "base/trace.h"

namespace tessera {

// Spans that are alike, with the time in them that no span inside of them has.
struct TraceShare {
  TraceKind kind = TraceKind::kBlock;
  std::string name, place;  // empty: all of the kind
  int64_t calls = 0;
  double self_seconds = 0;
  double flops = 0;  // done: full count times density
};

// Largest self time first. By kind only, or by kind, name and place.
std::vector<TraceShare> SharesByKind(const TraceRecorder& recorder);
std::vector<TraceShare> SharesByName(const TraceRecorder& recorder);

// The kinds, then the `most_names` most expensive names; columns: kind, what, calls, self time, share, speed.
std::string PrintShares(const TraceRecorder& recorder, size_t most_names, TableFormat format);

}  // namespace tessera
