#include "attention/backend_reference.h"

#include <algorithm>
#include <fstream>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "attention/registry.h"
#include "base/text.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

TEST(AttentionReport, TableHasARowPerBackend) {
  const std::string table = PrintBackends(AttentionRegistry::BuiltIn().backends(), TableFormat::kText);
  EXPECT_EQ(Split(table, '\n').size(), AttentionRegistry::BuiltIn().backends().size() + 2);
  for (const AttentionBackend* backend : AttentionRegistry::BuiltIn().backends())
    EXPECT_THAT(table, HasSubstr(std::string(backend->summary)));
  EXPECT_THAT(table, HasSubstr("sdpa, native"));
}

TEST(AttentionReport, MarkdownIsATable) {
  const auto lines = Split(PrintBackends(AttentionRegistry::BuiltIn().backends(), TableFormat::kMarkdown), '\n');
  EXPECT_THAT(lines[0], StartsWith("| backend | aliases |"));
  EXPECT_THAT(lines[1], StartsWith("|---|---|"));
  const auto bars = [](const std::string& line) { return std::count(line.begin(), line.end(), '|'); };
  for (size_t i = 0; i + 1 < lines.size(); ++i) EXPECT_EQ(bars(lines[i]), bars(lines[0]));
}

TEST(AttentionReport, JsonHoldsTheDataSheet) {
  const nlohmann::json all = BackendsToJson(AttentionRegistry::BuiltIn().backends());
  ASSERT_EQ(all.size(), AttentionRegistry::BuiltIn().backends().size());
  for (const auto& backend : all) {
    const AttentionCaps& caps = AttentionRegistry::BuiltIn().Find(backend["name"].get<std::string>()).caps;
    EXPECT_EQ(backend["lse"].get<bool>(), caps.lse);
    EXPECT_EQ(backend["head_dims"]["largest"].get<int>(), caps.head_dims.largest);
    EXPECT_EQ(backend["fidelity"].get<std::string>(), Name(caps.fidelity));
  }
}

TEST(AttentionReport, ADescriptionListsEveryOption) {
  for (const AttentionBackend* backend : AttentionRegistry::BuiltIn().backends()) {
    const std::string page = DescribeBackend(*backend, TableFormat::kText);
    for (const OptionSpec* spec : AllOptions(*backend)) EXPECT_THAT(page, HasSubstr(std::string(spec->help)));
    EXPECT_EQ(BackendToJson(*backend)["options"].size(), AllOptions(*backend).size());
  }
}

TEST(AttentionReport, TheMatrixFollowsTheDataSheets) {
  const auto backends = AttentionRegistry::BuiltIn().backends();
  const nlohmann::json matrix = PlatformMatrixToJson(backends);
  for (const AttentionBackend* backend : backends) {
    const nlohmann::json& row = matrix[std::string(backend->name)];
    EXPECT_EQ(row.size(), 5u);
    EXPECT_EQ(row["cpu"].get<bool>(), IsInThisBuild(*backend) && (backend->caps.devices & Bit(DeviceKind::kCpu)) != 0);
  }
}

TEST(AttentionReport, ThePageInTheDocumentationIsTheOneOfTheProgram) {
  std::ifstream file(TESSERA_SOURCE_FOLDER "/docs/attention_backends.md");
  std::ostringstream page;
  page << file.rdbuf();
  EXPECT_TRUE(page.str() == BackendReference(AttentionRegistry::BuiltIn()))
      << "docs/attention_backends.md is not what the data sheets say; `make docs` writes it anew";
}

}  // namespace
}  // namespace tessera
