#include "attention/window_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/json.h"
#include "base/read_file.h"
#include "base/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr size_t kMostBytes = size_t{64} << 20;

double Rounded(double value) { return *ParseFloat(fmt::format("{:.9g}", value)); }

json TableOf(const WindowLosses& losses, const std::vector<double>& table) {
  json tables = json::object();
  for (size_t candidate = 0; candidate < losses.candidates.size(); ++candidate) {
    json steps = json::array();
    for (int step = 0; step < losses.steps; ++step) {
      json layers = json::array();
      for (int layer = 0; layer < losses.layers; ++layer) {
        json heads = json::array();
        const size_t first = losses.At(candidate, step, layer);
        for (size_t at = first; at < first + static_cast<size_t>(losses.heads); ++at) {
          heads.push_back(std::isfinite(table[at]) ? json(Rounded(table[at])) : json(nullptr));
        }
        layers.push_back(std::move(heads));
      }
      steps.push_back(std::move(layers));
    }
    tables[Print(losses.candidates[candidate])] = std::move(steps);
  }
  return tables;
}

[[noreturn]] void Reject(const std::string& file, const std::string& what) {
  throw Error(ErrorKind::kFormat, fmt::format("search result {}: {}", file, what));
}

// One level of a table: an array of `size` elements (0: of any size, which it then is for all).
const json& Level(const json& value, int& size, const std::string& where) {
  constexpr size_t kMostElements = 1'000'000;
  if (!value.is_array() || value.empty() || value.size() > kMostElements) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{} is {}, wanted a list of lists of heads for every step", where, DescribeJson(value)));
  }
  if (size == 0) size = static_cast<int>(value.size());
  if (value.size() != static_cast<size_t>(size)) {
    throw Error(ErrorKind::kFormat,
                fmt::format("{} has lists of {} and of {}, wanted equal ones", where, size, value.size()));
  }
  return value;
}

double LossOf(const json& value, const std::string& where) {
  if (value.is_null()) return kNone;
  if (!value.is_number()) throw Error(ErrorKind::kFormat, fmt::format("{} holds {}", where, DescribeJson(value)));
  return value.get<double>();
}

// Appends the losses of one candidate.
void AppendTable(const json& table, WindowLosses& losses, std::vector<double>& to, const std::string& where) {
  for (const json& step : Level(table, losses.steps, where)) {
    for (const json& layer : Level(step, losses.layers, where)) {
      for (const json& head : Level(layer, losses.heads, where)) to.push_back(LossOf(head, where));
    }
  }
}

const json& ObjectAt(const json& value, const std::string& key, const std::string& file) {
  if (!value.is_object() || !value.contains(key) || !value[key].is_object() || value[key].empty()) {
    Reject(file, fmt::format("no object '{}' of candidates", key));
  }
  return value[key];
}

double MeanLoss(std::span<const WindowLosses> prompts, std::span<const size_t> places, size_t offset) {
  double sum = 0;
  for (size_t n = 0; n < prompts.size(); ++n) sum += prompts[n].l2[places[n] + offset];
  return sum / static_cast<double>(prompts.size());
}

// Index of the candidate whose mean loss at a place is least; nothing without a finite one.
std::optional<size_t> BestCandidate(std::span<const WindowLosses> prompts,
                                    const std::vector<std::vector<size_t>>& places, size_t offset) {
  std::optional<size_t> best;
  double least = std::numeric_limits<double>::infinity();
  for (size_t candidate = 0; candidate < places.size(); ++candidate) {
    const double loss = MeanLoss(prompts, places[candidate], offset);
    if (!(loss < least)) continue;
    least = loss;
    best = candidate;
  }
  return best;
}

// Where the losses of a candidate begin in every prompt.
std::vector<size_t> PlacesOf(const TileWindow& candidate, std::span<const WindowLosses> prompts) {
  std::vector<size_t> places;
  for (const WindowLosses& losses : prompts) {
    const auto at = std::find(losses.candidates.begin(), losses.candidates.end(), candidate);
    if (at == losses.candidates.end()) {
      throw Error(ErrorKind::kUsage, fmt::format("tuning of windows: candidate {} was not searched", Print(candidate)));
    }
    places.push_back(losses.At(static_cast<size_t>(at - losses.candidates.begin()), 0, 0));
  }
  return places;
}

void CheckSizes(std::span<const WindowLosses> prompts) {
  for (const WindowLosses& losses : prompts) {
    const WindowLosses& first = prompts.front();
    if (losses.steps == first.steps && losses.layers == first.layers && losses.heads == first.heads) continue;
    throw Error(ErrorKind::kUsage,
                fmt::format("tuning of windows: one search has {} steps, {} layers and {} heads, another {}, {} and {}",
                            first.steps, first.layers, first.heads, losses.steps, losses.layers, losses.heads));
  }
}

// Tiles of a grid of `full` that a window shows.
double TilesIn(const TileWindow& window, const TileWindow& full) {
  double tiles = 1;
  for (size_t axis = 0; axis < window.size(); ++axis) tiles *= std::min(window[axis], full[axis]);
  return tiles;
}

// Of `tiles`, as much as `part` is of `whole`: odd, unless it is all of them.
int32_t InProportion(int32_t part, int32_t whole, int32_t tiles) {
  if (part == whole) return tiles;
  const double wanted = static_cast<double>(part) * tiles / whole;
  const auto odd = static_cast<int32_t>(2 * std::floor(wanted / 2) + 1);
  return odd < tiles ? odd : tiles;
}

}  // namespace

size_t WindowLosses::At(size_t candidate, int step, int layer) const noexcept {
  const auto size = [](int count) { return static_cast<size_t>(count); };
  return ((candidate * size(steps) + size(step)) * size(layers) + size(layer)) * size(heads);
}

WindowLosses EmptyLosses(std::vector<TileWindow> candidates, int steps, int layers, int heads) {
  WindowLosses losses{std::move(candidates), steps, layers, heads, {}, {}};
  losses.l1.assign(losses.At(losses.candidates.size(), 0, 0), kNone);
  losses.l2 = losses.l1;
  return losses;
}

json ToJson(const WindowLosses& losses) {
  return {{"L2_loss", TableOf(losses, losses.l2)}, {"L1_loss", TableOf(losses, losses.l1)}};
}

WindowLosses ParseWindowLosses(const json& value, const std::string& file) {
  WindowLosses losses;
  for (const auto& item : ObjectAt(value, "L2_loss", file).items()) {
    const std::string where = fmt::format("search result {}: L2_loss of '{}'", file, Printable(item.key(), 40));
    losses.candidates.push_back(ParseTileWindow(item.key(), where));
    AppendTable(item.value(), losses, losses.l2, where);
  }
  losses.l1.assign(losses.l2.size(), kNone);
  if (!value.contains("L1_loss")) return losses;
  std::vector<double> l1;
  for (const auto& item : ObjectAt(value, "L1_loss", file).items()) {
    const std::string where = fmt::format("search result {}: L1_loss of '{}'", file, Printable(item.key(), 40));
    if (!value["L2_loss"].contains(item.key())) Reject(file, "L1_loss and L2_loss name different candidates");
    AppendTable(item.value(), losses, l1, where);
  }
  if (l1.size() != losses.l2.size()) Reject(file, "L1_loss and L2_loss name different candidates");
  losses.l1 = std::move(l1);
  return losses;
}

std::vector<WindowLosses> ReadWindowLosses(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code failure;
  for (fs::directory_iterator at(folder, failure), end; !failure && at != end; at.increment(failure)) {
    const std::string name = at->path().filename().native();
    if (name.starts_with("mask_search") && name.ends_with(".json")) files.push_back(at->path());
  }
  if (failure || files.empty()) {
    throw Error(ErrorKind::kIo,
                fmt::format("search results '{}': {}, wanted a folder with mask_search*.json of STA_searching",
                            Printable(folder.native()), failure ? failure.message() : "none there"));
  }
  std::sort(files.begin(), files.end());
  std::vector<WindowLosses> losses;
  for (const fs::path& file : files) {
    const std::string name = Printable(file.native(), 300);
    losses.push_back(ParseWindowLosses(ParseJson(ReadWholeFile(file, kMostBytes), name), name));
  }
  return losses;
}

TunedWindows TuneWindows(std::span<const WindowLosses> prompts, std::span<const TileWindow> candidates,
                         const TileWindow& full, int skip_steps) {
  if (prompts.empty()) throw Error(ErrorKind::kUsage, "tuning of windows: no search result");
  CheckSizes(prompts);
  const WindowLosses& first = prompts.front();
  if (candidates.empty()) candidates = first.candidates;
  std::vector<std::vector<size_t>> places;
  for (const TileWindow& candidate : candidates) places.push_back(PlacesOf(candidate, prompts));
  std::vector<WindowEntry> entries;
  double tiles = 0;
  for (size_t place = 0; place < first.l2.size() / first.candidates.size(); ++place) {
    const auto heads = static_cast<size_t>(first.heads), layers = static_cast<size_t>(first.layers);
    WindowEntry entry{static_cast<int>(place / heads / layers), static_cast<int>(place / heads % layers),
                      static_cast<int>(place % heads), full};
    if (entry.step >= skip_steps) {
      if (const auto best = BestCandidate(prompts, places, place)) entry.window = candidates[*best];
    }
    tiles += TilesIn(entry.window, full);
    entries.push_back(entry);
  }
  const double all = TilesIn(full, full) * static_cast<double>(entries.size());
  return {WindowStrategy(std::move(entries)), 1 - tiles / all};
}

std::vector<TileWindow> CandidateWindows(const TileWindow& full) {
  constexpr TileWindow kGrid = {3, 6, 10};
  constexpr std::array<TileWindow, 6> kUsed = {{{3, 1, 10}, {1, 5, 7}, {3, 3, 3}, {1, 6, 5}, {1, 3, 10}, {3, 6, 1}}};
  std::vector<TileWindow> candidates;
  for (const TileWindow& used : kUsed) {
    TileWindow window;
    for (size_t axis = 0; axis < window.size(); ++axis) {
      window[axis] = InProportion(used[axis], kGrid[axis], full[axis]);
    }
    const bool is_there = std::find(candidates.begin(), candidates.end(), window) != candidates.end();
    if (window != full && !is_there) candidates.push_back(window);
  }
  return candidates;
}

}  // namespace tessera
