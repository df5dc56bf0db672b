#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/checkpoint.h"
#include "models/text_encoder.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kTokens = 64;

std::filesystem::path Folder() { return GoldenFolder("pipelines/wan21_t2v_tiny"); }
SafetensorsFile Io() { return SafetensorsFile(Folder() / "io.safetensors"); }
Checkpoint Weights() { return Checkpoint(Folder() / "text_encoder/model.safetensors"); }
Config DefaultConfig() { return Config::FromFile(Folder() / "text_encoder/config.json"); }
std::unique_ptr<TextEncoderSpec> Spec(const Config& config) {
  return FindTextEncoder("UMT5EncoderModel").parse(config);
}

PromptTokens Prompt(const SafetensorsFile& io, const std::string& name) {
  const Tensor ids = io.Get(name + "input_ids"), mask = io.Get(name + "attention_mask");
  PromptTokens prompt;
  for (int64_t i = 0; i < ids.numel(); ++i) {
    prompt.input_ids.push_back(static_cast<int32_t>(ids.data<int64_t>()[i]));
    prompt.valid += mask.data<int64_t>()[i];
  }
  return prompt;
}

Tensor Encode(const Checkpoint& weights, const Config& config, DType compute, const PromptTokens& prompt) {
  const auto spec = Spec(config);
  const TextEncoderJob job{{spec->num_layers()}, kTokens, compute};
  TestContext context;
  context.attention.Prepare(spec->Sites(job));
  ForwardContext forward = context.forward();
  return spec->Load(weights.Map("text_encoder"), job)->Encode(prompt, forward).Narrow(0, 0, prompt.valid);
}

Tensor Expected(const std::string& name, int64_t valid) {
  return Io().Get(name + "prompt_embeds").Reshape({kTokens, 32}).Narrow(0, 0, valid).Clone();
}

TEST(Umt5, MatchesTheOriginalOnTheValidRows) {
  for (const char* name : {"text.", "text.negative_", "unicode.", "long.", "unicode.negative_"}) {
    const PromptTokens prompt = Prompt(Io(), name);
    const Tensor states = Encode(Weights(), DefaultConfig(), DType::kF32, prompt);
    EXPECT_LT(RelativeError(states, Expected(name, prompt.valid)), 1e-5) << name;
  }
}

TEST(Umt5, EveryWeightMatters) {
  const PromptTokens prompt = Prompt(Io(), "text.");
  const Tensor want = Expected("text.", prompt.valid);
  for (const char* name :
       {"shared.weight", "encoder.block.0.layer.0.layer_norm.weight", "encoder.block.0.layer.0.SelfAttention.q.weight",
        "encoder.block.1.layer.0.SelfAttention.k.weight", "encoder.block.1.layer.0.SelfAttention.v.weight",
        "encoder.block.0.layer.0.SelfAttention.o.weight",
        "encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight",
        "encoder.block.1.layer.1.layer_norm.weight", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight",
        "encoder.block.1.layer.1.DenseReluDense.wi_1.weight", "encoder.block.1.layer.1.DenseReluDense.wo.weight",
        "encoder.final_layer_norm.weight"}) {
    Checkpoint changed = Weights();
    changed.Scale(name, 1.01f);
    EXPECT_GT(RelativeError(Encode(changed, DefaultConfig(), DType::kF32, prompt), want), 2e-5) << name;
  }
}

TEST(Umt5, DistancesBeyondTheExactBucketsMatter) {
  const PromptTokens prompt = Prompt(Io(), "long.");
  const Tensor want = Expected("long.", prompt.valid);
  const Config other = ConfigWith(DefaultConfig(), "relative_attention_max_distance", 20);
  EXPECT_GT(RelativeError(Encode(Weights(), other, DType::kF32, prompt), want), 2e-5);
}

TEST(Umt5, Bf16StaysCloseToF32) {
  const PromptTokens prompt = Prompt(Io(), "text.");
  EXPECT_GT(Cosine(Encode(Weights(), DefaultConfig(), DType::kBF16, prompt), Expected("text.", prompt.valid)), 0.9995);
}

TEST(Umt5, ThreadsDoNotChangeABit) {
  const PromptTokens prompt = Prompt(Io(), "unicode.");
  const auto run = [&](int threads) {
    const ScopedThreads scope(threads);
    return Encode(Weights(), DefaultConfig(), DType::kF32, prompt);
  };
  EXPECT_TRUE(SameBytes(run(1), run(2)));
}

TEST(Umt5, SaysWhatItCannotDo) {
  EXPECT_THAT(ErrorOf([] { Spec(ConfigWith(DefaultConfig(), "feed_forward_proj", "relu")); }), HasSubstr("'relu'"));
  EXPECT_THAT(ErrorOf([] { Spec(ConfigWith(DefaultConfig(), "relative_attention_num_buckets", 30)); }),
              HasSubstr("relative_attention_num_buckets 30"));
  EXPECT_THAT(ErrorOf([] {
                Checkpoint damaged = Weights();
                damaged.Remove("encoder.block.1.layer.1.DenseReluDense.wo.weight");
                Encode(damaged, DefaultConfig(), DType::kF32, Prompt(Io(), "text."));
              }),
              HasSubstr("encoder.block.1.layer.1.DenseReluDense.wo.weight"));
}

}  // namespace
}  // namespace tessera
