// tessera compare: the same noise through several attention backends, or films that are there already, and how far
// they are apart.
#include <algorithm>
#include <array>
#include <cstdio>

#include <fmt/format.h>

#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/compare/backend_list.h"
#include "cli/compare/comparison.h"
#include "cli/compare/contact_sheet.h"
#include "cli/compare/existing_films.h"
#include "cli/compare/html_report.h"
#include "cli/generate_flags.h"
#include "pipeline/output_files.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

struct Files {
  fs::path sheet, json, html;
};

// Flags of `tessera generate` that say something else here.
void RefuseFlags(const FlagValues& values) {
  for (const char* flag : {"attention-backend", "attention-backend-config"}) {
    if (values.GivenBy(flag) == FlagSource::kDefault) continue;
    throw Error(ErrorKind::kUsage, fmt::format("--{}: compare takes --backends A,B,C and --backend-config "
                                               "NAME:key=value,...",
                                               flag));
  }
  for (const char* flag :
       {"output-format", "output-compression", "output-quality", "frames-as", "save-latents", "checkpoint", "resume",
        "preview-every", "perf-dump-path", "profile", "plan-only", "from-image", "num-outputs-per-prompt"}) {
    if (values.GivenBy(flag) == FlagSource::kDefault) continue;
    throw Error(ErrorKind::kUsage, fmt::format("--{}: compare writes a contact sheet, a JSON and an HTML report only; "
                                               "--seeds 1,2,3 makes several pictures per prompt",
                                               flag));
  }
}

// Flags that say how films are made, where they are there already; --fps says how fast the report plays them.
void RefuseJobFlags(const FlagValues& values) {
  constexpr std::array<std::string_view, 7> kTaken = {"films", "fps",     "output-path", "output-file-name",
                                                      "json",  "threads", "log-level"};
  for (const FlagGroup& group : CompareFlags().groups) {
    for (const Flag& flag : group.flags) {
      const bool taken = std::find(kTaken.begin(), kTaken.end(), flag.name) != kTaken.end();
      if (taken || values.GivenBy(flag.name) != FlagSource::kCommandLine) continue;
      throw Error(ErrorKind::kUsage,
                  fmt::format("--{}: films that are there are compared as they are; --fps, --output-path, "
                              "--output-file-name, --json, --threads and --log-level work",
                              flag.name));
    }
  }
}

Files FilesOf(const FlagValues& values) {
  const std::string& name = values.String("output-file-name");
  const std::string stem = name.empty() ? "compare" : SafeFileName(fs::path(name).stem().string());
  const fs::path base = fs::path(values.String("output-path")) / stem;
  return {base.string() + ".png", base.string() + ".json", base.string() + ".html"};
}

std::vector<uint64_t> SeedsOf(const FlagValues& values) {
  if (!values.Has("seeds")) return {static_cast<uint64_t>(values.Int("seed"))};
  std::vector<uint64_t> seeds;
  for (const int64_t seed : values.Ints("seeds")) {
    if (std::find(seeds.begin(), seeds.end(), static_cast<uint64_t>(seed)) != seeds.end()) {
      throw Error(ErrorKind::kUsage, fmt::format("--seeds: {} is named twice", seed));
    }
    seeds.push_back(static_cast<uint64_t>(seed));
  }
  return seeds;
}

GenerateRequest RequestFor(const GenerateRequest& base, const ListedBackend& listed) {
  GenerateRequest request = base;
  request.attention_backend = listed.backend;
  request.attention_options = listed.options;
  request.attention_options_text = listed.config;
  return request;
}

// Plans every column before anything runs. One that was named must serve; of "all" the reasons are kept.
std::vector<std::unique_ptr<RunState>> Prepare(const GenerateRequest& base, const std::vector<ListedBackend>& list,
                                               Comparison& comparison) {
  std::vector<std::unique_ptr<RunState>> runs;
  for (const ListedBackend& listed : list) {
    comparison.columns.push_back({.label = listed.label, .backend = listed.backend, .config = listed.config});
    runs.emplace_back();
    try {
      runs.back() = PrepareRun(RequestFor(base, listed));
    } catch (const Error& error) {
      if (!listed.may_refuse || error.kind() != ErrorKind::kUnsupported) throw;
      comparison.columns.back().refused = error.what();
    }
  }
  if (runs.front() == nullptr) {
    throw Error(ErrorKind::kUnsupported, fmt::format("'{}' comes first, so all others are compared with it: {}",
                                                     list.front().label, comparison.columns.front().refused));
  }
  return runs;
}

void WarmUpRun(const GenerateRequest& base, const ListedBackend& listed, uint64_t seed) {
  GenerateRequest request = RequestFor(base, listed);
  request.prompts.resize(1);
  request.num_inference_steps = 1;
  const auto run = PrepareRun(request);
  MakeInMemory(*run, std::span(&seed, 1));
}

// Runs every column; each run is dropped, with the weights it loaded, before the next.
void MakeColumns(std::vector<std::unique_ptr<RunState>>& runs, Comparison& comparison) {
  for (size_t i = 0; i < runs.size(); ++i) {
    if (runs[i] == nullptr) continue;
    ComparedBackend& column = comparison.columns[i];
    Log(LogLevel::kInfo, fmt::format("compare: {} ({} of {})", column.label, i + 1, runs.size()));
    const double begin = SecondsNow();
    column.pictures = MakeInMemory(*runs[i], comparison.seeds);
    column.seconds = SecondsNow() - begin;
    column.attention = runs[i]->attention.Records();
    runs[i].reset();
  }
}

void Write(const fs::path& path, std::string_view text) { WriteFileAtomically(path, std::as_bytes(std::span(text))); }

void WriteReports(const Comparison& comparison, const std::vector<BackendScore>& scores, const Files& files) {
  const std::vector<uint8_t> sheet = EncodePicture(DrawContactSheet(comparison, scores), {});
  WriteFileAtomically(files.sheet, std::as_bytes(std::span(sheet)));
  Write(files.json, ToJson(comparison, scores).dump(2) + "\n");
  Write(files.html, HtmlReport(comparison, scores));
}

void CheckFiles(const FlagValues& values, const Files& files) {
  CheckOutputFolder(values.String("output-path"));
  for (const fs::path& path : {files.sheet, files.json, files.html}) AtomicFile attempt(path);
}

void WriteAndPrint(const Comparison& comparison, const FlagValues& values, const Files& files) {
  const auto scores = Score(comparison);
  WriteReports(comparison, scores, files);
  std::string text = ToJson(comparison, scores).dump(2) + "\n";
  if (!values.Bool("json")) {
    text = ToTable(comparison, scores) +
           fmt::format("\n{}\n{}\n{}\n", files.sheet.string(), files.json.string(), files.html.string());
  }
  std::fputs(text.c_str(), stdout);
}

void CompareFilmsThere(const FlagValues& values) {
  RefuseJobFlags(values);
  Comparison comparison = ReadExistingFilms(values.Strings("films"));
  if (values.Has("fps")) comparison.frames_per_second = values.Float("fps");
  const Files files = FilesOf(values);
  CheckFiles(values, files);
  WriteAndPrint(comparison, values, files);
}

}  // namespace

int CompareCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(CompareFlags(), arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(CompareFlags()).c_str(), stdout);
    return 0;
  }
  ApplyEngineFlags(values);
  if (values.Has("films")) {
    CompareFilmsThere(values);
    return 0;
  }
  RefuseFlags(values);
  if (!values.Has("backends")) {
    throw Error(ErrorKind::kUsage,
                "compare needs --backends, such as --backends fa,sage_attn or --backends all, or films that are there");
  }
  const GenerateRequest base = MakeRequest(values);
  const auto list = ListBackends(
      values.Strings("backends"),
      values.Has("backend-config") ? values.Strings("backend-config") : std::vector<std::string>(), base.registry());
  Comparison comparison{.model = base.model_path, .prompts = base.prompts, .seeds = SeedsOf(values), .columns = {}};
  auto runs = Prepare(base, list, comparison);
  comparison.model = runs.front()->folder.name();
  comparison.frames_per_second = base.fps.value_or(runs.front()->family->Defaults().fps);
  const Files files = FilesOf(values);
  CheckFiles(values, files);
  WarmUpRun(base, list.front(), comparison.seeds.front());
  MakeColumns(runs, comparison);
  WriteAndPrint(comparison, values, files);
  return 0;
}

}  // namespace tessera
