#include "cli/compare/backend_list.h"

#include <gmock/gmock.h>

#include "support/temporary_folder.h"

namespace tessera {
namespace {

using testing::HasSubstr;

std::vector<ListedBackend> List(const std::vector<std::string>& names, const std::vector<std::string>& configs = {}) {
  return ListBackends(names, configs, AttentionRegistry::BuiltIn());
}

TEST(BackendList, TakesNamesAliasesAndLabels) {
  const auto list = List({"FLASH,sdpa", "eight=sage"});
  ASSERT_EQ(list.size(), 3u);
  EXPECT_EQ(list[0].label, "FLASH");
  EXPECT_EQ(list[0].backend, "fa");
  EXPECT_EQ(list[2].label, "eight");
  EXPECT_EQ(list[2].backend, "sage_attn");
  EXPECT_FALSE(list[2].may_refuse);
}

TEST(BackendList, AllIsEveryBackend) {
  const auto list = List({"all"});
  EXPECT_EQ(list.size(), AttentionRegistry::BuiltIn().backends().size());
  EXPECT_TRUE(list[0].may_refuse);
}

TEST(BackendList, ConfiguresByLabel) {
  const auto list = List({"a=sage_attn,b=sage_attn,fa"}, {"a:smooth_v=true", R"({"b": {"smooth_v": false}})"});
  EXPECT_EQ(*list[0].options.Find("smooth_v"), OptionValue(true));
  EXPECT_EQ(*list[1].options.Find("smooth_v"), OptionValue(false));
  EXPECT_EQ(list[1].config, R"({"smooth_v":false})");
  EXPECT_TRUE(list[2].options.values().empty());
}

TEST(BackendList, RefusesWhatDoesNotFit) {
  const auto error = [](const std::string& names, const std::vector<std::string>& configs) {
    return ErrorOf([&] { List({names}, configs); });
  };
  EXPECT_THAT(error("fa,nosuch", {}), HasSubstr("'nosuch'"));
  EXPECT_THAT(error("fa,fa", {}), HasSubstr("'fa' is there twice"));
  EXPECT_THAT(error("fa,,torch_sdpa", {}), HasSubstr("wanted NAME"));
  EXPECT_THAT(error("=fa", {}), HasSubstr("wanted NAME"));
  EXPECT_THAT(error("fa", {"sage_attn:smooth_v=true"}), HasSubstr("no column 'sage_attn'; there are fa"));
  EXPECT_THAT(error("fa", {"smooth_v=true"}), HasSubstr("wanted NAME:key=value"));
  EXPECT_THAT(error("sage_attn", {"sage_attn:smooth=true"}), HasSubstr("smooth"));
  EXPECT_THAT(error("sage_attn", {"sage_attn:smooth_v=true", "sage_attn:smooth_v=true"}),
              HasSubstr("configured twice"));
  EXPECT_THAT(error("sage_attn", {R"({"sage_attn": 3})"}), HasSubstr("wanted an object"));
  EXPECT_THAT(error("sage_attn", {"{"}), HasSubstr("--backend-config"));
}

}  // namespace
}  // namespace tessera
