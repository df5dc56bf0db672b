#include "attention/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "attention/registry.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

TEST(AttentionReport, RecordsShowCallsAndSpeed) {
  AttentionRecord record;
  record.site.component = "transformer";
  record.site.role = AttentionRole::kJoint;
  record.problem = ParseAttentionProblem("f32 h1 d64 q1000 kv1000");
  record.backend = &AttentionRegistry::BuiltIn().Find("fa");
  record.layers = 3;
  record.calls = 30;
  record.seconds = 0.5;
  const std::string table = PrintRecords({&record, 1}, TableFormat::kText);
  EXPECT_THAT(table, HasSubstr("transformer.joint x3"));
  EXPECT_THAT(table, HasSubstr("500 ms"));
  EXPECT_THAT(table, HasSubstr("15 GFLOP/s"));
  EXPECT_THAT(table, HasSubstr("100 %"));
  EXPECT_EQ(RecordsToJson({&record, 1})[0]["calls"], 30);
  EXPECT_EQ(RecordsToJson({&record, 1})[0]["time_share"], 1.0);
  EXPECT_FALSE(RecordsToTimelessJson({&record, 1})[0].contains("seconds"));
}

}  // namespace
}  // namespace tessera
