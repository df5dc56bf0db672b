// tessera attention-search: runs jobs with all candidate windows of sliding tile attention and writes the strategy that
// loses least.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <optional>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/grid_tiles.h"
#include "attention/planner.h"
#include "attention/registry.h"
#include "attention/window_search.h"
#include "base/atomic_file.h"
#include "base/check.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/generate_flags.h"
#include "pipeline/pipeline.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModeOption = "sta_mode";
constexpr int kMostSkippedSteps = 12;  // of the original, which makes 50 steps
constexpr int kPassesOfGuidance = 2;

// The planner whose windows can be searched.
const AttentionBackend& SearchedBackend(const AttentionRegistry& registry) {
  for (const AttentionBackend* backend : registry.backends()) {
    const bool is_planner = backend->planner != nullptr && backend->planner->name == backend->name;
    if (is_planner && FindOption(*backend, kModeOption) != nullptr) return *backend;
  }
  throw Error(ErrorKind::kUnsupported, "attention-search: no attention backend with windows is in this build");
}

// What the command itself was asked for.
struct SearchSettings {
  fs::path output, losses;
  TileSize tile{};
  std::vector<TileWindow> candidates;  // empty: chosen for the grid
  std::optional<int64_t> skip_steps;
  bool takes_unconditional = true;  // losses of the pass without the prompt count, too
};

// Flags of `tessera generate` that have no meaning here.
void RefuseFlags(const FlagValues& values) {
  for (const char* flag : {"attention-backend", "attention-backend-config", "attention-schedule", "attention-fidelity",
                           "attention-check", "component-attention-backends"}) {
    if (values.GivenBy(flag) == FlagSource::kDefault) continue;
    throw Error(ErrorKind::kUsage, fmt::format("--{}: attention-search has its own backend; --tile-size "
                                               "and --candidates say how",
                                               flag));
  }
  for (const char* flag : {"output-path", "output-file-name", "output-format", "frames-as", "output-compression",
                           "output-quality", "perf-dump-path", "profile", "save-latents", "checkpoint", "resume",
                           "preview-every", "plan-only", "json", "from-image", "warmup"}) {
    if (values.GivenBy(flag) == FlagSource::kDefault) continue;
    throw Error(ErrorKind::kUsage,
                fmt::format("--{}: attention-search makes no pictures; --output names the strategy it writes", flag));
  }
}

TileSize TileSizeOf(const FlagValues& values) {
  const auto& numbers = values.Ints("tile-size");
  if (numbers.size() == 3) return {numbers[0], numbers[1], numbers[2]};
  throw Error(ErrorKind::kUsage,
              fmt::format("--tile-size: {} numbers, wanted tokens along t, h and w, such as 6,8,8", numbers.size()));
}

std::vector<TileWindow> CandidatesOf(const FlagValues& values) {
  if (!values.Has("candidates")) return {};
  const auto& numbers = values.Ints("candidates");
  if (numbers.size() % 3 != 0) {
    throw Error(ErrorKind::kUsage, fmt::format("--candidates: {} numbers, wanted three a window (tiles along t, h and "
                                               "w), such as 3,1,10,1,5,7",
                                               numbers.size()));
  }
  std::vector<TileWindow> windows(numbers.size() / 3);
  for (size_t i = 0; i < numbers.size(); ++i) windows[i / 3][i % 3] = static_cast<int32_t>(numbers[i]);
  for (size_t i = 0; i < windows.size(); ++i) {
    if (std::find(windows.begin(), windows.begin() + static_cast<std::ptrdiff_t>(i), windows[i]) ==
        windows.begin() + static_cast<std::ptrdiff_t>(i)) {
      continue;
    }
    throw Error(ErrorKind::kUsage, fmt::format("--candidates: {} is named twice", Print(windows[i])));
  }
  return windows;
}

SearchSettings SettingsOf(const FlagValues& values) {
  if (!values.Has("output")) {
    throw Error(ErrorKind::kUsage, "attention-search needs --output, the strategy file to write: strategy.json");
  }
  SearchSettings settings;
  settings.output = values.String("output");
  settings.losses = values.String("save-losses");
  settings.tile = TileSizeOf(values);
  settings.candidates = CandidatesOf(values);
  if (values.Has("skip-steps")) settings.skip_steps = values.Int("skip-steps");
  settings.takes_unconditional = values.String("passes") == "all";
  return settings;
}

template <class Numbers>
OptionValue List(const Numbers& numbers) {
  return std::vector<double>(numbers.begin(), numbers.end());
}

void SearchWith(const SearchSettings& settings, GenerateRequest& request) {
  request.attention_backend = std::string(SearchedBackend(request.registry()).name);
  request.attention_options.Set(kModeOption, std::string("STA_searching"));
  request.attention_options.Set("tile_size", List(settings.tile));
  std::vector<double> numbers;
  for (const TileWindow& window : settings.candidates) numbers.insert(numbers.end(), window.begin(), window.end());
  if (!numbers.empty()) request.attention_options.Set("mask_candidates", numbers);
  if (settings.skip_steps) request.attention_options.Set("skip_time_steps", *settings.skip_steps);
}

int SkippedSteps(const SearchSettings& settings, int64_t steps) {
  const int64_t skip = settings.skip_steps.value_or(std::min<int64_t>(kMostSkippedSteps, steps / 4));
  if (skip < steps) return static_cast<int>(skip);
  throw Error(ErrorKind::kUsage, fmt::format("--skip-steps {}: the job has {} steps, so nothing would be searched; 0 "
                                             "to {} would work",
                                             skip, steps, steps - 1));
}

// The window that sees the whole grid of every searched site. They must share one grid: one strategy serves them all.
TileWindow FullWindowOf(const RunState& run, const TileSize& tile) {
  std::optional<TileWindow> full;
  for (const SiteProblem& wanted : run.family->DenoiserSites(run.job)) {
    if (!wanted.problem.grid || wanted.problem.role == AttentionRole::kCross) continue;
    const TileWindow window = FullWindow(CutIntoTiles(*wanted.problem.grid, tile).axes);
    if (full && *full != window) {
      throw Error(ErrorKind::kUnsupported, fmt::format("attention-search: the model attends over grids of {} and of {} "
                                                       "tiles; one strategy cannot serve both",
                                                       Print(*full), Print(window)));
    }
    full = window;
  }
  if (!full) {
    throw Error(ErrorKind::kUnsupported, "attention-search: the model has no attention over a grid of tokens");
  }
  if (*full == TileWindow{1, 1, 1}) {
    throw Error(ErrorKind::kUsage, fmt::format("--tile-size {},{},{}: the whole grid is one tile, so there is no "
                                               "window to choose; smaller tiles or a larger picture would work",
                                               tile[0], tile[1], tile[2]));
  }
  return *full;
}

void RefuseFullCandidates(const SearchSettings& settings, const TileWindow& full) {
  for (const TileWindow& window : settings.candidates) {
    if (window[0] < full[0] || window[1] < full[1] || window[2] < full[2]) continue;
    throw Error(ErrorKind::kUsage,
                fmt::format("--candidates: {} shows the whole grid of {} tiles and would win always; "
                            "windows that are smaller along an axis would work",
                            Print(window), Print(full)));
  }
}

// Puts what `more` has measured into `all`, layer by layer; both are of one picture and pass.
void Merge(const WindowLosses& more, WindowLosses& all) {
  if (all.candidates.empty()) {
    all = more;
    return;
  }
  if (more.heads != all.heads || more.steps != all.steps || more.candidates != all.candidates) {
    throw Error(ErrorKind::kUnsupported, fmt::format("attention-search: parts of the model have {} and {} heads; one "
                                                     "strategy cannot serve both",
                                                     all.heads, more.heads));
  }
  WindowLosses both = EmptyLosses(all.candidates, all.steps, std::max(all.layers, more.layers), all.heads);
  for (const WindowLosses* part : std::initializer_list<const WindowLosses*>{&all, &more}) {
    for (size_t candidate = 0; candidate < part->candidates.size(); ++candidate) {
      for (int place = 0; place < part->steps * part->layers * part->heads; ++place) {
        const int step = place / part->heads / part->layers, layer = place / part->heads % part->layers;
        const auto head = static_cast<size_t>(place % part->heads);
        const size_t from = part->At(candidate, step, layer) + head, to = both.At(candidate, step, layer) + head;
        if (!std::isfinite(part->l2[from])) continue;
        both.l1[to] = part->l1[from];
        both.l2[to] = part->l2[from];
      }
    }
  }
  all = std::move(both);
}

// The losses of the picture just denoised, one table per pass.
std::vector<WindowLosses> LossesOf(const RunState& run, int passes) {
  std::vector<WindowLosses> losses(static_cast<size_t>(passes));
  for (const AttentionFinding& finding : run.attention.Findings()) {
    const auto json = nlohmann::json::parse(finding.json);
    for (int pass = 0; pass < passes; ++pass) {
      const char* name = pass == 0 ? "pos" : "neg";
      if (!json.contains(name)) continue;
      Merge(ParseWindowLosses(json[name], finding.site.ToString()), losses[static_cast<size_t>(pass)]);
    }
  }
  TESSERA_CHECK(!losses[0].candidates.empty());
  return losses;
}

void Write(const fs::path& path, std::string_view text) { WriteFileAtomically(path, std::as_bytes(std::span(text))); }

fs::path LossFile(const fs::path& folder, size_t pass, size_t picture) {
  return folder / (pass == 0 ? "pos" : "neg") / fmt::format("mask_search_{:04}.json", picture);
}

// As STA_tuning reads them: a folder per pass, a file per picture.
void WriteLosses(const fs::path& folder, const std::vector<WindowLosses>& losses, int passes) {
  for (size_t i = 0; i < losses.size(); ++i) {
    const auto pass = i % static_cast<size_t>(passes);
    Write(LossFile(folder, pass, i / static_cast<size_t>(passes)), ToJson(losses[i]).dump() + "\n");
  }
}

std::vector<WindowLosses> Search(RunState& run, int passes) {
  std::vector<WindowLosses> all;
  DenoiseAll(run, [&](const PictureState& picture) {
    for (WindowLosses& losses : LossesOf(run, passes)) all.push_back(std::move(losses));
    Log(LogLevel::kInfo, fmt::format("attention-search: prompt {} of {}, seed {}", picture.prompt + 1,
                                     run.request.prompts.size(), picture.seed));
  });
  return all;
}

void PrintResult(const TunedWindows& tuned, const RunState& run, const SearchSettings& settings, int skip) {
  const std::string text = fmt::format(
      "{}\noverall sparsity {:.4f}\nuse it with --attention-backend {} --attention-backend-config "
      "'{{\"mask_strategy_file_path\": {}, \"skip_time_steps\": {}, \"tile_size\": [{}, {}, {}]}}'\n",
      settings.output.string(), tuned.sparsity, run.request.attention_backend,
      nlohmann::json(settings.output.string()).dump(), skip, settings.tile[0], settings.tile[1], settings.tile[2]);
  std::fputs(text.c_str(), stdout);
}

}  // namespace

int AttentionSearchCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(AttentionSearchFlags(), arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(AttentionSearchFlags()).c_str(), stdout);
    return 0;
  }
  ApplyEngineFlags(values);
  RefuseFlags(values);
  SearchSettings settings = SettingsOf(values);
  GenerateRequest request = MakeRequest(values);
  SearchWith(settings, request);
  auto run = PrepareRun(request);
  const int skip = SkippedSteps(settings, run->job.steps);
  const TileWindow full = FullWindowOf(*run, settings.tile);
  RefuseFullCandidates(settings, full);
  if (!settings.skip_steps && skip > 0) {  // it depends on the steps of the job
    settings.skip_steps = skip;
    SearchWith(settings, request);
    run = PrepareRun(request);
  }
  { AtomicFile attempt(settings.output); }
  if (!settings.losses.empty()) AtomicFile attempt(LossFile(settings.losses, 0, 0));
  const int passes = settings.takes_unconditional && run->guided() ? kPassesOfGuidance : 1;
  const std::vector<WindowLosses> losses = Search(*run, passes);
  const TunedWindows tuned = TuneWindows(losses, settings.candidates, full, skip);
  if (!settings.losses.empty()) WriteLosses(settings.losses, losses, passes);
  Write(settings.output, tuned.strategy.ToJson());
  PrintResult(tuned, *run, settings, skip);
  return 0;
}

}  // namespace tessera
