#include <gmock/gmock.h>

#include "attend/attend_files.h"

namespace tessera {
namespace {

// One mistake in a file or a command line, and what the one line on stderr says about it.
struct Mistake {
  const char* name;
  const char* says;
  std::map<std::string, Tensor> tensors{};        // in place of the right ones; undefined: missing
  std::map<std::string, std::string> metadata{};  // in place of the right problem
  std::vector<std::string> words{};               // further words
  const char* backend = "fa";
};

Tensor With(Tensor tensor, int64_t index, float value) {
  tensor.mutable_data<float>()[index] = value;
  return tensor;
}

const Shape kShape{1, 12, 2, 16};
constexpr const char* kLens = "f32 b1 h2/2 d16 q12 kv12 mask=lens";
constexpr const char* kVarlen = "f32 b1 h2/2 d16 q12 kv12 mask=varlen";
constexpr const char* kBias = "f32 b1 h2/2 d16 q12 kv12 mask=bias";

std::vector<Mistake> TensorMistakes() {
  const auto of = [](const char* problem) { return std::map<std::string, std::string>{{"problem", problem}}; };
  return {
      {"NoQ", "no tensor 'q'", {{"q", {}}}},
      {"NoV", "no tensor 'v'", {{"v", {}}}},
      {"QOfOtherLength", "tensor 'q' is [1, 11, 2, 16], wanted [1, 12, 2, 16]", {{"q", Normal({1, 11, 2, 16}, 1)}}},
      {"KOfOtherHeads", "tensor 'k' is [1, 12, 1, 16]", {{"k", Normal({1, 12, 1, 16}, 1)}}},
      {"QOfThreeAxes", "tensor 'q' is [12, 2, 16]", {{"q", Normal({12, 2, 16}, 1)}}},
      {"HeadsFirst", "tensor 'q' is [1, 2, 12, 16], wanted [1, 12, 2, 16]", {{"q", Normal({1, 2, 12, 16}, 1)}}},
      {"WholeNumbers", "tensor 'q' is i32; f32, bf16 and f16 work", {{"q", Tensor::Zeros(kShape, DType::kI32)}}},
      {"Doubles", "tensor 'v' is f64", {{"v", Tensor::Zeros(kShape, DType::kF64)}}},
      {"NanInK",
       "tensor 'k' has a value that is not finite at batch 0, token 2",
       {{"k", With(Normal(kShape, 2), 70, NAN)}}},
      {"InfinityInV", "tensor 'v' has a value that is not finite", {{"v", With(Normal(kShape, 2), 0, INFINITY)}}},
      {"TooLargeForF16", "not finite (as f16)", {{"q", With(Normal(kShape, 2), 0, 1e6f)}}, {}, {"--dtype", "f16"}},
      {"NoKeyLengths", "no tensor 'key_lengths'", {}, of(kLens)},
      {"KeyLengthsOfOtherBatch",
       "tensor 'key_lengths' is [2], wanted [1]",
       {{"key_lengths", Whole({1, 2}, {2})}},
       of(kLens)},
      {"KeyLengthBeyondTheKeys", "holds 13, wanted 0 to 12", {{"key_lengths", Whole({13}, {1})}}, of(kLens)},
      {"NegativeKeyLength", "holds -1", {{"key_lengths", Whole({-1}, {1})}}, of(kLens)},
      {"KeyLengthsAsFloats", "is f32; i32 and i64 work", {{"key_lengths", Normal({1}, 1)}}, of(kLens)},
      {"NoSequences", "no tensor 'cu_seqlens_k'", {{"cu_seqlens_q", Whole({0, 12}, {2})}}, of(kVarlen)},
      {"DescendingSequences",
       "ascending from 0",
       {{"cu_seqlens_q", Whole({0, 8, 5, 12}, {4})}, {"cu_seqlens_k", Whole({0, 8, 9, 12}, {4})}},
       of(kVarlen)},
      {"SequencesThatEndEarly",
       "ends at 11, the problem's sequences end at 12",
       {{"cu_seqlens_q", Whole({0, 11}, {2})}, {"cu_seqlens_k", Whole({0, 12}, {2})}},
       of(kVarlen)},
      {"UnequalSequences",
       "has 2 sequences, 'cu_seqlens_q' has 1",
       {{"cu_seqlens_q", Whole({0, 12}, {2})}, {"cu_seqlens_k", Whole({0, 5, 12}, {3})}},
       of(kVarlen)},
      {"EmptySequenceList",
       "ascending from 0",
       {{"cu_seqlens_q", Whole({0}, {1})}, {"cu_seqlens_k", Whole({0}, {1})}},
       of(kVarlen)},
      {"NoBias", "no tensor 'bias'", {}, of(kBias), {}, "torch_sdpa"},
      {"BiasOfOtherShape",
       "tensor 'bias' is [3, 12], wanted [1, 2, 12, 12]",
       {{"bias", Normal({3, 12}, 1)}},
       of(kBias),
       {},
       "torch_sdpa"},
      {"NanBias", "holds nan", {{"bias", With(Normal({12, 12}, 1), 3, NAN)}}, of(kBias), {}, "torch_sdpa"},
      {"BiasNotAsked", "mask=bias would take it", {{"bias", Normal({12, 12}, 1)}}},
  };
}

std::vector<Mistake> FileMistakes() {
  const auto runs = [](const char* text) { return std::map<std::string, std::string>{{"runs", text}}; };
  return {
      {"NoProblem", "--problem \"f32 b1 h2/2 d16 q12 kv12 mask=none\" would work", {}, {{"note", ""}}},
      {"ProblemOfOtherWords", "'banana' is not understood", {}, {{"problem", "banana"}}},
      {"ProblemWithoutHeads", "lacks heads", {}, {{"problem", "f32 b1 d16 q12 kv12"}}},
      {"HugeProblem",
       "tensor 'q' is [1, 12, 2, 16]",
       {},
       {{"problem", "f32 b2147483647 h65536 d65536 q2147483647 kv2147483647"}}},
      {"RunsAreNoJson", "metadata 'runs'", {}, runs("[{")},
      {"RunsAreNoList", "is no list", {}, runs("{}")},
      {"RunsOfNumbers", "something else than objects", {}, runs("[1]")},
      {"RunWithoutName", "has no name", {}, runs("[{}]")},
      {"RunNamedByANumber", "'run' is no text", {}, runs(R"([{"run": 3}])")},
      {"RunTwice", "run 'a' is there twice", {}, runs(R"([{"run": "a"}, {"run": "a"}])")},
      {"RunWithoutProblem", "no problem line", {}, runs(R"([{"run": "a"}])")},
      {"StepAsText", "'step' is", {}, runs(R"([{"run": "a", "step": "one"}])")},
      {"NegativeLayer", "'layer' is -1", {}, runs(R"([{"run": "a", "layer": -1}])")},
      {"RunsNestedDeep",
       "metadata 'runs'",
       {},
       runs(R"([[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[)")},
      {"ConfigIsNoJson", "metadata 'config'", {}, {{"problem", kProblem}, {"config", "{"}}},
      {"ConfigOfOtherKeys", "banana", {}, {{"problem", kProblem}, {"config", R"({"banana": 1})"}}},
  };
}

std::vector<Mistake> WordMistakes() {
  return {
      {"UnknownBackend", "no attention backend named 'flsh'", {}, {}, {}, "flsh"},
      {"TwoKernels", "is no planner", {}, {}, {}, "fa+sage_attn"},
      {"UnknownRun", "--run step9: not in", {}, {}, {"--run", "step9"}},
      {"RunTwiceAsked",
       "is named twice",
       {},
       {{"runs", R"([{"run": "a", "problem": "f32 b1 h2/2 d16 q12 kv12"}])"}},
       {"--run", "a", "--run", "a"}},
      {"ProblemMismatch", "wanted [1, 13, 2, 16]", {}, {}, {"--problem", "f32 b1 h2/2 d16 q13 kv12"}},
      {"UnsupportedProblem",
       "cannot serve",
       {{"gate", Normal(kShape, 4)}},
       {},
       {"--problem", "f32 b1 h2/2 d16 q12 kv12 mask=none gate"}},
      {"UnknownOption", "banana", {}, {}, {"--attention-backend-config", "banana=1"}},
      {"OptionWithoutValue", "is no key=value", {}, {}, {"--attention-backend-config", "banana"}},
      {"NoRuns", "--runs", {}, {}, {"--runs", "0"}},
      {"NegativeStep", "--step", {}, {}, {"--step", "-1"}},
      {"UnknownDtype", "--dtype", {}, {}, {"--dtype", "f8"}},
      {"OutputIsInput", "--output is the file of --input", {}, {}, {"--output", "in.safetensors"}},
      {"PlanIsOutput", "--plan-out is the file", {}, {}, {"--plan-out", "out.safetensors"}},
      {"OutputIsAFolder", "folder.safetensors", {}, {}, {"--output", "folder.safetensors"}},
      {"UnknownFlag", "--bakcend", {}, {}, {"--bakcend", "fa"}},
      {"UnknownIsa", "--isa", {}, {}, {"--isa", "neon"}},
  };
}

class AttendMistake : public ::testing::TestWithParam<Mistake> {};

TEST_P(AttendMistake, GetsOneClearLine) {
  const Mistake& mistake = GetParam();
  AttendFolder folder;
  NamedTensors tensors;
  std::map<std::string, Tensor> all = mistake.tensors;
  for (const auto& [name, tensor] : Operands()) all.emplace(name, tensor);
  for (const auto& [name, tensor] : all) {
    if (tensor.defined()) tensors.emplace_back(name, tensor);
  }
  folder.Write("in.safetensors", tensors,
               mistake.metadata.empty() ? std::map<std::string, std::string>{{"problem", kProblem}} : mistake.metadata);
  std::filesystem::create_directory(folder.At("folder.safetensors"));
  std::vector<std::string> words = {"--backend", mistake.backend};
  for (const std::string& word : mistake.words) {
    words.push_back(word.ends_with(".safetensors") ? folder.At(word) : word);
  }
  const auto result = folder.Attend(words);
  EXPECT_GT(result.exit_code, 1);
  EXPECT_LT(result.exit_code, 10);
  EXPECT_TRUE(result.err.starts_with("error: ")) << result.err;
  EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
  EXPECT_THAT(result.err, ::testing::HasSubstr(mistake.says));
  EXPECT_EQ(result.out, "");
  EXPECT_FALSE(folder.Has("out.safetensors"));
}

std::string NameOf(const ::testing::TestParamInfo<Mistake>& row) { return row.param.name; }

INSTANTIATE_TEST_SUITE_P(Tensors, AttendMistake, ::testing::ValuesIn(TensorMistakes()), NameOf);
INSTANTIATE_TEST_SUITE_P(Files, AttendMistake, ::testing::ValuesIn(FileMistakes()), NameOf);
INSTANTIATE_TEST_SUITE_P(Words, AttendMistake, ::testing::ValuesIn(WordMistakes()), NameOf);

class MissingFlag : public ::testing::TestWithParam<const char*> {};

TEST_P(MissingFlag, IsNamed) {
  std::map<std::string, std::string> flags = {{"--backend", "fa"}, {"--input", "a"}, {"--output", "b"}};
  flags.erase(GetParam());
  std::vector<std::string> words = {TESSERA_BINARY, "attend"};
  for (const auto& [flag, value] : flags) words.insert(words.end(), {flag, value});
  const auto result = testing::RunCommand(words);
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.err, ::testing::HasSubstr(std::string("attend needs ") + GetParam()));
}

INSTANTIATE_TEST_SUITE_P(Attend, MissingFlag, ::testing::Values("--backend", "--input", "--output"),
                         [](const auto& row) { return std::string(row.param + 2); });

}  // namespace
}  // namespace tessera
