#include "pipeline/report.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "attention/report.h"
#include "base/environment.h"
#include "base/text.h"

namespace tessera {
namespace {

double Megabytes(size_t bytes) { return std::round(static_cast<double>(bytes) / (1 << 20) * 100) / 100; }

std::string SiteKind(const AttentionRecord& record) {
  return record.site.component + "." + std::string(Name(record.site.role));
}

std::string RequestId() {
  return fmt::format("{:x}-{}", std::chrono::system_clock::now().time_since_epoch().count(), ::getpid());
}

// Sets the value under `name`, or adds it at the end.
template <class Value>
Value& Slot(std::vector<std::pair<std::string, Value>>& rows, const std::string& name) {
  const auto row = std::find_if(rows.begin(), rows.end(), [&](const auto& known) { return known.first == name; });
  if (row != rows.end()) return row->second;
  rows.emplace_back(name, Value{});
  return rows.back().second;
}

}  // namespace

void Report::AddStage(const std::string& name, double seconds) { Slot(stages_, name) += seconds; }

void Report::AddMemory(const std::string& name) {
  Slot(memory_, name) = {Megabytes(ResidentBytes()), Megabytes(PeakResidentBytes())};
}

double Report::StageSeconds() const noexcept {
  double seconds = 0;
  for (const auto& stage : stages_) seconds += stage.second;
  return seconds;
}

std::string Report::Summary() const {
  std::string line;
  for (const auto& [name, seconds] : stages_) {
    if (seconds >= 0.0005) line += fmt::format("{} {}, ", name, FormatSeconds(seconds));
  }
  return fmt::format("{}total {}; peak memory {}; attention {}", line, FormatSeconds(total_seconds_),
                     FormatBytes(static_cast<double>(PeakResidentBytes())), AttentionSummary());
}

std::string Report::AttentionSummary() const {
  std::vector<std::string> parts;
  for (const AttentionRecord& record : attention_) {
    if (record.calls == 0) continue;
    std::string part = fmt::format("{}={}", SiteKind(record), record.backend->name);
    if (record.density < 1) part += fmt::format(" (density {:.3g})", record.density);
    if (std::find(parts.begin(), parts.end(), part) == parts.end()) parts.push_back(part);
  }
  return Join(parts, " ");
}

nlohmann::json Report::AttentionJson() const {
  nlohmann::json rows = nlohmann::json::array();
  for (nlohmann::json& row : RecordsToJson(attention_)) {
    if (row["calls"] == 0) continue;
    row["site"] = row["component"].get<std::string>() + "." + row["role"].get<std::string>();
    row["duration_ms"] = row["seconds"].get<double>() * 1e3;
    rows.push_back(std::move(row));
  }
  return rows;
}

nlohmann::ordered_json Report::ToJson(const std::string& prompt, const std::string& model) const {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  const std::string commit = EnvironmentVariable("SGLANG_GIT_COMMIT");
  json["timestamp"] = fmt::format("{:%Y-%m-%dT%H:%M:%S}+00:00", fmt::gmtime(std::time(nullptr)));
  json["request_id"] = RequestId();
  json["commit_hash"] = commit.empty() ? "N/A" : commit;
  json["tag"] = "cli_generate";
  json["total_duration_ms"] = total_seconds_ * 1e3;
  json["steps"] = nlohmann::ordered_json::array();
  for (const auto& [name, seconds] : stages_) json["steps"].push_back({{"name", name}, {"duration_ms", seconds * 1e3}});
  json["denoise_steps_ms"] = nlohmann::ordered_json::array();
  for (size_t i = 0; i < step_seconds_.size(); ++i) {
    json["denoise_steps_ms"].push_back({{"step", i}, {"duration_ms", step_seconds_[i] * 1e3}});
  }
  json["memory_checkpoints"] = nlohmann::ordered_json::object();
  for (const auto& [name, memory] : memory_) {
    json["memory_checkpoints"][name] = {{"allocated_mb", memory.allocated_mb},
                                        {"reserved_mb", memory.allocated_mb},
                                        {"peak_allocated_mb", memory.peak_allocated_mb},
                                        {"peak_reserved_mb", memory.peak_allocated_mb}};
  }
  json["meta"] = {{"prompt", prompt}, {"model", model}, {"engine", std::string("tessera ") + TESSERA_VERSION}};
  json["attention"] = AttentionJson();
  return json;
}

}  // namespace tessera
