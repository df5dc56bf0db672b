#include "attention/report.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/explain.h"
#include "attention/option_text.h"
#include "base/text.h"

namespace tessera {
namespace {

std::string SiteText(const AttentionRecord& record) {
  return record.layers == 1 ? record.site.ToString()
                            : fmt::format("{}.{} x{}", record.site.component, Name(record.site.role), record.layers);
}

std::string BackendText(const AttentionRecord& record) {
  const std::string options = PrintOptions(*record.backend, record.options);
  return options.empty() ? std::string(record.backend->name) : fmt::format("{} ({})", record.backend->name, options);
}

double Speed(const AttentionRecord& record) {
  return record.seconds > 0 ? static_cast<double>(record.calls) * record.problem.flops() / record.seconds : 0;
}

double AllSeconds(std::span<const AttentionRecord> records) {
  double seconds = 0;
  for (const AttentionRecord& record : records) seconds += record.seconds;
  return seconds;
}

double Share(const AttentionRecord& record, double all) { return all > 0 ? record.seconds / all : 0; }

nlohmann::json RecordToJson(const AttentionRecord& record) {
  nlohmann::json row = {{"component", record.site.component},
                        {"role", Name(record.site.role)},
                        {"layers", record.layers},
                        {"steps", PrintRanges(record.steps)},
                        {"problem", Print(record.problem)},
                        {"backend", record.backend->name},
                        {"config", OptionsToJson(record.options)},
                        {"why", record.why},
                        {"calls", record.calls},
                        {"density", record.density}};
  if (record.check.calls > 0) row["check"] = CheckToJson(record.check);
  return row;
}

}  // namespace

std::string PrintRecords(std::span<const AttentionRecord> records, TableFormat format) {
  const double all = AllSeconds(records);
  std::vector<TableRow> rows = {
      {"site", "steps", "problem", "backend", "why", "calls", "time", "share", "speed", "density"}};
  for (const AttentionRecord& record : records) {
    const std::string steps = PrintRanges(record.steps);
    rows.push_back({SiteText(record), steps.empty() ? "-" : steps, Print(record.problem), BackendText(record),
                    record.why, std::to_string(record.calls), FormatSeconds(record.seconds),
                    fmt::format("{:.0f} %", 100 * Share(record, all)),
                    fmt::format("{:.0f} GFLOP/s", Speed(record) / 1e9), fmt::format("{:.3g}", record.density)});
  }
  return PrintTable(rows, format);
}

nlohmann::json CheckToJson(const CheckRecord& check) {
  return {{"calls", check.calls},        {"rows", check.rows},
          {"failures", check.failures},  {"not_finite", check.not_finite},
          {"worst_rel_l1", check.worst}, {"first_failed_step", check.first_failed_step},
          {"demoted", check.demoted}};
}

nlohmann::json RecordsToJson(std::span<const AttentionRecord> records) {
  const double all = AllSeconds(records);
  nlohmann::json list = nlohmann::json::array();
  for (const AttentionRecord& record : records) {
    nlohmann::json row = RecordToJson(record);
    row["seconds"] = record.seconds;
    row["time_share"] = Share(record, all);
    row["flops_per_second"] = Speed(record);
    list.push_back(std::move(row));
  }
  return list;
}

nlohmann::json RecordsToTimelessJson(std::span<const AttentionRecord> records) {
  nlohmann::json list = nlohmann::json::array();
  for (const AttentionRecord& record : records) {
    if (record.calls > 0) list.push_back(RecordToJson(record));
  }
  return list;
}

}  // namespace tessera
