#include <cmath>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/checkpoint.h"
#include "models/text_encoder.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

const std::vector<int> kTaps = {1, 2, 4};
constexpr int64_t kTokens = 48;

class Qwen3 : public testing::Test {
 protected:
  static std::filesystem::path Folder() { return GoldenFolder("pipelines/flux2_klein_tiny"); }
  static Checkpoint Weights() { return Checkpoint(Folder() / "text_encoder/model.safetensors"); }
  static Config DefaultConfig() { return Config::FromFile(Folder() / "text_encoder/config.json"); }
  static std::unique_ptr<TextEncoderSpec> Spec(const Config& config) {
    return FindTextEncoder("Qwen3ForCausalLM").parse(config);
  }

  static PromptTokens Prompt(const SafetensorsFile& io, const std::string& name) {
    const Tensor ids = io.Get(name + ".input_ids"), mask = io.Get(name + ".attention_mask");
    PromptTokens prompt;
    for (int64_t i = 0; i < ids.numel(); ++i) {
      prompt.input_ids.push_back(static_cast<int32_t>(ids.data<int64_t>()[i]));
      prompt.valid += mask.data<int64_t>()[i];
    }
    return prompt;
  }
  static SafetensorsFile Io() { return SafetensorsFile(Folder() / "io.safetensors"); }

  static Tensor Encode(const Checkpoint& weights, const TextEncoderSpec& spec, const TextEncoderJob& job,
                       const PromptTokens& prompt) {
    TestContext context;
    context.attention.Prepare(spec.Sites(job));
    ForwardContext forward = context.forward();
    return spec.Load(weights.Map("text_encoder"), job)->Encode(prompt, forward);
  }
  static Tensor EncodeText(const Checkpoint& weights, const Config& config) {
    return Encode(weights, *Spec(config), {kTaps, kTokens, DType::kF32}, Prompt(Io(), "text"));
  }
  static std::string LoadError(const Checkpoint& weights, const Config& config) {
    return ErrorOf([&] { Spec(config)->Load(weights.Map("text_encoder"), {kTaps, kTokens, DType::kF32}); });
  }
};

TEST_F(Qwen3, MatchesTheOriginalWithPadRows) {
  const auto spec = Spec(DefaultConfig());
  for (const char* name : {"text", "unicode", "edit", "edit2"}) {
    const Tensor states = Encode(Weights(), *spec, {kTaps, kTokens, DType::kF32}, Prompt(Io(), name));
    EXPECT_LT(RelativeError(states, Io().Get(std::string(name) + ".prompt_embeds")), 1e-5) << name;
  }
}

TEST_F(Qwen3, MatchesTheOriginalOnTheValidRowsOfAPublishedConfig) {
  const auto folder = GoldenFolder("pipelines/z_image_tiny");
  const auto spec = Spec(Config::FromFile(folder / "text_encoder/config.json"));
  const SafetensorsFile io(folder / "io.safetensors");
  const Checkpoint weights(folder / "text_encoder/model.safetensors");
  for (const char* name : {"turbo", "unicode", "guided", "long"}) {
    const PromptTokens prompt = Prompt(io, name);
    const Tensor states = Encode(weights, *spec, {{3}, kTokens, DType::kF32}, prompt);
    EXPECT_LT(RelativeError(states.Narrow(0, 0, prompt.valid), io.Get(std::string(name) + ".prompt_embeds")), 1e-5)
        << name;
  }
}

TEST_F(Qwen3, EveryWeightMatters) {
  const Tensor want = Io().Get("text.prompt_embeds");
  for (const char* name :
       {"embed_tokens.weight", "layers.0.input_layernorm.weight", "layers.1.self_attn.q_norm.weight",
        "layers.1.self_attn.k_norm.weight", "layers.2.self_attn.q_proj.weight", "layers.2.self_attn.k_proj.weight",
        "layers.3.self_attn.v_proj.weight", "layers.3.self_attn.o_proj.weight",
        "layers.3.post_attention_layernorm.weight", "layers.1.mlp.gate_proj.weight", "layers.2.mlp.up_proj.weight",
        "layers.3.mlp.down_proj.weight"}) {
    Checkpoint changed = Weights();
    changed.Scale(std::string("model.") + name, 1.01f);
    EXPECT_GT(RelativeError(EncodeText(changed, DefaultConfig()), want), 2e-5) << name;
  }
}

TEST_F(Qwen3, PositionsAndSizesOfTheConfigMatter) {
  const Tensor want = Io().Get("text.prompt_embeds");
  const nlohmann::json other_theta = {{"rope_type", "default"}, {"rope_theta", 11000.0}};
  EXPECT_GT(RelativeError(EncodeText(Weights(), ConfigWith(DefaultConfig(), "rope_parameters", other_theta)), want),
            2e-5);
}

TEST_F(Qwen3, Bf16StaysCloseToF32) {
  const auto spec = Spec(DefaultConfig());
  const Tensor states = Encode(Weights(), *spec, {kTaps, kTokens, DType::kBF16}, Prompt(Io(), "text"));
  EXPECT_EQ(states.dtype(), DType::kBF16);
  EXPECT_GT(Cosine(states, Io().Get("text.prompt_embeds")), 0.9995);
}

TEST_F(Qwen3, ThreadsDoNotChangeABit) {
  const auto run = [](int threads) {
    const ScopedThreads scope(threads);
    return EncodeText(Weights(), DefaultConfig());
  };
  EXPECT_TRUE(SameBytes(run(1), run(2)));
  EXPECT_TRUE(SameBytes(run(1), run(3)));
}

TEST_F(Qwen3, TapZeroIsTheEmbedding) {
  const Checkpoint weights = Weights();
  const PromptTokens prompt = Prompt(Io(), "text");
  const Tensor states = Encode(weights, *Spec(DefaultConfig()), {{0}, kTokens, DType::kF32}, prompt);
  const Tensor& embedding = weights.at("model.embed_tokens.weight");
  for (int64_t row = 0; row < kTokens; ++row) {
    const Tensor want = embedding.Narrow(0, prompt.input_ids[static_cast<size_t>(row)], 1);
    EXPECT_TRUE(SameBytes(states.Narrow(0, row, 1), want)) << row;
  }
}

TEST_F(Qwen3, TheLastTapCarriesTheFinalNorm) {
  const auto encode = [](const Checkpoint& weights) {
    return Encode(weights, *Spec(DefaultConfig()), {{5}, kTokens, DType::kF32}, Prompt(Io(), "text"));
  };
  const Checkpoint weights = Weights();
  const Tensor normed = encode(weights), plain = encode(Weights().Fill("model.norm.weight", 1.0f));
  const float* weight = weights.at("model.norm.weight").data<float>();
  Tensor scaled = plain.Clone();
  for (int64_t i = 0; i < scaled.numel(); ++i) scaled.mutable_data<float>()[i] *= weight[i % 32];
  EXPECT_LT(RelativeError(normed, scaled), 1e-6);
  double squares = 0;
  for (int64_t i = 0; i < 32; ++i) squares += std::pow(plain.data<float>()[i], 2);
  EXPECT_NEAR(squares / 32, 1.0, 1e-3);
}

TEST_F(Qwen3, LayersAfterTheLastTapAreNotNeeded) {
  Checkpoint pruned = Weights();
  for (const char* name :
       {"input_layernorm", "post_attention_layernorm", "self_attn.q_norm", "self_attn.k_norm", "self_attn.q_proj",
        "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"}) {
    pruned.Remove(std::string("model.layers.4.") + name + ".weight");
  }
  pruned.Remove("model.norm.weight");
  EXPECT_TRUE(SameBytes(EncodeText(pruned, DefaultConfig()), EncodeText(Weights(), DefaultConfig())));
}

TEST_F(Qwen3, EverySpellingOfACheckpointGivesTheSameStates) {
  const Tensor want = EncodeText(Weights(), DefaultConfig());
  Checkpoint bare = Weights();
  bare.StripPrefix("model.").Add("lm_head.weight", Tensor::Zeros({448, 32}, DType::kF32));
  Checkpoint nested = Weights();
  nested.AddPrefix("language_model.").Add("language_model.lm_head.weight", Tensor::Zeros({448, 32}, DType::kF32));
  Checkpoint inner = Weights();
  inner.StripPrefix("model.")
      .AddPrefix("model.language_model.")
      .Add("lm_head.weight", Tensor::Zeros({448, 32}, DType::kF32));
  EXPECT_TRUE(SameBytes(EncodeText(bare, DefaultConfig()), want));
  EXPECT_TRUE(SameBytes(EncodeText(nested, DefaultConfig()), want));
  EXPECT_TRUE(SameBytes(EncodeText(inner, DefaultConfig()), want));

  Config published = ConfigWith(ConfigWith(DefaultConfig(), "rope_parameters", nullptr), "rope_theta", 10000.0);
  published = ConfigWith(ConfigWith(published, "dtype", nullptr), "torch_dtype", "bfloat16");
  EXPECT_TRUE(SameBytes(EncodeText(Weights(), published), want));
}

TEST_F(Qwen3, WeightsInBf16AreUsedAsTheyLie) {
  Checkpoint narrow = Weights();
  narrow.Convert(DType::kBF16);
  EXPECT_GT(Cosine(EncodeText(narrow, DefaultConfig()), Io().Get("text.prompt_embeds")), 0.9995);
}

TEST_F(Qwen3, BiasesAreAddedWhenTheConfigSaysSo) {
  Checkpoint biased = Weights();
  for (int i = 0; i < 5; ++i) {
    const std::string prefix = "model.layers." + std::to_string(i) + ".self_attn.";
    biased.Add(prefix + "q_proj.bias", Tensor::Zeros({64}, DType::kF32))
        .Add(prefix + "o_proj.bias", Tensor::Zeros({32}, DType::kF32));
    for (const char* name : {"k_proj.bias", "v_proj.bias"}) biased.Add(prefix + name, Tensor::Zeros({32}, DType::kF32));
  }
  const Config config = ConfigWith(DefaultConfig(), "attention_bias", true);
  const Tensor want = EncodeText(Weights(), DefaultConfig());
  EXPECT_LT(RelativeError(EncodeText(biased, config), want), 1e-6);
  biased.Fill("model.layers.1.self_attn.v_proj.bias", 0.1f);
  EXPECT_GT(RelativeError(EncodeText(biased, config), want), 1e-3);
  EXPECT_THAT(LoadError(biased, DefaultConfig()), testing::HasSubstr("proj.bias"));
  EXPECT_THAT(LoadError(Weights(), config), testing::HasSubstr("proj.bias"));
}

TEST_F(Qwen3, NamesWrongTensors) {
  EXPECT_THAT(LoadError(Weights().Remove("model.layers.2.mlp.up_proj.weight"), DefaultConfig()),
              testing::HasSubstr("layers.2.mlp.up_proj.weight"));
  EXPECT_THAT(
      LoadError(Weights().Add("model.layers.4.mlp.experts.weight", Tensor::Zeros({1}, DType::kF32)), DefaultConfig()),
      testing::HasSubstr("layers.4.mlp.experts.weight"));
  EXPECT_THAT(LoadError(Weights().Remove("model.embed_tokens.weight"), DefaultConfig()),
              testing::HasSubstr("embed_tokens"));
  EXPECT_THAT(LoadError(Weights()
                            .Remove("model.layers.0.input_layernorm.weight")
                            .Add("model.layers.0.input_layernorm.weight", Tensor::Zeros({33}, DType::kF32)),
                        DefaultConfig()),
              testing::AllOf(testing::HasSubstr("layers.0.input_layernorm.weight"), testing::HasSubstr("[33]")));
  EXPECT_THAT(LoadError(Weights(), ConfigWith(DefaultConfig(), "num_hidden_layers", 4)),
              testing::HasSubstr("layers.4."));
}

TEST_F(Qwen3, RefusesConfigsItCannotHonour) {
  const auto refusal = [](const std::string& key, const nlohmann::json& value) {
    return ErrorOf([&] { Spec(ConfigWith(DefaultConfig(), key, value)); });
  };
  EXPECT_THAT(refusal("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}), testing::HasSubstr("'yarn'"));
  EXPECT_THAT(refusal("rope_scaling", {{"type", "linear"}, {"factor", 2.0}}), testing::HasSubstr("'linear'"));
  EXPECT_THAT(refusal("rope_parameters", {{"rope_type", "dynamic"}, {"rope_theta", 1e6}}),
              testing::HasSubstr("'dynamic'"));
  EXPECT_THAT(refusal("hidden_act", "gelu"), testing::HasSubstr("'gelu'"));
  EXPECT_THAT(refusal("use_sliding_window", true), testing::HasSubstr("use_sliding_window"));
  EXPECT_THAT(refusal("layer_types", {"full_attention", "sliding_attention"}), testing::HasSubstr("sliding_attention"));
  EXPECT_THAT(refusal("num_key_value_heads", 3), testing::HasSubstr("num_key_value_heads 3"));
  EXPECT_THAT(refusal("head_dim", 15), testing::HasSubstr("head_dim 15"));
  for (const char* key :
       {"hidden_size", "num_attention_heads", "num_hidden_layers", "vocab_size", "intermediate_size"}) {
    EXPECT_THAT(refusal(key, -1), testing::HasSubstr(key));
    EXPECT_THAT(refusal(key, int64_t{1} << 60), testing::HasSubstr(key));
    EXPECT_THAT(refusal(key, "many"), testing::HasSubstr(key));
  }
}

TEST_F(Qwen3, WidthsThatDoNotFitTheWeightsAreNamed) {
  EXPECT_THAT(LoadError(Weights(), ConfigWith(DefaultConfig(), "num_attention_heads", 8)),
              testing::HasSubstr("q_proj"));
  EXPECT_THAT(LoadError(Weights(), ConfigWith(DefaultConfig(), "head_dim", 32)),
              testing::HasSubstr("layers.0.self_attn"));
  EXPECT_THAT(LoadError(Weights(), ConfigWith(DefaultConfig(), "hidden_size", 64)), testing::HasSubstr("embed_tokens"));
}

TEST_F(Qwen3, RefusesJobsItCannotDo) {
  const auto refusal = [](const TextEncoderJob& job) {
    return ErrorOf([&] { Spec(DefaultConfig())->Load(Weights().Map("text_encoder"), job); });
  };
  EXPECT_THAT(refusal({{1, 6}, kTokens, DType::kF32}), testing::HasSubstr("0 to 5"));
  EXPECT_THAT(refusal({{-1}, kTokens, DType::kF32}), testing::HasSubstr("0 to 5"));
  EXPECT_THAT(refusal({{2, 2}, kTokens, DType::kF32}), testing::HasSubstr("ascending"));
  EXPECT_THAT(refusal({kTaps, kTokens, DType::kF16}), testing::HasSubstr("f32 or bf16"));
}

TEST_F(Qwen3, TokensOutsideTheVocabularyAreAnError) {
  PromptTokens prompt = Prompt(Io(), "text");
  prompt.input_ids[3] = 448;
  EXPECT_THAT(ErrorOf([&] {
                Encode(Weights(), *Spec(DefaultConfig()), {kTaps, kTokens, DType::kF32}, prompt);
              }),
              testing::HasSubstr("448"));
}

TEST_F(Qwen3, ScratchStaysWithinThePlan) {
  const auto spec = Spec(DefaultConfig());
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const TextEncoderJob job{kTaps, 256, compute};
    TestContext context;
    const auto sites = spec->Sites(job);
    context.attention.Prepare(sites);
    ForwardContext forward = context.forward();
    PromptTokens prompt{std::vector<int32_t>(256, 7), 200};
    spec->Load(Weights().Map("text_encoder"), job)->Encode(prompt, forward);
    EXPECT_LE(context.workspace.peak_bytes(),
              spec->CostOf(job).workspace_bytes + context.attention.WorkspaceBytes(sites));
  }
}

TEST_F(Qwen3, CountsFlopsAndUsedWeights) {
  const auto spec = Spec(DefaultConfig());
  const Cost cost = spec->CostOf({kTaps, kTokens, DType::kF32});
  const double per_layer = 32 * 64 + 2 * 32 * 32 + 64 * 32 + 3 * 32 * 48;
  EXPECT_DOUBLE_EQ(cost.linear_flops, 4 * 2 * 48 * per_layer);
  const Checkpoint weights = Weights();
  const size_t all = spec->UsedWeightBytes(weights.Map("text_encoder"), {{5}, kTokens, DType::kF32});
  EXPECT_EQ(all, weights.Map("text_encoder").total_bytes());
  const size_t layer = (2 * 32 + 2 * 16 + static_cast<size_t>(per_layer)) * 4;
  EXPECT_EQ(spec->UsedWeightBytes(weights.Map("text_encoder"), {kTaps, kTokens, DType::kF32}), all - layer - 32 * 4);
}

}  // namespace
}  // namespace tessera
