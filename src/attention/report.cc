#include "attention/report.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/registry.h"
#include "base/text.h"

namespace tessera {
namespace {

using Row = std::vector<std::string>;

size_t Columns(const std::string& text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

std::string Padded(const std::string& text, size_t width) {
  return text + std::string(width - std::min(width, Columns(text)), ' ');
}

std::string MarkdownCell(const std::string& text) {
  std::string cell;
  for (const char c : text) {
    if (c == '|') cell += '\\';
    cell += c;
  }
  return cell;
}

std::string TextTable(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows[0].size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Columns(row[i]));
  }
  std::string table;
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += (i > 0 ? "  " : "") + Padded(row[i], widths[i]);
    table += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return table;
}

std::string MarkdownTable(const std::vector<Row>& rows) {
  std::string table;
  for (size_t r = 0; r < rows.size(); ++r) {
    table += "|";
    for (const std::string& cell : rows[r]) table += " " + MarkdownCell(cell) + " |";
    table += "\n";
    if (r > 0) continue;
    for (size_t i = 0; i < rows[0].size(); ++i) table += "|---";
    table += "|\n";
  }
  return table;
}

// The first row is the heading.
std::string Table(const std::vector<Row>& rows, ReportFormat format) {
  return format == ReportFormat::kText ? TextTable(rows) : MarkdownTable(rows);
}

template <class Enum>
std::vector<std::string> NamesOf(uint32_t bits, std::span<const Enum> values) {
  std::vector<std::string> names;
  for (const Enum value : values) {
    if ((bits & Bit(value)) != 0) names.emplace_back(Name(value));
  }
  return names;
}

constexpr std::array kDevices = {DeviceKind::kCpu, DeviceKind::kCuda, DeviceKind::kRocm, DeviceKind::kMps,
                                 DeviceKind::kNpu};
constexpr std::array kDTypes = {DType::kF32, DType::kBF16, DType::kF16, DType::kF8E4M3, DType::kF8E5M2};

std::vector<std::string> DeviceNames(const AttentionCaps& caps) { return NamesOf<DeviceKind>(caps.devices, kDevices); }
std::vector<std::string> DTypeNames(const AttentionCaps& caps) { return NamesOf<DType>(caps.dtypes, kDTypes); }

std::string HeadDimsText(const HeadDims& dims) {
  const std::string range = fmt::format("{}-{}", dims.smallest, dims.largest);
  return dims.step == 1 ? range : fmt::format("{} by {}", range, dims.step);
}

std::vector<std::string> MaskNames(const AttentionCaps& caps) {
  return caps.masks == kMaskNone ? std::vector<std::string>{} : Split(PrintMask(caps.masks), '+');
}

std::vector<std::string> Abilities(const AttentionCaps& caps) {
  const std::pair<bool, const char*> all[] = {{caps.grouped_kv, "grouped kv heads"},
                                              {caps.cross, "cross"},
                                              {caps.lse, "lse"},
                                              {caps.walks_blocks, "block lists"},
                                              {caps.wants_grid, "needs a video grid"},
                                              {caps.applies_gate, "gate"}};
  std::vector<std::string> abilities;
  for (const auto& [present, name] : all) {
    if (present) abilities.emplace_back(name);
  }
  return abilities;
}

std::vector<std::string> Aliases(const AttentionBackend& backend) {
  return backend.aliases.empty() ? std::vector<std::string>{} : Split(backend.aliases, ' ');
}

std::string OrDash(const std::vector<std::string>& words, std::string_view separator) {
  return words.empty() ? "-" : Join(words, separator);
}

Row BackendRow(const AttentionBackend& backend) {
  const AttentionCaps& caps = backend.caps;
  std::vector<std::string> options;
  for (const OptionSpec& spec : backend.options) options.emplace_back(spec.key);
  return {std::string(backend.name),
          OrDash(Aliases(backend), ", "),
          std::string(Name(caps.fidelity)),
          backend.plan == nullptr ? "not in this build" : OrDash(DeviceNames(caps), ", "),
          OrDash(DTypeNames(caps), ", "),
          HeadDimsText(caps.head_dims),
          OrDash(MaskNames(caps), ", "),
          OrDash(Abilities(caps), ", "),
          OrDash(options, ", "),
          std::string(backend.summary)};
}

nlohmann::json OptionToJson(const OptionSpec& spec) {
  nlohmann::json option = {{"key", spec.key}, {"help", spec.help}};
  std::visit([&](const auto& value) { option["default"] = value; }, DefaultOf(spec));
  if (spec.least) option["least"] = *spec.least;
  if (spec.most) option["most"] = *spec.most;
  if (!spec.choices.empty()) option["choices"] = Split(spec.choices, '|');
  return option;
}

nlohmann::json BackendToJson(const AttentionBackend& backend) {
  const AttentionCaps& caps = backend.caps;
  nlohmann::json options = nlohmann::json::array();
  for (const OptionSpec& spec : backend.options) options.push_back(OptionToJson(spec));
  return {{"name", backend.name},
          {"aliases", Aliases(backend)},
          {"summary", backend.summary},
          {"in_this_build", backend.plan != nullptr},
          {"fidelity", Name(caps.fidelity)},
          {"devices", DeviceNames(caps)},
          {"instruction_set", Name(caps.isa)},
          {"dtypes", DTypeNames(caps)},
          {"head_dims",
           {{"smallest", caps.head_dims.smallest}, {"largest", caps.head_dims.largest}, {"step", caps.head_dims.step}}},
          {"masks", MaskNames(caps)},
          {"grouped_kv", caps.grouped_kv},
          {"cross", caps.cross},
          {"lse", caps.lse},
          {"block_lists", caps.walks_blocks},
          {"needs_grid", caps.wants_grid},
          {"gate", caps.applies_gate},
          {"options", std::move(options)}};
}

bool SameReasons(const std::vector<Rejection>& a, const std::vector<Rejection>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const Rejection& x, const Rejection& y) {
    return x.backend == y.backend && x.reasons == y.reasons;
  });
}

AttentionProblem WithoutLayer(AttentionProblem problem) {
  problem.layer = -1;
  return problem;
}

bool SameButForLayer(const SelectedSite& a, const SelectedSite& b) {
  return a.wanted.site.component == b.wanted.site.component && a.wanted.site.role == b.wanted.site.role &&
         WithoutLayer(a.wanted.problem) == WithoutLayer(b.wanted.problem) &&
         a.selection.backend == b.selection.backend && a.selection.why == b.selection.why &&
         SameReasons(a.selection.rejected, b.selection.rejected);
}

// Neighbours that are one row.
std::vector<std::span<const SelectedSite>> Groups(std::span<const SelectedSite> sites) {
  std::vector<std::span<const SelectedSite>> groups;
  for (size_t begin = 0; begin < sites.size();) {
    size_t end = begin + 1;
    while (end < sites.size() && SameButForLayer(sites[begin], sites[end])) ++end;
    groups.push_back(sites.subspan(begin, end - begin));
    begin = end;
  }
  return groups;
}

std::string SiteText(const AttentionSite& site, size_t layers) {
  return layers == 1 ? site.ToString() : fmt::format("{}.{} x{}", site.component, Name(site.role), layers);
}

std::string RejectedText(const std::vector<Rejection>& rejected) {
  std::vector<std::string> parts;
  for (const Rejection& rejection : rejected) {
    parts.push_back(fmt::format("{}: {}", rejection.backend->name, fmt::join(rejection.reasons, ", ")));
  }
  return OrDash(parts, "; ");
}

double Speed(const AttentionRecord& record) {
  return record.seconds > 0 ? static_cast<double>(record.calls) * record.problem.flops() / record.seconds : 0;
}

}  // namespace

std::string PrintBackends(std::span<const AttentionBackend* const> backends, ReportFormat format) {
  std::vector<Row> rows = {
      {"backend", "aliases", "fidelity", "devices", "dtypes", "head dim", "masks", "abilities", "options", "summary"}};
  for (const AttentionBackend* backend : backends) rows.push_back(BackendRow(*backend));
  return Table(rows, format);
}

nlohmann::json BackendsToJson(std::span<const AttentionBackend* const> backends) {
  nlohmann::json list = nlohmann::json::array();
  for (const AttentionBackend* backend : backends) list.push_back(BackendToJson(*backend));
  return list;
}

std::vector<SelectedSite> SelectSites(const std::vector<SiteProblem>& sites, const Device& device,
                                      const AttentionSchedule& schedule, const AttentionRegistry& registry) {
  std::vector<SelectedSite> selected;
  for (const SiteProblem& wanted : sites) {
    const AttentionRequest request = schedule.RequestFor(wanted.site, -1);
    selected.push_back({wanted, Select(wanted.problem, device, request, registry, wanted.site.ToString())});
  }
  return selected;
}

std::string PrintSelections(std::span<const SelectedSite> sites, ReportFormat format) {
  std::vector<Row> rows = {{"site", "problem", "backend", "why", "why not the others"}};
  for (const auto group : Groups(sites)) {
    const SelectedSite& first = group.front();
    const AttentionProblem problem = group.size() == 1 ? first.wanted.problem : WithoutLayer(first.wanted.problem);
    rows.push_back({SiteText(first.wanted.site, group.size()), Print(problem),
                    std::string(first.selection.backend->name), first.selection.why,
                    RejectedText(first.selection.rejected)});
  }
  return Table(rows, format);
}

nlohmann::json SelectionsToJson(std::span<const SelectedSite> sites) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto group : Groups(sites)) {
    const SelectedSite& first = group.front();
    nlohmann::json layers = nlohmann::json::array(), rejected = nlohmann::json::object();
    for (const SelectedSite& site : group) layers.push_back(site.wanted.site.layer);
    for (const Rejection& rejection : first.selection.rejected)
      rejected[std::string(rejection.backend->name)] = rejection.reasons;
    list.push_back({{"component", first.wanted.site.component},
                    {"role", Name(first.wanted.site.role)},
                    {"layers", std::move(layers)},
                    {"problem", Print(WithoutLayer(first.wanted.problem))},
                    {"backend", first.selection.backend->name},
                    {"why", first.selection.why},
                    {"rejected", std::move(rejected)}});
  }
  return list;
}

std::string PrintRecords(std::span<const AttentionRecord> records, ReportFormat format) {
  std::vector<Row> rows = {{"site", "problem", "backend", "why", "calls", "time", "speed", "density"}};
  for (const AttentionRecord& record : records) {
    rows.push_back({SiteText(record.site, static_cast<size_t>(record.layers)), Print(record.problem),
                    std::string(record.backend->name), record.why, std::to_string(record.calls),
                    FormatSeconds(record.seconds), fmt::format("{:.0f} GFLOP/s", Speed(record) / 1e9),
                    fmt::format("{:.3g}", record.density)});
  }
  return Table(rows, format);
}

nlohmann::json RecordsToJson(std::span<const AttentionRecord> records) {
  nlohmann::json list = nlohmann::json::array();
  for (const AttentionRecord& record : records) {
    list.push_back({{"component", record.site.component},
                    {"role", Name(record.site.role)},
                    {"layers", record.layers},
                    {"problem", Print(record.problem)},
                    {"backend", record.backend->name},
                    {"why", record.why},
                    {"calls", record.calls},
                    {"seconds", record.seconds},
                    {"density", record.density},
                    {"flops_per_second", Speed(record)}});
  }
  return list;
}

}  // namespace tessera
