#include "cli/bench_machine.h"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

TEST(BenchMachine, PrintsPeaksOfTheActiveInstructionSet) {
  testing::internal::CaptureStdout();
  EXPECT_EQ(BenchMachine({.runs = 1, .format = BenchFormat::kJson}), 0);
  const auto object = nlohmann::json::parse(testing::internal::GetCapturedStdout());
  EXPECT_GT(object["f32_gflops"].get<double>(), 0);
  EXPECT_GT(object["read_gbytes_per_second"].get<double>(), 0);
  EXPECT_EQ(object["bf16_gflops"].get<double>() > 0, ActiveIsa() >= Isa::kAvx512Bf16);
  EXPECT_EQ(object["isa"], Name(ActiveIsa()));
  EXPECT_FALSE(object["cpu"].get<std::string>().empty());
}

}  // namespace
}  // namespace tessera
