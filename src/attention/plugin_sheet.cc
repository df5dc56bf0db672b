#include "attention/plugin_sheet.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr size_t kLongestName = 64, kLongestLine = 200, kLongestList = 1000;
constexpr uint32_t kLargestStruct = 1u << 16, kMostOptions = 64;
constexpr int32_t kLargestHeadDim = 65536;
constexpr double kFastest = 1e6;
constexpr uint32_t kAllDevices = TESSERA_ATTENTION_CPU | TESSERA_ATTENTION_CUDA | TESSERA_ATTENTION_ROCM |
                                 TESSERA_ATTENTION_MPS | TESSERA_ATTENTION_NPU;
constexpr uint32_t kAllDTypes = TESSERA_ATTENTION_F32 | TESSERA_ATTENTION_BF16 | TESSERA_ATTENTION_F16;
constexpr uint32_t kAllMasks = TESSERA_ATTENTION_CAUSAL | TESSERA_ATTENTION_CAUSAL_TOP_LEFT |
                               TESSERA_ATTENTION_KEY_LENGTHS | TESSERA_ATTENTION_VARLEN | TESSERA_ATTENTION_BIAS;
constexpr uint32_t kAllAbilities = TESSERA_ATTENTION_GROUPED_KV | TESSERA_ATTENTION_CROSS | TESSERA_ATTENTION_LSE |
                                   TESSERA_ATTENTION_WALKS_BLOCKS | TESSERA_ATTENTION_WANTS_GRID;

// Masks and devices have the interface's numbers inside, too.
static_assert(uint32_t{TESSERA_ATTENTION_CAUSAL} == kMaskCausal);
static_assert(uint32_t{TESSERA_ATTENTION_CAUSAL_TOP_LEFT} == kMaskCausalTopLeft);
static_assert(uint32_t{TESSERA_ATTENTION_KEY_LENGTHS} == kMaskKeyLengths);
static_assert(uint32_t{TESSERA_ATTENTION_VARLEN} == kMaskVarlen);
static_assert(uint32_t{TESSERA_ATTENTION_BIAS} == kMaskBias);
static_assert(TESSERA_ATTENTION_CPU == Bit(DeviceKind::kCpu) && TESSERA_ATTENTION_CUDA == Bit(DeviceKind::kCuda));
static_assert(TESSERA_ATTENTION_ROCM == Bit(DeviceKind::kRocm) && TESSERA_ATTENTION_MPS == Bit(DeviceKind::kMps));
static_assert(TESSERA_ATTENTION_NPU == Bit(DeviceKind::kNpu));

[[noreturn]] void Refuse(std::string_view what) { throw Error(ErrorKind::kFormat, std::string(what)); }

void Require(bool holds, std::string_view what) {
  if (!holds) Refuse(what);
}

std::string_view ReadText(const char* text, size_t longest, std::string_view field) {
  Require(text != nullptr, fmt::format("{} is NULL", field));
  const size_t length = strnlen(text, longest + 1);
  Require(length <= longest, fmt::format("{} is longer than {} bytes", field, longest));
  const std::string_view read(text, length);
  Require(IsUtf8(read), fmt::format("{} is not UTF-8", field));
  Require(Printable(read, longest) == read, fmt::format("{} has control characters", field));
  return read;
}

std::string_view ReadName(const char* text, std::string_view field) {
  const std::string_view name = ReadText(text, kLongestName, field);
  const auto fits = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  Require(!name.empty() && std::all_of(name.begin(), name.end(), fits),
          fmt::format("{} '{}' is not made of lower-case letters, digits and '_'", field, name));
  return name;
}

void CheckBits(uint32_t bits, uint32_t known, std::string_view field) {
  Require((bits & ~known) == 0, fmt::format("{} {:#x} has unknown bits", field, bits));
}

void CheckSize(uint32_t size, size_t least, std::string_view field) {
  Require(size >= least && size <= kLargestStruct,
          fmt::format("struct_size of {} is {}, wanted {} or a little more", field, size, least));
}

uint32_t DTypesOf(uint32_t bits) {
  uint32_t dtypes = 0;
  if ((bits & TESSERA_ATTENTION_F32) != 0) dtypes |= Bit(DType::kF32);
  if ((bits & TESSERA_ATTENTION_BF16) != 0) dtypes |= Bit(DType::kBF16);
  if ((bits & TESSERA_ATTENTION_F16) != 0) dtypes |= Bit(DType::kF16);
  return dtypes;
}

HeadDims ReadHeadDims(const tessera_attention_backend& given) {
  const int32_t least = given.head_dim_least, most = given.head_dim_most, step = given.head_dim_step;
  const bool sane = least >= 1 && least <= most && most <= kLargestHeadDim && step >= 1 && most / step * step >= least;
  Require(sane, fmt::format("head dims {} to {} in steps of {} hold none", least, most, step));
  return {least, most, step};
}

AttentionCaps ReadCaps(const tessera_attention_backend& given) {
  Require(given.devices != 0, "devices are none");
  Require(given.dtypes != 0, "dtypes are none");
  CheckBits(given.devices, kAllDevices, "devices");
  CheckBits(given.dtypes, kAllDTypes, "dtypes");
  CheckBits(given.masks, kAllMasks, "masks");
  CheckBits(given.abilities, kAllAbilities, "abilities");
  Require(given.fidelity <= TESSERA_ATTENTION_SPARSE, fmt::format("fidelity {} is unknown", given.fidelity));
  const auto can = [&](uint32_t ability) { return (given.abilities & ability) != 0; };
  return {.devices = given.devices,
          .isa = Isa::kScalar,
          .dtypes = DTypesOf(given.dtypes),
          .head_dims = ReadHeadDims(given),
          .masks = given.masks,
          .grouped_kv = can(TESSERA_ATTENTION_GROUPED_KV),
          .cross = can(TESSERA_ATTENTION_CROSS),
          .lse = can(TESSERA_ATTENTION_LSE),
          .walks_blocks = can(TESSERA_ATTENTION_WALKS_BLOCKS),
          .wants_grid = can(TESSERA_ATTENTION_WANTS_GRID),
          .applies_gate = false,
          .fidelity = static_cast<Fidelity>(given.fidelity)};
}

OptionValue ReadDefault(const tessera_attention_option& given, std::string_view key) {
  const std::string_view text = ReadText(given.default_value, kLongestList, fmt::format("default of option {}", key));
  std::optional<OptionValue> value;
  switch (given.kind) {
    case TESSERA_ATTENTION_OPTION_BOOL:
      value = ParseBool(text);
      break;
    case TESSERA_ATTENTION_OPTION_INT:
      value = ParseInt(text);
      break;
    case TESSERA_ATTENTION_OPTION_FLOAT:
      value = ParseFloat(text);
      break;
    case TESSERA_ATTENTION_OPTION_TEXT:
      value = std::string(text);
      break;
    default:
      Refuse(fmt::format("option {} has the unknown kind {}", key, given.kind));
  }
  Require(value.has_value(), fmt::format("default '{}' of option {} is not of its kind", text, key));
  return *value;
}

void ReadOption(const tessera_attention_option& given, PluginSheet* sheet) {
  CheckSize(given.struct_size, sizeof given, "an option");
  const auto keep = [&](std::string_view text) -> std::string_view { return sheet->texts.emplace_back(text); };
  const std::string_view key = keep(ReadName(given.key, "key of an option"));
  for (const OptionSpec& other : sheet->options) {
    Require(other.key != key, fmt::format("option {} is there twice", key));
  }
  OptionSpec spec{};
  spec.key = key;
  spec.help = keep(ReadText(given.help, kLongestLine, fmt::format("help of option {}", key)));
  spec.made_default = &sheet->defaults.emplace_back(ReadDefault(given, key));
  if (given.has_range != 0) {
    Require(given.least <= given.most, fmt::format("range of option {} holds nothing", key));
    spec.least = given.least;
    spec.most = given.most;
  }
  if (given.choices != nullptr) {
    spec.choices = keep(ReadText(given.choices, kLongestList, fmt::format("choices of option {}", key)));
  }
  sheet->options.push_back(spec);
}

// A default outside of its own range or choices shows when it is resolved like a value of a user.
void CheckDefaults(const PluginSheet& sheet) {
  AttentionBackend model{};
  model.name = sheet.name;
  model.options = sheet.options;
  Options defaults;
  for (const OptionSpec& spec : sheet.options) defaults.Set(std::string(spec.key), *spec.made_default);
  try {
    ResolveOptions(model, defaults);
  } catch (const Error& error) {
    Refuse(fmt::format("default of {}", error.what()));
  }
}

}  // namespace

PluginSheet ReadPluginSheet(const tessera_attention_backend& given) {
  CheckSize(given.struct_size, sizeof given, "a backend");
  PluginSheet sheet;
  sheet.name = sheet.texts.emplace_back(ReadName(given.name, "name of a backend"));
  try {
    sheet.summary = sheet.texts.emplace_back(ReadText(given.summary, kLongestLine, "summary"));
    sheet.caps = ReadCaps(given);
    Require(given.speed > 0 && given.speed <= kFastest, fmt::format("speed {} is out of range", given.speed));
    sheet.speed = given.speed;
    Require(given.plan_create != nullptr && given.plan_workspace != nullptr && given.plan_run != nullptr &&
                given.plan_destroy != nullptr,
            "a function of its plans is NULL");
    Require(given.option_count <= kMostOptions,
            fmt::format("{} options, at most {} are possible", given.option_count, kMostOptions));
    Require(given.option_count == 0 || given.options != nullptr, "options are NULL");
    for (uint32_t i = 0; i < given.option_count; ++i) {
      Require(given.options[i] != nullptr, fmt::format("option {} is NULL", i));
      ReadOption(*given.options[i], &sheet);
    }
    CheckDefaults(sheet);
  } catch (const Error& error) {
    Refuse(fmt::format("backend '{}': {}", sheet.name, error.what()));
  }
  return sheet;
}

std::string OptionText(const OptionValue& value) {
  if (const auto* truth = std::get_if<bool>(&value)) return *truth ? "true" : "false";
  if (const auto* whole = std::get_if<int64_t>(&value)) return fmt::format("{}", *whole);
  if (const auto* number = std::get_if<double>(&value)) return fmt::format("{}", *number);
  if (const auto* list = std::get_if<std::vector<double>>(&value)) return fmt::format("{}", fmt::join(*list, ","));
  return std::get<std::string>(value);
}

}  // namespace tessera
