#include <gmock/gmock.h>
#include <nlohmann/json.hpp>

#include "attend/attend_files.h"

namespace tessera {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

nlohmann::json JsonOf(const AttendFolder& folder, std::vector<std::string> more) {
  more.emplace_back("--json");
  const auto result = folder.Attend(more);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  return nlohmann::json::parse(result.out, nullptr, false);
}

std::vector<uint8_t> BytesOf(const Tensor& tensor) {
  return {tensor.data<uint8_t>(), tensor.data<uint8_t>() + tensor.numel()};
}

TEST(Attend, MeasuresAnExactBackendAgainstDoubles) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"problem", kProblem}});
  const auto json = JsonOf(folder, {"--backend", "torch_sdpa"});
  EXPECT_EQ(json["backend"], "torch_sdpa");
  EXPECT_EQ(json["problem"], kProblem);
  EXPECT_LT(json["rel_l1"].get<double>(), 1e-6);
  EXPECT_GT(json["rel_l1"].get<double>(), 1e-9);
  EXPECT_LT(json["one_minus_cos"].get<double>(), 1e-11);
  EXPECT_LT(json["max_abs"].get<double>(), 1e-5);
  EXPECT_LT(json["max_lse"].get<double>(), 1e-5);
  EXPECT_EQ(json["density"], 1.0);
  EXPECT_GT(json["median_ms"].get<double>(), 0);
  EXPECT_EQ(json["rows_compared"], 24);
}

TEST(Attend, WritesOutputLseAndMasks) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"problem", kProblem}});
  ASSERT_EQ(folder.Attend({"--backend", "fa"}).exit_code, 0);
  const SafetensorsFile out = folder.Out();
  EXPECT_EQ(out.Get("out").shape(), (Shape{1, 12, 2, 16}));
  EXPECT_EQ(out.Get("lse").shape(), (Shape{1, 2, 12}));
  EXPECT_EQ(out.Get("block_mask").shape(), (Shape{1, 2, 1, 1}));
  EXPECT_EQ(out.Get("q_block_of_token").shape(), Shape{12});
  EXPECT_EQ(out.Get("token_mask").shape(), (Shape{1, 2, 12, 12}));
  EXPECT_EQ(out.header().metadata.at("problem"), kProblem);
}

TEST(Attend, TokenMaskHoldsCausalAndLengthMasks) {
  AttendFolder folder;
  const Shape shape{2, 3, 1, 8};
  folder.Write(
      "in.safetensors",
      {{"q", Normal(shape, 1)}, {"k", Normal(shape, 2)}, {"v", Normal(shape, 3)}, {"key_lengths", Whole({3, 2}, {2})}});
  ASSERT_EQ(folder.Attend({"--backend", "fa", "--problem", "f32 b2 h1/1 d8 q3 kv3 mask=causal+key_lengths"}).exit_code,
            0);
  EXPECT_THAT(BytesOf(folder.Out().Get("token_mask")),
              ElementsAre(1, 0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0));
}

TEST(Attend, TheFlagWinsOverTheFilesProblem) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"problem", "bf16 b9 h9 d8 q1 kv1"}});
  EXPECT_EQ(JsonOf(folder, {"--backend", "fa", "--problem", kProblem})["problem"], kProblem);
}

TEST(Attend, ConvertsToTheProblemsDtypeAndSaysWhenThatRounds) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"problem", "bf16 b1 h2/2 d16 q12 kv12"}});
  const auto rounded = JsonOf(folder, {"--backend", "fa"});
  ASSERT_EQ(rounded["notes"].size(), 3u);
  EXPECT_EQ(rounded["notes"][0], "tensor 'q' was rounded from f32 to the problem's bf16");
  EXPECT_EQ(folder.Out().Get("out").dtype(), DType::kF32);
  NamedTensors exact = Operands();
  for (auto& [name, tensor] : exact) tensor = tensor.To(DType::kBF16).To(DType::kF32);
  folder.Write("in.safetensors", exact, {{"problem", "bf16 b1 h2/2 d16 q12 kv12"}});
  EXPECT_TRUE(JsonOf(folder, {"--backend", "fa"})["notes"].empty());
}

TEST(Attend, HalfPrecisionInputsGiveHalfPrecisionOutputs) {
  for (const DType dtype : {DType::kBF16, DType::kF16}) {
    AttendFolder folder;
    NamedTensors halves = Operands();
    for (auto& [name, tensor] : halves) tensor = tensor.To(dtype);
    folder.Write("in.safetensors", halves, {{"problem", std::string(Name(dtype)) + " b1 h2/2 d16 q12 kv12"}});
    EXPECT_LT(JsonOf(folder, {"--backend", "torch_sdpa"})["rel_l1"].get<double>(), 0.005);
    EXPECT_EQ(folder.Out().Get("out").dtype(), dtype);
  }
}

TEST(Attend, ADtypeReplacesTheProblems) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"problem", "bf16 b1 h2/2 d16 q12 kv12 mask=none"}});
  const auto json = JsonOf(folder, {"--backend", "fa", "--dtype", "f32"});
  EXPECT_EQ(json["problem"], kProblem);
  EXPECT_LT(json["rel_l1"].get<double>(), 1e-6);
}

// A bias that hides every key but the first makes every row the first value.
TEST(Attend, BroadcastsABias) {
  for (const Shape& shape : {Shape{1, 12}, Shape{1, 1, 12}, Shape{1, 1, 1, 12}}) {
    AttendFolder folder;
    NamedTensors tensors = Operands();
    Tensor bias = Tensor::Zeros(shape, DType::kF32);
    for (int64_t i = 1; i < 12; ++i) bias.mutable_data<float>()[i] = -INFINITY;
    tensors.emplace_back("bias", bias);
    folder.Write("in.safetensors", tensors, {{"problem", "f32 b1 h2/2 d16 q12 kv12 mask=bias"}});
    ASSERT_EQ(folder.Attend({"--backend", "torch_sdpa"}).exit_code, 0);
    const Tensor out = folder.Out().Get("out");
    EXPECT_FLOAT_EQ(out.data<float>()[11 * 32 + 5], tensors[2].second.data<float>()[5]);
  }
}

TEST(Attend, ABooleanBiasHidesKeys) {
  AttendFolder folder;
  NamedTensors tensors = Operands();
  std::vector<uint8_t> sees(12, 0);
  sees[3] = 1;
  tensors.emplace_back("bias", Bytes(sees, {1, 12}));
  folder.Write("in.safetensors", tensors, {{"problem", "f32 b1 h2/2 d16 q12 kv12 mask=bias"}});
  const auto json = JsonOf(folder, {"--backend", "torch_sdpa"});
  EXPECT_LT(json["rel_l1"].get<double>(), 1e-6);
  EXPECT_FLOAT_EQ(folder.Out().Get("out").data<float>()[0], tensors[2].second.data<float>()[3 * 32]);
}

TEST(Attend, PackedSequencesDoNotSeeEachOther) {
  AttendFolder folder;
  NamedTensors tensors = Operands();
  tensors.emplace_back("cu_seqlens_q", Whole({0, 5, 12}, {3}));
  tensors.emplace_back("cu_seqlens_k", Whole({0, 1, 12}, {3}));
  folder.Write("in.safetensors", tensors, {{"problem", "f32 b1 h2/2 d16 q12 kv12 mask=varlen"}});
  EXPECT_LT(JsonOf(folder, {"--backend", "fa"})["rel_l1"].get<double>(), 1e-6);
  EXPECT_FLOAT_EQ(folder.Out().Get("out").data<float>()[4 * 32], tensors[2].second.data<float>()[0]);
}

TEST(Attend, ComparesWithTheFilesOwnOutput) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"problem", kProblem}});
  ASSERT_EQ(folder.Attend({"--backend", "torch_sdpa"}).exit_code, 0);
  NamedTensors tensors = Operands();
  tensors.emplace_back("out", folder.Out().Get("out").Clone());
  folder.Write("in.safetensors", tensors, {{"problem", kProblem}});
  EXPECT_EQ(JsonOf(folder, {"--backend", "torch_sdpa"})["file_out"]["max_abs"], 0.0);
  const auto quantized = JsonOf(folder, {"--backend", "sage_attn"});
  EXPECT_GT(quantized["file_out"]["rel_l1"].get<double>(), 1e-4);
}

constexpr const char* kRuns = R"([
  {"run": "first", "problem": "f32 b1 h2/2 d16 q12 kv12 mask=none"},
  {"run": "second", "problem": "f32 b1 h2/2 d16 q12 kv12 mask=causal", "step": 3, "layer": 1}])";

TEST(Attend, ARunBringsItsProblemAndItsTensors) {
  AttendFolder folder;
  NamedTensors tensors = Operands();
  tensors.emplace_back("second.v", Normal({1, 12, 2, 16}, 9));
  folder.Write("in.safetensors", tensors, {{"runs", kRuns}});
  const auto json = JsonOf(folder, {"--backend", "fa", "--run", "second"});
  EXPECT_EQ(json["run"], "second");
  EXPECT_EQ(json["problem"], "f32 b1 h2/2 d16 q12 kv12 mask=causal step=3 layer=1");
  EXPECT_FLOAT_EQ(folder.Out().Get("out").data<float>()[0], tensors[3].second.data<float>()[0]);
}

TEST(Attend, WithoutARunTheFirstCounts) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"runs", kRuns}});
  EXPECT_EQ(JsonOf(folder, {"--backend", "fa"})["run"], "first");
}

TEST(Attend, SeveralRunsAreWrittenUnderTheirNames) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"runs", kRuns}});
  const auto json = JsonOf(folder, {"--backend", "fa", "--run", "all"});
  ASSERT_EQ(json.size(), 2u);
  EXPECT_EQ(json[1]["run"], "second");
  EXPECT_TRUE(folder.Out().Contains("first.out"));
  EXPECT_TRUE(folder.Out().Contains("second.lse"));
}

TEST(Attend, ConfigurationOfAnotherBackendIsLeftAside) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(),
               {{"problem", kProblem}, {"backend", "sage_attn"}, {"config", R"({"smooth_v": true})"}});
  EXPECT_EQ(JsonOf(folder, {"--backend", "sage_attn"})["config"]["smooth_v"], true);
  EXPECT_EQ(folder.Attend({"--backend", "torch_sdpa"}).exit_code, 0);
  EXPECT_EQ(
      JsonOf(folder, {"--backend", "sage_attn", "--attention-backend-config", "smooth_v=false"})["config"]["smooth_v"],
      false);
}

TEST(Attend, TheFiguresDoNotDependOnThreads) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"problem", kProblem}});
  auto one = JsonOf(folder, {"--backend", "sage_attn", "--threads", "1"});
  auto two = JsonOf(folder, {"--backend", "sage_attn", "--threads", "2"});
  for (auto* json : {&one, &two}) {
    json->erase("median_ms");
    json->erase("threads");
  }
  EXPECT_EQ(one, two);
}

TEST(Attend, TextNamesBackendProblemErrorAndTime) {
  AttendFolder folder;
  folder.Write("in.safetensors", Operands(), {{"problem", kProblem}});
  const auto result = folder.Attend({"--backend", "fa"});
  for (const char* part : {"fa: f32 b1 h2/2 d16", "24 of 24 rows", "rel_l1", "max_lse", "density 1.0000", " ms ("}) {
    EXPECT_THAT(result.out, HasSubstr(part));
  }
}

}  // namespace
}  // namespace tessera
