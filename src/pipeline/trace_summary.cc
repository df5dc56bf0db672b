#include "pipeline/trace_summary.h"

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <tuple>

#include <fmt/format.h>

#include "base/text.h"

namespace tessera {
namespace {

// By event: its length without the spans directly inside of it. Spans of a thread begin in the order they were
// recorded.
std::vector<int64_t> SelfTimes(std::span<const TraceEvent> events) {
  std::vector<int64_t> self(events.size());
  std::array<std::vector<size_t>, TraceRecorder::kMostThreads> open;
  for (size_t i = 0; i < events.size(); ++i) {
    const TraceEvent& event = events[i];
    std::vector<size_t>& around = open[event.thread];
    while (!around.empty() && events[around.back()].end_ns <= event.begin_ns) around.pop_back();
    const int64_t length = std::max<int64_t>(event.end_ns - event.begin_ns, 0);
    self[i] += length;
    if (!around.empty()) self[around.back()] -= length;
    if (event.end_ns >= 0) around.push_back(i);
  }
  return self;
}

using Place = std::tuple<TraceKind, std::string, std::string>;

std::vector<TraceShare> Shares(const TraceRecorder& recorder, const std::function<Place(const TraceEvent&)>& place_of) {
  const auto events = recorder.events();
  const std::vector<int64_t> self = SelfTimes(events);
  std::map<Place, TraceShare> by_place;
  for (size_t i = 0; i < events.size(); ++i) {
    const Place place = place_of(events[i]);
    TraceShare& share = by_place[place];
    std::tie(share.kind, share.name, share.place) = place;
    ++share.calls;
    share.self_seconds += static_cast<double>(self[i]) / 1e9;
    share.flops += events[i].flops * static_cast<double>(events[i].density);
  }
  std::vector<TraceShare> shares;
  for (auto& [place, share] : by_place) shares.push_back(std::move(share));
  std::ranges::stable_sort(shares, std::greater<>(), &TraceShare::self_seconds);
  return shares;
}

TableRow RowOf(const TraceShare& share, double all) {
  const std::string what = share.place.empty() ? share.name : share.name + " " + share.place;
  const double speed = share.self_seconds > 0 ? share.flops / share.self_seconds / 1e9 : 0;
  return {std::string(Name(share.kind)),
          what.empty() ? "all" : what,
          std::to_string(share.calls),
          FormatSeconds(share.self_seconds),
          fmt::format("{:.1f} %", all > 0 ? 100 * share.self_seconds / all : 0),
          speed > 0 ? fmt::format("{:.0f} GFLOP/s", speed) : "-"};
}

}  // namespace

std::vector<TraceShare> SharesByKind(const TraceRecorder& recorder) {
  return Shares(recorder, [](const TraceEvent& event) { return Place(event.kind, "", ""); });
}

std::vector<TraceShare> SharesByName(const TraceRecorder& recorder) {
  return Shares(recorder, [](const TraceEvent& event) { return Place(event.kind, event.name, event.place); });
}

std::string PrintShares(const TraceRecorder& recorder, size_t most_names, TableFormat format) {
  const std::vector<TraceShare> kinds = SharesByKind(recorder), names = SharesByName(recorder);
  double all = 0;
  for (const TraceShare& share : kinds) all += share.self_seconds;
  const TableRow heading = {"kind", "what", "calls", "self time", "share", "speed"};
  std::vector<TableRow> by_kind = {heading}, by_name = {heading};
  for (const TraceShare& share : kinds) by_kind.push_back(RowOf(share, all));
  for (const TraceShare& share : std::span(names).first(std::min(most_names, names.size()))) {
    by_name.push_back(RowOf(share, all));
  }
  return PrintTable(by_kind, format) + "\n" + PrintTable(by_name, format);
}

}  // namespace tessera
