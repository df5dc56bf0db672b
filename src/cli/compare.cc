// tessera compare: the same noise through several attention backends, and how far the pictures are apart.
#include <algorithm>
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
  for (const char* flag : {"output-format", "save-latents", "checkpoint", "resume", "preview-every", "perf-dump-path",
                           "plan-only", "from-image", "num-outputs-per-prompt"}) {
    if (values.GivenBy(flag) == FlagSource::kDefault) continue;
    throw Error(ErrorKind::kUsage, fmt::format("--{}: compare writes a contact sheet, a JSON and an HTML report only; "
                                               "--seeds 1,2,3 makes several pictures per prompt",
                                               flag));
  }
}

Files FilesOf(const GenerateRequest& request) {
  const std::string stem =
      request.output_file_name.empty() ? "compare" : SafeFileName(fs::path(request.output_file_name).stem().string());
  const fs::path base = fs::path(request.output_path) / stem;
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

}  // namespace

int CompareCommand(Arguments arguments) {
  const FlagValues values = ParseFlags(CompareFlags(), arguments);
  if (values.help_wanted()) {
    std::fputs(FlagHelp(CompareFlags()).c_str(), stdout);
    return 0;
  }
  ApplyEngineFlags(values);
  RefuseFlags(values);
  if (!values.Has("backends")) {
    throw Error(ErrorKind::kUsage, "compare needs --backends, such as --backends fa,sage_attn or --backends all");
  }
  const GenerateRequest base = MakeRequest(values);
  const auto list = ListBackends(
      values.Strings("backends"),
      values.Has("backend-config") ? values.Strings("backend-config") : std::vector<std::string>(), base.registry());
  Comparison comparison{.model = base.model_path, .prompts = base.prompts, .seeds = SeedsOf(values), .columns = {}};
  auto runs = Prepare(base, list, comparison);
  comparison.model = runs.front()->folder.name();
  const Files files = FilesOf(base);
  CheckOutputFolder(base.output_path);
  for (const fs::path& path : {files.sheet, files.json, files.html}) AtomicFile attempt(path);
  WarmUpRun(base, list.front(), comparison.seeds.front());
  MakeColumns(runs, comparison);
  const auto scores = Score(comparison);
  WriteReports(comparison, scores, files);
  if (values.Bool("json")) {
    std::fputs((ToJson(comparison, scores).dump(2) + "\n").c_str(), stdout);
  } else {
    std::fputs((ToTable(comparison, scores) +
                fmt::format("\n{}\n{}\n{}\n", files.sheet.string(), files.json.string(), files.html.string()))
                   .c_str(),
               stdout);
  }
  return 0;
}

}  // namespace tessera
