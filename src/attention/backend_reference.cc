#include "attention/backend_reference.h"

#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/option_text.h"
#include "base/text.h"

namespace tessera {
namespace {

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

std::vector<std::string> Words(std::string_view words) {
  return words.empty() ? std::vector<std::string>{} : Split(words, ' ');
}

std::string OrDash(const std::vector<std::string>& words, std::string_view separator) {
  return words.empty() ? "-" : Join(words, separator);
}

TableRow BackendRow(const AttentionBackend& backend) {
  const AttentionCaps& caps = backend.caps;
  std::vector<std::string> options;
  for (const OptionSpec& spec : backend.options) options.emplace_back(spec.key);
  return {std::string(backend.name),
          OrDash(Words(backend.aliases), ", "),
          std::string(Name(caps.fidelity)),
          IsInThisBuild(backend) ? OrDash(DeviceNames(caps), ", ") : "not in this build",
          OrDash(DTypeNames(caps), ", "),
          HeadDimsText(caps.head_dims),
          OrDash(MaskNames(caps), ", "),
          OrDash(Abilities(caps), ", "),
          OrDash(options, ", "),
          std::string(backend.summary)};
}

std::string_view TypeName(const OptionValue& value) {
  constexpr std::array<std::string_view, 5> kNames = {"true or false", "whole number", "number", "word",
                                                      "list of numbers"};
  return kNames[value.index()];
}

std::string RangeText(const OptionSpec& spec) {
  if (!spec.choices.empty()) return Join(Split(spec.choices, '|'), ", ");
  if (spec.least && spec.most) return fmt::format("{} to {}", *spec.least, *spec.most);
  if (spec.least) return fmt::format("at least {}", *spec.least);
  return spec.most ? fmt::format("at most {}", *spec.most) : "any";
}

std::string DefaultText(const OptionSpec& spec) {
  const OptionValue value = DefaultOf(spec);
  const auto* word = std::get_if<std::string>(&value);
  return word != nullptr && word->empty() ? "none" : PrintOptionValue(value);
}

nlohmann::json OptionToJson(const OptionSpec& spec) {
  const OptionValue value = DefaultOf(spec);
  nlohmann::json option = {{"key", spec.key}, {"type", TypeName(value)}, {"help", spec.help}};
  std::visit([&](const auto& held) { option["default"] = held; }, value);
  option["aliases"] = Words(spec.aliases);
  if (spec.least) option["least"] = *spec.least;
  if (spec.most) option["most"] = *spec.most;
  if (!spec.choices.empty()) option["choices"] = Split(spec.choices, '|');
  return option;
}

std::string OptionTable(const AttentionBackend& backend, TableFormat format) {
  std::vector<TableRow> rows = {{"option", "type", "range", "default", "also spelled", "meaning"}};
  for (const OptionSpec* spec : AllOptions(backend)) {
    rows.push_back({std::string(spec->key), std::string(TypeName(DefaultOf(*spec))), RangeText(*spec),
                    DefaultText(*spec), OrDash(Words(spec->aliases), ", "), std::string(spec->help)});
  }
  return PrintTable(rows, format);
}

std::string SpellingNote(const AttentionBackend& backend) {
  std::string note;
  if (!backend.option_prefix.empty()) {
    note += fmt::format("Every option may be written with {} in front. ", backend.option_prefix);
  }
  if (!backend.option_group.empty()) note += fmt::format("Options may stand in an object {}. ", backend.option_group);
  return note.empty() ? "" : note.substr(0, note.size() - 1) + "\n";
}

std::vector<TableRow> SheetRows(const AttentionBackend& backend) {
  const AttentionCaps& caps = backend.caps;
  std::vector<TableRow> rows = {{"what", "value"},
                                {"also called", OrDash(Words(backend.aliases), ", ")},
                                {"fidelity", std::string(Name(caps.fidelity))},
                                {"in this build", IsInThisBuild(backend) ? "yes" : "no"},
                                {"devices", OrDash(DeviceNames(caps), ", ")},
                                {"instruction set", fmt::format("{} or later", Name(caps.isa))},
                                {"dtypes", OrDash(DTypeNames(caps), ", ")},
                                {"head dim", HeadDimsText(caps.head_dims)},
                                {"masks", OrDash(MaskNames(caps), ", ")},
                                {"abilities", OrDash(Abilities(caps), ", ")}};
  if (!backend.stands_in_for.empty()) {
    rows.push_back({"equivalent of", Join(Words(backend.stands_in_for), ", ")});
  }
  return rows;
}

std::string DeviceCell(const AttentionBackend& backend, DeviceKind device) {
  if (!IsInThisBuild(backend) || (backend.caps.devices & Bit(device)) == 0) return "-";
  return device == DeviceKind::kCpu && backend.caps.isa != Isa::kScalar ? std::string(Name(backend.caps.isa)) : "yes";
}

}  // namespace

std::string PrintBackends(std::span<const AttentionBackend* const> backends, TableFormat format) {
  std::vector<TableRow> rows = {
      {"backend", "aliases", "fidelity", "devices", "dtypes", "head dim", "masks", "abilities", "options", "summary"}};
  for (const AttentionBackend* backend : backends) rows.push_back(BackendRow(*backend));
  return PrintTable(rows, format);
}

nlohmann::json BackendsToJson(std::span<const AttentionBackend* const> backends) {
  nlohmann::json list = nlohmann::json::array();
  for (const AttentionBackend* backend : backends) list.push_back(BackendToJson(*backend));
  return list;
}

std::string DescribeBackend(const AttentionBackend& backend, TableFormat format) {
  const bool has_options = !AllOptions(backend).empty();
  const std::string options =
      has_options ? OptionTable(backend, format) + "\n" + SpellingNote(backend) : std::string("No options.\n");
  const std::string title =
      format == TableFormat::kMarkdown ? fmt::format("### {}\n\n", backend.name) : fmt::format("{}: ", backend.name);
  return fmt::format("{}{}\n\n{}\n{}", title, backend.summary, PrintTable(SheetRows(backend), format), options);
}

nlohmann::json BackendToJson(const AttentionBackend& backend) {
  const AttentionCaps& caps = backend.caps;
  nlohmann::json options = nlohmann::json::array();
  for (const OptionSpec* spec : AllOptions(backend)) options.push_back(OptionToJson(*spec));
  return {{"name", backend.name},
          {"aliases", Words(backend.aliases)},
          {"equivalent_of", Words(backend.stands_in_for)},
          {"summary", backend.summary},
          {"in_this_build", IsInThisBuild(backend)},
          {"planner", backend.planner == nullptr ? nlohmann::json() : nlohmann::json(backend.planner->name)},
          {"kernel", backend.kernel == nullptr ? backend.name : backend.kernel->name},
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
          {"option_prefix", backend.option_prefix},
          {"option_group", backend.option_group},
          {"options", std::move(options)}};
}

std::string PrintPlatformMatrix(std::span<const AttentionBackend* const> backends, TableFormat format) {
  std::vector<TableRow> rows = {{"backend"}};
  for (const DeviceKind device : kDevices) rows[0].emplace_back(Name(device));
  for (const AttentionBackend* backend : backends) {
    TableRow row = {std::string(backend->name)};
    for (const DeviceKind device : kDevices) row.push_back(DeviceCell(*backend, device));
    rows.push_back(std::move(row));
  }
  return PrintTable(rows, format);
}

nlohmann::json PlatformMatrixToJson(std::span<const AttentionBackend* const> backends) {
  nlohmann::json matrix = nlohmann::json::object();
  for (const AttentionBackend* backend : backends) {
    nlohmann::json row = nlohmann::json::object();
    for (const DeviceKind device : kDevices) row[std::string(Name(device))] = DeviceCell(*backend, device) != "-";
    matrix[std::string(backend->name)] = std::move(row);
  }
  return matrix;
}

std::string BackendReference(const AttentionRegistry& registry) {
  constexpr TableFormat kFormat = TableFormat::kMarkdown;
  const auto backends = registry.backends();
  std::string page =
      "# Attention backends\n\nPrinted by `tessera backends --markdown --all` from the data sheets; `make docs` writes "
      "this file.\n\n## All\n\n";
  page += PrintBackends(backends, kFormat);
  page += "\n## Devices\n\nWhere each backend runs; on a CPU the instruction set it needs, if any.\n\n";
  page += PrintPlatformMatrix(backends, kFormat);
  std::vector<std::string> kernels, planners;
  for (const AttentionBackend* pair : registry.compositions()) {
    const std::string planner(pair->planner->name), kernel(pair->kernel->name);
    if (planners.empty() || planners.back() != planner) planners.push_back(planner);
    if (planners.size() == 1) kernels.push_back(kernel);
  }
  if (!planners.empty()) {
    page += fmt::format(
        "\n## Compositions\n\nA planner chooses which keys every query sees, a kernel computes: `{}+{}`. Planners: {}. "
        "Kernels that walk their lists: {}.\n",
        planners.front(), kernels.back(), Join(planners, ", "), Join(kernels, ", "));
  }
  page += "\n## One by one\n";
  for (const AttentionBackend* backend : backends) page += "\n" + DescribeBackend(*backend, kFormat);
  return page;
}

}  // namespace tessera
