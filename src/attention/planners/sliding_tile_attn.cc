// Sliding Tile Attention (arXiv:2502.04507): every query tile of a video or picture sees a window of key tiles around
// it, chosen for every step, layer and head. Text sees all and is seen by all.
#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/option_values.h"
#include "attention/planner.h"
#include "attention/tile_windows.h"
#include "attention/window_search.h"
#include "attention/window_strategy.h"
#include "base/atomic_file.h"
#include "base/check.h"
#include "base/error.h"
#include "base/text.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

enum class Mode { kInference, kSearching, kTuning, kTuningCfg };

constexpr std::array<int64_t, 3> kDefaultTile = {6, 8, 8};
constexpr TileWindow kDefaultWindow = {3, 3, 3};
constexpr int64_t kStrategySkip = 15, kTunerSkip = 12;  // of the original
constexpr double kMostTile = 65536, kMostWindow = 2147483647;

OptionValue NoText() { return std::string(); }
OptionValue NoNumbers() { return std::vector<double>(); }

constexpr std::array<OptionSpec, 9> kOptions = {{
    {"sta_mode",
     "use windows, search them (all candidates in every layer), or tune them from search results",
     [] { return OptionValue(std::string("STA_inference")); },
     {},
     {},
     "STA_inference|STA_searching|STA_tuning|STA_tuning_cfg|STA_INFERENCE|STA_SEARCHING|STA_TUNING|STA_TUNING_CFG",
     "STA_mode mode"},
    {"mask_strategy_file_path",
     "JSON file with a window for each STEP_LAYER_HEAD; what it leaves out is dense",
     NoText,
     {},
     {},
     {},
     "mask_strategy load_path"},
    {"skip_time_steps",
     "first steps that are dense and not searched; -1: 15 with a strategy file, 12 when tuning, else 0",
     [] { return OptionValue(int64_t{-1}); },
     -1.0,
     1e6,
     {}},
    {"window",
     "tiles along t, h, w that a tile sees in all steps, layers and heads; none, and no strategy file: [3, 3, 3]",
     NoNumbers,
     1.0,
     kMostWindow,
     {}},
    {"tile_size",
     "tokens of a tile along t, h, w",
     [] { return OptionValue(std::vector<double>(kDefaultTile.begin(), kDefaultTile.end())); },
     1.0,
     kMostTile,
     {}},
    {"mask_candidates",
     "windows to search or tune, three numbers each; none: chosen for the grid, or all that were searched",
     NoNumbers,
     1.0,
     kMostWindow,
     {},
     "candidates"},
    {"mask_search_files_path",
     "folder of search results to tune from",
     NoText,
     {},
     {},
     {},
     "mask_search_files_path_pos"},
    {"mask_search_files_path_neg",
     "folder of search results of the unconditional pass, for STA_tuning_cfg",
     NoText,
     {},
     {},
     {}},
    {"save_dir",
     "folder that tuning writes mask_strategy_s<skip_time_steps>.json to",
     [] { return OptionValue(std::string("mask_candidates")); },
     {},
     {},
     {}},
}};

constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kF32) | Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, 1 << 16, 1},
    .masks = kMaskKeyLengths | kMaskBias,
    .grouped_kv = true,
    .lse = true,
    .wants_grid = true,
    .fidelity = Fidelity::kSparse,
};

[[noreturn]] void Reject(const std::string& what) {
  throw Error(ErrorKind::kUsage, "attention backend sliding_tile_attn: " + what);
}

// What the options say, checked against the grid.
struct Settings {
  Mode mode = Mode::kInference;
  TileSize tile = kDefaultTile;
  std::optional<TileWindow> window;  // absent: the strategy's
  WindowStrategy strategy;
  std::vector<TileWindow> candidates;
  int64_t skip = 0;
  std::filesystem::path save_to;  // of what was tuned
  double sparsity = 0;
};

// Windows of three numbers each.
std::vector<TileWindow> WindowsOf(const Options& options, std::string_view key) {
  const auto& numbers = std::get<std::vector<double>>(*options.Find(key));
  if (numbers.size() % 3 != 0) Reject(fmt::format("{} has {} numbers, wanted three a window", key, numbers.size()));
  std::vector<TileWindow> windows(numbers.size() / 3);
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (numbers[i] != std::floor(numbers[i])) Reject(fmt::format("{} holds {}, wanted whole numbers", key, numbers[i]));
    windows[i / 3][i % 3] = static_cast<int32_t>(numbers[i]);
  }
  return windows;
}

Mode ModeOf(const Options& options) {
  constexpr std::array<std::string_view, 4> kWords = {"sta_inference", "sta_searching", "sta_tuning", "sta_tuning_cfg"};
  const std::string word = Lower(WordOf(options, "sta_mode"));
  return static_cast<Mode>(std::find(kWords.begin(), kWords.end(), word) - kWords.begin());
}

// An option that another mode reads would be dropped here.
void RejectUnused(const Options& options, Mode mode) {
  const bool uses = mode == Mode::kInference, tunes = mode == Mode::kTuning || mode == Mode::kTuningCfg;
  const struct {
    std::string_view key;
    bool is_used;
  } keys[] = {{"mask_strategy_file_path", uses},
              {"window", uses},
              {"mask_candidates", !uses},
              {"mask_search_files_path", tunes},
              {"mask_search_files_path_neg", mode == Mode::kTuningCfg}};
  for (const auto& [key, is_used] : keys) {
    const OptionValue& value = *options.Find(key);
    const auto* text = std::get_if<std::string>(&value);
    const bool is_given = text != nullptr ? !text->empty() : !std::get<std::vector<double>>(value).empty();
    if (is_given && !is_used) Reject(fmt::format("sta_mode={} does not use {}", WordOf(options, "sta_mode"), key));
  }
}

void CheckWindow(const TileWindow& window, const std::array<TileAxis, 3>& axes, const std::string& whose) {
  const std::string_view even = EvenAxis(window, axes);
  if (even.empty()) return;
  Reject(fmt::format("{}{} is even along {}, where the grid has {} tiles; odd numbers or all tiles would work", whose,
                     Print(window), even, Print(FullWindow(axes))));
}

void TakeWindows(const Options& options, const std::array<TileAxis, 3>& axes, int heads, Settings& settings) {
  const std::string& file = WordOf(options, "mask_strategy_file_path");
  const auto windows = WindowsOf(options, "window");
  if (windows.size() > 1) Reject(fmt::format("window has {} numbers, wanted three", 3 * windows.size()));
  if (file.empty()) {
    settings.window = windows.empty() ? kDefaultWindow : windows[0];
    CheckWindow(*settings.window, axes, "window=");
    return;
  }
  if (!windows.empty()) Reject("window and mask_strategy_file_path exclude each other");
  settings.strategy = ReadWindowStrategy(file);
  for (const WindowEntry& entry : settings.strategy.entries()) {
    if (entry.head >= heads) continue;
    CheckWindow(entry.window, axes,
                fmt::format("mask strategy {}: window of '{}_{}_{}' ", Printable(file, 300), entry.step, entry.layer,
                            entry.head));
  }
}

void Tune(const Options& options, const std::array<TileAxis, 3>& axes, int heads, Settings& settings) {
  std::vector<std::string_view> folders = {"mask_search_files_path"};
  if (settings.mode == Mode::kTuningCfg) folders.push_back("mask_search_files_path_neg");
  std::vector<WindowLosses> prompts;
  for (const std::string_view key : folders) {
    if (WordOf(options, key).empty()) {
      Reject(fmt::format("sta_mode={} needs {}: a folder of search results", WordOf(options, "sta_mode"), key));
    }
    for (WindowLosses& losses : ReadWindowLosses(WordOf(options, key))) prompts.push_back(std::move(losses));
  }
  if (prompts[0].heads != heads) {
    Reject(fmt::format("the search results are for {} heads, the model has {}", prompts[0].heads, heads));
  }
  TunedWindows tuned = TuneWindows(prompts, settings.candidates, FullWindow(axes), static_cast<int>(settings.skip));
  for (const WindowEntry& entry : tuned.strategy.entries()) CheckWindow(entry.window, axes, "search results: window ");
  settings.strategy = std::move(tuned.strategy);
  settings.sparsity = tuned.sparsity;
  settings.save_to =
      std::filesystem::path(WordOf(options, "save_dir")) / fmt::format("mask_strategy_s{}.json", settings.skip);
}

TileSize TileSizeOf(const Options& options) {
  const auto sizes = WindowsOf(options, "tile_size");
  if (sizes.size() != 1) Reject("tile_size is not three numbers: tokens along t, h, w");
  return {sizes[0][0], sizes[0][1], sizes[0][2]};
}

std::array<TileAxis, 3> AxesOf(const VideoGrid& grid, const TileSize& tile) {
  return {
      {{grid.t, std::min(tile[0], grid.t)}, {grid.h, std::min(tile[1], grid.h)}, {grid.w, std::min(tile[2], grid.w)}}};
}

Settings SettingsOf(const AttentionProblem& problem, const Options& options) {
  Settings settings;
  settings.mode = ModeOf(options);
  RejectUnused(options, settings.mode);
  settings.tile = TileSizeOf(options);
  const auto axes = AxesOf(*problem.grid, settings.tile);
  settings.candidates = WindowsOf(options, "mask_candidates");
  for (const TileWindow& candidate : settings.candidates) CheckWindow(candidate, axes, "mask_candidates: ");
  const bool tunes = settings.mode == Mode::kTuning || settings.mode == Mode::kTuningCfg;
  const bool has_file = !WordOf(options, "mask_strategy_file_path").empty();
  settings.skip = WholeOf(options, "skip_time_steps");
  if (settings.skip < 0) settings.skip = tunes ? kTunerSkip : has_file ? kStrategySkip : 0;
  if (settings.mode == Mode::kInference) TakeWindows(options, axes, problem.heads, settings);
  if (tunes) Tune(options, axes, problem.heads, settings);
  if (settings.mode == Mode::kSearching && settings.candidates.empty()) {
    settings.candidates = CandidateWindows(FullWindow(axes));
  }
  return settings;
}

// A call outside of a context has its place in the problem.
int StepOf(const AttentionProblem& problem) { return std::max(problem.step, 0); }
int LayerOf(const AttentionProblem& problem, const AttentionPlace& place) {
  return problem.layer >= 0 ? problem.layer : place.layer;
}

// Uses the windows of a strategy, or one window everywhere.
class WindowPlanner final : public BlockPlanner {
 public:
  WindowPlanner(const AttentionProblem& problem, Settings settings)
      : problem_(problem),
        settings_(std::move(settings)),
        blocks_(CutIntoTiles(*problem.grid, settings_.tile), problem.batch, problem.heads),
        windows_(static_cast<size_t>(problem.heads)) {
    blocks_.Reserve(MostBlocks());
  }

  void BeginRequest(const DenoisingOutline& outline) override {
    steps_ = outline.steps;
    layers_ = outline.layers;
    step_ = StepOf(problem_);
    decision_ = nullptr;
    if (steps_ == 0 || settings_.save_to.empty() || is_saved_) return;
    const std::string json = settings_.strategy.ToJson();
    WriteFileAtomically(settings_.save_to, std::as_bytes(std::span(json)));
    is_saved_ = true;
  }
  void BeginStep(int step) noexcept override { step_ = step; }

  void Run(const AttentionIO& io, const AttentionKernelCall& attend, std::span<std::byte>) noexcept override {
    LookUp(step_, LayerOf(problem_, io.place));
    decision_ = blocks_.For(windows_);
    AttentionIO planned = io;
    planned.blocks = decision_;
    attend(planned);
  }
  const BlockPlan* decision() const noexcept override { return decision_; }

  double ExpectedDensity(int step, int layer) const noexcept override {
    if (step >= 0 && layer >= 0) return DensityAt(step, layer);
    if (settings_.window) {
      const double dense = steps_ == 0 ? 0 : static_cast<double>(std::min<int64_t>(settings_.skip, steps_)) / steps_;
      return step >= 0 ? DensityAt(step, 0) : dense + (1 - dense) * DensityOf(*settings_.window);
    }
    return steps_ > 0 && layers_ > 0 ? MeanOverRun(step, layer) : MeanOverStrategy(step, layer);
  }

  std::string Findings() const override {
    if (settings_.save_to.empty()) return {};
    nlohmann::json windows = nlohmann::json::object();
    for (const WindowEntry& entry : settings_.strategy.entries()) {
      windows[fmt::format("{}_{}_{}", entry.step, entry.layer, entry.head)] = entry.window;
    }
    return nlohmann::json{{"mask_strategy", std::move(windows)}, {"sparsity", settings_.sparsity}}.dump();
  }

 private:
  // The windows of all heads at a place.
  void LookUp(int step, int layer) noexcept {
    const TileWindow full = FullWindow(blocks_.tiles().axes);
    std::fill(windows_.begin(), windows_.end(), settings_.window.value_or(full));
    if (step < settings_.skip) std::fill(windows_.begin(), windows_.end(), full);
    if (step < settings_.skip || settings_.window) return;
    for (const WindowEntry& entry : settings_.strategy.At(step, layer)) {
      if (entry.head < problem_.heads) windows_[static_cast<size_t>(entry.head)] = entry.window;
    }
  }

  double DensityOf(const TileWindow& window) const noexcept {
    return WindowDensity(window, blocks_.tiles().axes, blocks_.tiles().text_tokens());
  }

  double DensityAt(int step, int layer) const noexcept {
    if (step < settings_.skip) return 1;
    if (settings_.window) return DensityOf(*settings_.window);
    double sum = problem_.heads;
    for (const WindowEntry& entry : settings_.strategy.At(step, layer)) {
      if (entry.head < problem_.heads) sum += DensityOf(entry.window) - 1;
    }
    return sum / problem_.heads;
  }

  // A negative step or layer: all of them.
  double MeanOverRun(int step, int layer) const noexcept {
    double sum = 0;
    int64_t places = 0;
    for (int s = std::max(step, 0); s < (step >= 0 ? step + 1 : steps_); ++s) {
      for (int l = std::max(layer, 0); l < (layer >= 0 ? layer + 1 : layers_); ++l, ++places) sum += DensityAt(s, l);
    }
    return places > 0 ? sum / static_cast<double>(places) : 1;
  }

  // Over the places that the strategy names, while nothing is known of the run.
  double MeanOverStrategy(int step, int layer) const noexcept {
    double sum = 0;
    int64_t places = 0;
    const WindowEntry* last = nullptr;
    for (const WindowEntry& entry : settings_.strategy.entries()) {
      const bool is_wanted = (step < 0 || entry.step == step) && (layer < 0 || entry.layer == layer);
      const bool is_new = last == nullptr || last->step != entry.step || last->layer != entry.layer;
      last = &entry;
      if (!is_wanted || !is_new) continue;
      sum += DensityAt(entry.step, entry.layer);
      ++places;
    }
    return places > 0 ? sum / static_cast<double>(places) : 1;
  }

  // Listed in the call with the most; calls in which all heads are dense list none.
  double MostBlocks() const {
    if (settings_.window) return problem_.heads * VisitedBlocks(*settings_.window, blocks_.tiles());
    const auto entries = settings_.strategy.entries();
    double most = 0;
    for (auto first = entries.begin(); first != entries.end();) {
      const auto at = settings_.strategy.At(first->step, first->layer);
      most = std::max(most, BlocksAt(at));
      first += static_cast<std::ptrdiff_t>(at.size());
    }
    return most;
  }

  double BlocksAt(std::span<const WindowEntry> entries) const {
    const double full = VisitedBlocks(FullWindow(blocks_.tiles().axes), blocks_.tiles());
    double blocks = problem_.heads * full;
    bool is_dense = true;
    for (const WindowEntry& entry : entries) {
      if (entry.head >= problem_.heads) continue;
      blocks += VisitedBlocks(entry.window, blocks_.tiles()) - full;
      is_dense &= IsFull(entry.window, blocks_.tiles().axes);
    }
    return is_dense ? 0 : blocks;
  }

  const AttentionProblem problem_;
  const Settings settings_;
  WindowBlocks blocks_;
  std::vector<TileWindow> windows_;  // of the call
  const BlockPlan* decision_ = nullptr;
  int steps_ = 0, layers_ = 0, step_ = 0;
  bool is_saved_ = false;
};

double Element(const Bshd<const void*>& rows, DType dtype, int64_t index) noexcept {
  switch (dtype) {
    case DType::kBF16:
      return ToFloat(static_cast<const BFloat16*>(rows.elements)[index]);
    case DType::kF16:
      return ToFloat(static_cast<const Float16*>(rows.elements)[index]);
    default:
      return static_cast<const float*>(rows.elements)[index];
  }
}

// Answers densely; beside that, every candidate in all heads, and how far it is from the answer.
class SearchPlanner final : public BlockPlanner {
 public:
  SearchPlanner(const AttentionProblem& problem, const Settings& settings)
      : problem_(problem),
        candidates_(settings.candidates),
        skip_(settings.skip),
        blocks_(CutIntoTiles(*problem.grid, settings.tile), problem.batch, problem.heads),
        windows_(static_cast<size_t>(problem.heads)) {
    for (const TileWindow& candidate : candidates_) {
      blocks_.Reserve(problem.heads * VisitedBlocks(candidate, blocks_.tiles()));
    }
  }

  // The answer of a candidate, [batch, seq, heads, head_dim], then its LSE.
  size_t workspace_bytes() const noexcept override {
    return OutBytes() + (problem_.needs_lse ? static_cast<size_t>(Rows()) * sizeof(float) : 0);
  }
  void BeginRequest(const DenoisingOutline& outline) override {
    const int steps = std::max(outline.steps, 1), layers = std::max(outline.layers, 1);
    losses_.assign(static_cast<size_t>(std::max(outline.passes, 1)),
                   EmptyLosses(candidates_, steps, layers, problem_.heads));
    is_single_ = outline.steps == 0;
    step_ = is_single_ ? 0 : StepOf(problem_);
  }
  void BeginStep(int step) noexcept override { step_ = is_single_ ? 0 : step; }

  void Run(const AttentionIO& io, const AttentionKernelCall& attend, std::span<std::byte> workspace) noexcept override {
    attend(io);
    if (step_ < skip_) return;
    AttentionIO tried = io;
    tried.out = {workspace.data(), problem_.q_len * problem_.heads * problem_.head_dim,
                 int64_t{problem_.heads} * problem_.head_dim, problem_.head_dim};
    if (problem_.needs_lse) tried.lse = reinterpret_cast<float*>(workspace.data() + OutBytes());
    for (size_t candidate = 0; candidate < candidates_.size(); ++candidate) {
      std::fill(windows_.begin(), windows_.end(), candidates_[candidate]);
      tried.blocks = blocks_.For(windows_);
      attend(tried);
      Record(candidate, io, tried);
    }
  }
  const BlockPlan* decision() const noexcept override { return nullptr; }
  double ExpectedDensity(int, int) const noexcept override { return 1; }

  std::string Findings() const override {
    nlohmann::json found = nlohmann::json::object();
    for (size_t pass = 0; pass < losses_.size(); ++pass) {
      found[pass == 0 ? "pos" : pass == 1 ? "neg" : fmt::format("pass_{}", pass)] = ToJson(losses_[pass]);
    }
    return found.dump();
  }

 private:
  int64_t Rows() const noexcept { return problem_.batch * problem_.q_len * problem_.heads; }
  size_t OutBytes() const noexcept {
    const size_t bytes = static_cast<size_t>(Rows() * problem_.head_dim) * SizeOf(problem_.dtype);
    return (bytes + 63) / 64 * 64;
  }

  void Record(size_t candidate, const AttentionIO& full, const AttentionIO& tried) noexcept {
    const auto pass = static_cast<size_t>(full.place.pass);
    const int layer = losses_[0].layers == 1 ? 0 : full.place.layer;
    if (pass >= losses_.size() || step_ >= losses_[pass].steps || layer >= losses_[pass].layers) return;
    WindowLosses& losses = losses_[pass];
    const size_t first = losses.At(candidate, step_, layer);
    ParallelItems(problem_.heads, [&](int64_t head, int) {
      const auto [l1, l2] = Distance(full.out, tried.out, head);
      losses.l1[first + static_cast<size_t>(head)] = l1;
      losses.l2[first + static_cast<size_t>(head)] = l2;
    });
  }

  // Mean of |a - b| and of (a - b)^2 over samples, tokens and channels.
  std::array<double, 2> Distance(const BshdOut& a, const BshdOut& b, int64_t head) const noexcept {
    const BshdIn from{a.elements, a.batch_stride, a.seq_stride, a.head_stride};
    const BshdIn to{b.elements, b.batch_stride, b.seq_stride, b.head_stride};
    double l1 = 0, l2 = 0;
    for (int64_t row = 0; row < problem_.batch * problem_.q_len; ++row) {
      const int64_t sample = row / problem_.q_len, token = row % problem_.q_len;
      const int64_t i = sample * from.batch_stride + token * from.seq_stride + head * from.head_stride;
      const int64_t j = sample * to.batch_stride + token * to.seq_stride + head * to.head_stride;
      for (int64_t channel = 0; channel < problem_.head_dim; ++channel) {
        const double gap = Element(from, problem_.dtype, i + channel) - Element(to, problem_.dtype, j + channel);
        l1 += std::abs(gap);
        l2 += gap * gap;
      }
    }
    const auto count = static_cast<double>(problem_.batch * problem_.q_len * problem_.head_dim);
    return {l1 / count, l2 / count};
  }

  const AttentionProblem problem_;
  const std::vector<TileWindow> candidates_;
  const int64_t skip_;
  WindowBlocks blocks_;
  std::vector<TileWindow> windows_;   // of the call
  std::vector<WindowLosses> losses_;  // by pass
  int step_ = 0;
  bool is_single_ = true;
};

double Speedup(const AttentionProblem& problem) {
  if (!problem.grid) return 1;
  const auto axes = AxesOf(*problem.grid, kDefaultTile);
  return 0.85 / WindowDensity(kDefaultWindow, axes, problem.grid->prefix + problem.grid->suffix);
}

std::unique_ptr<BlockPlanner> Plan(const AttentionProblem& problem, const Device&, const Options& options) {
  TESSERA_CHECK(problem.grid.has_value());
  Settings settings = SettingsOf(problem, options);
  if (settings.mode == Mode::kSearching) return std::make_unique<SearchPlanner>(problem, settings);
  return std::make_unique<WindowPlanner>(problem, std::move(settings));
}

}  // namespace

extern const AttentionPlanner k_sliding_tile_attn_planner;
constinit const AttentionPlanner k_sliding_tile_attn_planner{
    .name = "sliding_tile_attn",
    .aliases = "sta",
    .summary = "Sliding Tile Attention: windows of tiles for each step, layer and head",
    .caps = kCaps,
    .options = kOptions,
    .option_prefix = "sta_",
    .speedup = Speedup,
    .plan = Plan,
};

}  // namespace tessera
