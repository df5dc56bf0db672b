#include "attention/window_strategy.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <tuple>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/read_file.h"
#include "base/text.h"

namespace tessera {
namespace {

using nlohmann::json;

constexpr size_t kMostBytes = size_t{32} << 20;
constexpr int32_t kMost = std::numeric_limits<int32_t>::max();

auto PlaceOf(const WindowEntry& entry) { return std::tuple(entry.step, entry.layer, entry.head); }

[[noreturn]] void Reject(const std::string& where, const std::string& what) {
  throw Error(ErrorKind::kFormat,
              fmt::format("{}: {}, wanted three whole numbers of tiles from 1 such as [3, 3, 5]", where, what));
}

bool AreDigits(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

// Digits as a number, at most `kMost`.
int32_t Saturated(std::string_view digits) {
  const auto number = ParseInt(digits);
  return number && *number < kMost ? static_cast<int32_t>(*number) : kMost;
}

int32_t TilesOf(const json& value, const std::string& where) {
  double tiles = 0;
  if (value.is_number()) tiles = value.get<double>();
  if (value.is_string()) {
    const std::string_view text = Trim(value.get_ref<const std::string&>());
    if (AreDigits(text)) tiles = Saturated(text);
  }
  if (!(tiles >= 1) || tiles != std::floor(tiles)) Reject(where, "holds " + DescribeJson(value));
  return static_cast<int32_t>(std::min<double>(tiles, kMost));
}

TileWindow WindowOf(const json& value, const std::string& where) {
  if (value.is_string()) return ParseTileWindow(value.get_ref<const std::string&>(), where);
  if (!value.is_array() || value.size() != 3) Reject(where, "is " + DescribeJson(value));
  return {TilesOf(value[0], where), TilesOf(value[1], where), TilesOf(value[2], where)};
}

// Nothing for a place that no run has.
std::optional<WindowEntry> PlaceNamed(const std::string& key, const std::string& file) {
  const auto parts = Split(key, '_');
  if (parts.size() != 3 || !std::all_of(parts.begin(), parts.end(), AreDigits)) {
    throw Error(ErrorKind::kFormat, fmt::format("mask strategy {}: key '{}' is not understood, wanted STEP_LAYER_HEAD "
                                                "such as '15_0_3'",
                                                file, Printable(key)));
  }
  const WindowEntry entry{Saturated(parts[0]), Saturated(parts[1]), Saturated(parts[2])};
  if (std::max({entry.step, entry.layer, entry.head}) == kMost) return std::nullopt;
  return entry;
}

}  // namespace

std::string Print(const TileWindow& window) { return fmt::format("[{}, {}, {}]", window[0], window[1], window[2]); }

TileWindow ParseTileWindow(std::string_view text, const std::string& where) {
  std::string_view list = Trim(text);
  if (list.size() >= 2 && list.front() == '[' && list.back() == ']') list = list.substr(1, list.size() - 2);
  const auto parts = Split(list, ',');
  if (parts.size() != 3) Reject(where, fmt::format("is '{}'", Printable(text, 40)));
  TileWindow window;
  for (size_t axis = 0; axis < window.size(); ++axis) {
    const std::string_view digits = Trim(parts[axis]);
    window[axis] = AreDigits(digits) ? Saturated(digits) : 0;
    if (window[axis] < 1) Reject(where, fmt::format("is '{}'", Printable(text, 40)));
  }
  return window;
}

WindowStrategy::WindowStrategy(std::vector<WindowEntry> entries) : entries_(std::move(entries)) {
  std::sort(entries_.begin(), entries_.end(),
            [](const WindowEntry& a, const WindowEntry& b) { return PlaceOf(a) < PlaceOf(b); });
}

std::span<const WindowEntry> WindowStrategy::At(int step, int layer) const noexcept {
  const auto before = [](const WindowEntry& entry, const std::tuple<int32_t, int32_t>& place) {
    return std::tuple(entry.step, entry.layer) < place;
  };
  const auto after = [](const std::tuple<int32_t, int32_t>& place, const WindowEntry& entry) {
    return place < std::tuple(entry.step, entry.layer);
  };
  const std::tuple<int32_t, int32_t> place(step, layer);
  const auto begin = std::lower_bound(entries_.begin(), entries_.end(), place, before);
  return {begin, std::upper_bound(begin, entries_.end(), place, after)};
}

std::string WindowStrategy::ToJson() const {
  std::string text = "{";
  for (const WindowEntry& entry : entries_) {
    text += fmt::format("{}\n\"{}_{}_{}\": {}", text.size() == 1 ? "" : ",", entry.step, entry.layer, entry.head,
                        Print(entry.window));
  }
  return text + "\n}\n";
}

WindowStrategy ParseWindowStrategy(std::string_view text, const std::string& file) {
  constexpr int kDepth = 3;
  if (text.size() > kMostBytes) {
    throw Error(ErrorKind::kFormat,
                fmt::format("mask strategy {}: {} is more than a strategy can hold, at most {}", file,
                            FormatBytes(static_cast<double>(text.size())), FormatBytes(kMostBytes)));
  }
  const json root = ParseJson(text, file, kDepth);
  if (!root.is_object() || root.empty()) {
    throw Error(ErrorKind::kFormat,
                fmt::format("mask strategy {}: is {}, wanted an object of STEP_LAYER_HEAD: [t, h, w]", file,
                            root.is_object() ? "an empty object" : DescribeJson(root)));
  }
  std::vector<WindowEntry> entries;
  for (const auto& item : root.items()) {
    auto entry = PlaceNamed(item.key(), file);
    if (!entry) continue;
    const std::string where = fmt::format("mask strategy {}: the window of '{}'", file, Printable(item.key(), 40));
    entry->window = WindowOf(item.value(), where);
    entries.push_back(*entry);
  }
  WindowStrategy strategy(std::move(entries));
  const auto sorted = strategy.entries();
  const auto twice = std::adjacent_find(sorted.begin(), sorted.end(), [](const WindowEntry& a, const WindowEntry& b) {
    return PlaceOf(a) == PlaceOf(b);
  });
  if (twice != sorted.end()) {
    throw Error(ErrorKind::kFormat, fmt::format("mask strategy {}: '{}_{}_{}' is there twice", file, twice->step,
                                                twice->layer, twice->head));
  }
  return strategy;
}

WindowStrategy ReadWindowStrategy(const std::filesystem::path& path) {
  return ParseWindowStrategy(ReadWholeFile(path, kMostBytes), Printable(path.native(), 300));
}

}  // namespace tessera
