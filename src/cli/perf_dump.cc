#include "cli/perf_dump.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"
#include "base/read_file.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr size_t kMostBytes = size_t{64} << 20;

[[noreturn]] void Refuse(const std::string& path, const std::string& what) {
  throw Error(ErrorKind::kFormat, fmt::format("{}: {}", Printable(path), what));
}

double ReadDuration(const nlohmann::json& value, const std::string& path, const std::string& place) {
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() < 0) {
    Refuse(path, fmt::format("{} is {}; it must be a number of milliseconds", place, DescribeJson(value)));
  }
  return value.get<double>();
}

bool IsDenoisingStep(const std::string& name) {
  constexpr std::string_view kStart = "denoising_step_";
  return name.starts_with(kStart) && name.size() > kStart.size() &&
         std::all_of(name.begin() + kStart.size(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

void AddStep(const nlohmann::json& step, const std::string& path, std::vector<PerfStage>& stages) {
  if (!step.is_object()) Refuse(path, fmt::format("an entry of steps is {}; it must be an object", DescribeJson(step)));
  const nlohmann::json name = step.value("name", nlohmann::json("unknown"));
  if (!name.is_string()) Refuse(path, fmt::format("a step's name is {}; it must be text", DescribeJson(name)));
  const std::string text = name.get<std::string>();
  const std::string stage = IsDenoisingStep(text) ? kDenoisingLoop : text;
  auto place = std::ranges::find(stages, stage, &PerfStage::name);
  if (place == stages.end()) place = stages.insert(stages.end(), PerfStage{stage});
  place->milliseconds += ReadDuration(step.value("duration_ms", nlohmann::json(0.0)), path, "duration_ms of a step");
  ++place->count;
}

}  // namespace

PerfDump ReadPerfDump(const std::string& path) {
  const nlohmann::json json = ParseJson(ReadWholeFile(path, kMostBytes), Printable(path));
  if (!json.is_object() || !json.contains("total_duration_ms")) {
    Refuse(path, "is no performance dump: it has no total_duration_ms; generate --perf-dump-path writes one");
  }
  PerfDump dump;
  dump.label = std::filesystem::path(path).filename().string();
  dump.total_milliseconds = ReadDuration(json["total_duration_ms"], path, "total_duration_ms");
  const auto commit = json.find("commit_hash");
  if (commit != json.end() && commit->is_string()) dump.commit = commit->get<std::string>();
  const nlohmann::json steps = json.value("steps", nlohmann::json::array());
  if (!steps.is_array()) Refuse(path, fmt::format("steps is {}; it must be an array", DescribeJson(steps)));
  for (const nlohmann::json& step : steps) AddStep(step, path, dump.stages);
  return dump;
}

}  // namespace tessera
