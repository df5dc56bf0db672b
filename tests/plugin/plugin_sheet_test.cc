// A data sheet that makes no sense is refused with the field that is wrong.
#include "attention/plugin_sheet.h"

#include <functional>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/plugin.h"
#include "attention/registry.h"
#include "base/error.h"

extern "C" size_t BytesOfBackend(void);  // as C sees it

namespace tessera {
namespace {

using ::testing::HasSubstr;

int NoPlan(const tessera_attention_problem*, const tessera_attention_setting*, uint32_t, tessera_attention_plan**,
           char*, size_t) {
  return TESSERA_ATTENTION_FAILED;
}
size_t NoBytes(const tessera_attention_plan*) { return 0; }
int NoRun(tessera_attention_plan*, const tessera_attention_io*, void*, char*, size_t) {
  return TESSERA_ATTENTION_FAILED;
}
void NoEnd(tessera_attention_plan*) {}

tessera_attention_option Option() {
  return {.struct_size = sizeof(tessera_attention_option),
          .kind = TESSERA_ATTENTION_OPTION_INT,
          .key = "window",
          .help = "tokens to either side",
          .default_value = "16",
          .has_range = 1,
          .least = 0,
          .most = 100,
          .choices = nullptr};
}

// A sound sheet with one option.
struct Sheet {
  Sheet() {
    backend.struct_size = sizeof backend;
    backend.devices = TESSERA_ATTENTION_CPU;
    backend.dtypes = TESSERA_ATTENTION_F32 | TESSERA_ATTENTION_F16;
    backend.masks = TESSERA_ATTENTION_CAUSAL | TESSERA_ATTENTION_BIAS;
    backend.abilities = TESSERA_ATTENTION_LSE | TESSERA_ATTENTION_WALKS_BLOCKS;
    backend.fidelity = TESSERA_ATTENTION_QUANTIZED;
    backend.name = "own";
    backend.summary = "a summary";
    backend.head_dim_least = 8;
    backend.head_dim_most = 64;
    backend.head_dim_step = 8;
    backend.option_count = 1;
    backend.options = &options;
    backend.speed = 2;
    backend.plan_create = NoPlan;
    backend.plan_workspace = NoBytes;
    backend.plan_run = NoRun;
    backend.plan_destroy = NoEnd;
  }
  Sheet(const Sheet&) = delete;
  Sheet& operator=(const Sheet&) = delete;

  tessera_attention_option option = Option();
  const tessera_attention_option* options = &option;
  tessera_attention_backend backend{};
};

std::string RefusalAfter(const std::function<void(Sheet&)>& spoil) {
  Sheet sheet;
  spoil(sheet);
  try {
    ReadPluginSheet(sheet.backend);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::kFormat);
    return error.what();
  }
  return "accepted";
}

TEST(PluginSheet, HasWhatTheLibrarySays) {
  const Sheet given;
  PluginSheet moved = ReadPluginSheet(given.backend);
  const PluginSheet sheet = std::move(moved);
  EXPECT_EQ(sheet.name, "own");
  EXPECT_EQ(sheet.summary, "a summary");
  EXPECT_EQ(sheet.speed, 2);
  EXPECT_EQ(sheet.caps.devices, Bit(DeviceKind::kCpu));
  EXPECT_EQ(sheet.caps.dtypes, Bit(DType::kF32) | Bit(DType::kF16));
  EXPECT_EQ(sheet.caps.masks, kMaskCausal | kMaskBias);
  EXPECT_EQ(sheet.caps.fidelity, Fidelity::kQuantized);
  EXPECT_TRUE(sheet.caps.lse && sheet.caps.walks_blocks);
  EXPECT_FALSE(sheet.caps.cross || sheet.caps.grouped_kv || sheet.caps.wants_grid || sheet.caps.applies_gate);
  EXPECT_TRUE(sheet.caps.head_dims.Contains(16));
  EXPECT_FALSE(sheet.caps.head_dims.Contains(12));
  ASSERT_EQ(sheet.options.size(), 1u);
  EXPECT_EQ(sheet.options[0].key, "window");
  EXPECT_EQ(DefaultOf(sheet.options[0]), OptionValue(int64_t{16}));
}

TEST(PluginSheet, CAndCxxAgreeAboutItsSize) { EXPECT_EQ(BytesOfBackend(), sizeof(tessera_attention_backend)); }

TEST(PluginSheet, ALargerStructureOfALaterHeaderIsRead) {
  EXPECT_EQ(RefusalAfter([](Sheet& s) { s.backend.struct_size += 64; }), "accepted");
}

struct Spoiled {
  const char* name;
  void (*spoil)(Sheet&);
  const char* refusal;
};

const std::string& Long() {
  static const std::string text(5000, 'a');
  return text;
}

const Spoiled kSpoiled[] = {
    {"NoSize", [](Sheet& s) { s.backend.struct_size = 0; }, "struct_size of a backend is 0"},
    {"AbsurdSize", [](Sheet& s) { s.backend.struct_size = 0xFFFFFFFF; }, "struct_size of a backend is 4294967295"},
    {"NoName", [](Sheet& s) { s.backend.name = nullptr; }, "name of a backend is NULL"},
    {"EmptyName", [](Sheet& s) { s.backend.name = ""; }, "is not made of lower-case letters"},
    {"CapitalName", [](Sheet& s) { s.backend.name = "Own"; }, "is not made of lower-case letters"},
    {"NameOfTwo", [](Sheet& s) { s.backend.name = "own+other"; }, "is not made of lower-case letters"},
    {"LongName", [](Sheet& s) { s.backend.name = Long().c_str(); }, "longer than 64 bytes"},
    {"NoSummary", [](Sheet& s) { s.backend.summary = nullptr; }, "backend 'own': summary is NULL"},
    {"SummaryNotUtf8", [](Sheet& s) { s.backend.summary = "a\xFF"; }, "summary is not UTF-8"},
    {"SummaryOfLines", [](Sheet& s) { s.backend.summary = "a\nb"; }, "summary has control characters"},
    {"LongSummary", [](Sheet& s) { s.backend.summary = Long().c_str(); }, "summary is longer than 200 bytes"},
    {"NoDevices", [](Sheet& s) { s.backend.devices = 0; }, "devices are none"},
    {"UnknownDevice", [](Sheet& s) { s.backend.devices = 1u << 9; }, "devices 0x200 has unknown bits"},
    {"NoDTypes", [](Sheet& s) { s.backend.dtypes = 0; }, "dtypes are none"},
    {"BooleanOperands", [](Sheet& s) { s.backend.dtypes = TESSERA_ATTENTION_BOOL; }, "dtypes 0x8 has unknown bits"},
    {"UnknownMask", [](Sheet& s) { s.backend.masks = 1u << 31; }, "masks 0x80000000 has unknown bits"},
    {"UnknownAbility", [](Sheet& s) { s.backend.abilities = 1u << 8; }, "abilities 0x100 has unknown bits"},
    {"UnknownFidelity", [](Sheet& s) { s.backend.fidelity = 3; }, "fidelity 3 is unknown"},
    {"HeadDimOfNothing", [](Sheet& s) { s.backend.head_dim_least = 0; }, "head dims 0 to 64 in steps of 8 hold none"},
    {"HeadDimsReversed", [](Sheet& s) { s.backend.head_dim_most = 4; }, "hold none"},
    {"HeadDimsBetweenSteps",
     [](Sheet& s) {
       s.backend.head_dim_least = 9;
       s.backend.head_dim_most = 15;
     },
     "head dims 9 to 15 in steps of 8 hold none"},
    {"HeadDimStepOfNothing", [](Sheet& s) { s.backend.head_dim_step = 0; }, "hold none"},
    {"AbsurdHeadDim", [](Sheet& s) { s.backend.head_dim_most = INT32_MAX; }, "hold none"},
    {"NoSpeed", [](Sheet& s) { s.backend.speed = 0; }, "speed 0 is out of range"},
    {"SpeedIsNoNumber", [](Sheet& s) { s.backend.speed = std::numeric_limits<double>::quiet_NaN(); }, "speed nan"},
    {"NoRun", [](Sheet& s) { s.backend.plan_run = nullptr; }, "a function of its plans is NULL"},
    {"ManyOptions", [](Sheet& s) { s.backend.option_count = 1u << 30; }, "1073741824 options"},
    {"NullOptions", [](Sheet& s) { s.backend.options = nullptr; }, "options are NULL"},
    {"NullOption", [](Sheet& s) { s.options = nullptr; }, "option 0 is NULL"},
    {"OptionWithoutKey", [](Sheet& s) { s.option.key = nullptr; }, "key of an option is NULL"},
    {"OptionOfUnknownKind", [](Sheet& s) { s.option.kind = 9; }, "option window has the unknown kind 9"},
    {"DefaultOfOtherKind", [](Sheet& s) { s.option.default_value = "x"; }, "default 'x' of option window"},
    {"DefaultOutOfRange", [](Sheet& s) { s.option.default_value = "101"; }, "101 is out of range"},
    {"EmptyRange", [](Sheet& s) { s.option.most = -1; }, "range of option window holds nothing"},
    {"OptionWithoutHelp", [](Sheet& s) { s.option.help = nullptr; }, "help of option window is NULL"},
};

class SpoiledSheet : public ::testing::TestWithParam<Spoiled> {};

TEST_P(SpoiledSheet, IsRefusedWithTheFieldThatIsWrong) {
  EXPECT_THAT(RefusalAfter(GetParam().spoil), HasSubstr(GetParam().refusal));
}

INSTANTIATE_TEST_SUITE_P(Fields, SpoiledSheet, ::testing::ValuesIn(kSpoiled),
                         [](const auto& spoiled) { return std::string(spoiled.param.name); });

TEST(PluginSheet, AnOptionThatIsThereTwiceIsRefused) {
  Sheet sheet;
  const tessera_attention_option* both[] = {&sheet.option, &sheet.option};
  sheet.backend.option_count = 2;
  sheet.backend.options = both;
  EXPECT_THROW(ReadPluginSheet(sheet.backend), Error);
}

TEST(PluginRegistry, HasBuiltInAndPluggedBackendsAndTheirPairings) {
  const Sheet sheet;
  const tessera_attention_backend* backends[] = {&sheet.backend};
  const tessera_attention_library library{sizeof(tessera_attention_library), 1, backends};
  const auto registry = AttentionRegistry::BuiltInWith({std::make_shared<const AttentionPlugin>("own.so", &library)});
  EXPECT_EQ(registry.Find("OWN").summary, "a summary");
  const auto built_in = AttentionRegistry::BuiltIn().backends();
  EXPECT_EQ(registry.backends().size(), built_in.size() + 1);
  for (const AttentionBackend* backend : built_in) EXPECT_EQ(registry.Find(backend->name).name, backend->name);
  size_t planners = 0;
  for (const AttentionBackend* backend : built_in) planners += backend->planner != nullptr ? 1 : 0;
  EXPECT_EQ(registry.compositions().size(), AttentionRegistry::BuiltIn().compositions().size() + planners);
}

TEST(PluginRegistry, AKeyOfAnotherBackendIsRefusedForAPlugIn) {
  const Sheet sheet;
  const tessera_attention_backend* backends[] = {&sheet.backend};
  const tessera_attention_library library{sizeof(tessera_attention_library), 1, backends};
  const AttentionPlugin plugin("own.so", &library);
  Options options;
  options.Set("windows", int64_t{3});
  try {
    ResolveOptions(*plugin.backends()[0], options);
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'window'"));
  }
}

}  // namespace
}  // namespace tessera
