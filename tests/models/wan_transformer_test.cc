#include "models/transformers/wan_transformer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/checkpoint.h"
#include "support/temporary_folder.h"
#include "tensor/random.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

SafetensorsFile Io(const std::string& folder) { return SafetensorsFile(GoldenFolder(folder) / "io.safetensors"); }
Checkpoint Weights(const std::string& folder) {
  return Checkpoint(GoldenFolder(folder) / "diffusion_pytorch_model.safetensors");
}
WanTransformerConfig ConfigOf(const std::string& folder) {
  return WanTransformerConfig::From(Config::FromFile(GoldenFolder(folder) / "config.json"));
}

Tensor WithoutBatch(const Tensor& tensor) {
  return tensor.rank() == 5 ? tensor.Reshape({tensor.dim(1), tensor.dim(2), tensor.dim(3), tensor.dim(4)})
                            : tensor.Reshape({tensor.dim(1), tensor.dim(2)});
}

// One golden call.
struct Call {
  Tensor latents, prompt_embeds, image_embeds;
  int64_t valid = 0;
  std::vector<WanTimestep> timesteps;
};

WanSequence SequenceOf(const Call& call, DType compute) {
  return {"transformer",
          call.latents.dim(1),
          call.latents.dim(2),
          call.latents.dim(3),
          call.prompt_embeds.dim(0),
          call.image_embeds.defined() ? call.image_embeds.dim(0) : 0,
          compute};
}

Tensor Predict(const Checkpoint& weights, const WanTransformerConfig& config, const Call& call,
               DType compute = DType::kF32) {
  TestContext context;
  const WanSequence sequence = SequenceOf(call, compute);
  context.attention.Prepare(WanSites(config, sequence));
  const WanTransformer transformer(config, weights.Map("transformer"), compute);
  ForwardContext forward = context.forward();
  const WanConditioning conditioning =
      transformer.Condition(call.prompt_embeds.To(compute), call.valid, call.image_embeds, sequence, forward);
  const RotaryTable rotary = WanRotary(config, sequence);
  Tensor prediction =
      Tensor::Empty({config.out_channels, sequence.frames, sequence.height, sequence.width}, DType::kF32);
  transformer.Forward({call.latents, call.timesteps, &conditioning, &rotary}, sequence, forward, prediction);
  return prediction;
}

Call TextCall() {
  const SafetensorsFile io = Io("wan_t2v_tiny");
  Call call{WithoutBatch(io.Get("x")), WithoutBatch(io.Get("ctx")), {}, 9, {}};
  call.timesteps = {{36, io.Get("t").To(DType::kF32).data<float>()[0]}};
  return call;
}

Call PictureCall() {
  const SafetensorsFile io = Io("wan21_i2v_tiny");
  Call call{WithoutBatch(io.Get("x")), WithoutBatch(io.Get("ctx")), WithoutBatch(io.Get("img")), 512, {}};
  call.timesteps = {{36, io.Get("t").To(DType::kF32).data<float>()[0]}};
  return call;
}

TEST(Wan, MatchesTheOriginal) {
  EXPECT_LT(RelativeError(Predict(Weights("wan_t2v_tiny"), ConfigOf("wan_t2v_tiny"), TextCall()),
                          Io("wan_t2v_tiny").Get("out")),
            1e-5);
}

TEST(Wan, MatchesTheOriginalWithATimestepPerToken) {
  const Tensor timesteps = Io("wan_t2v_tiny").Get("t_tokens").To(DType::kF32);
  Call call = TextCall();
  call.timesteps.clear();
  for (int64_t i = 0; i < timesteps.numel(); ++i) {
    const float timestep = timesteps.data<float>()[i];
    if (call.timesteps.empty() || call.timesteps.back().timestep != timestep) call.timesteps.push_back({0, timestep});
    ++call.timesteps.back().tokens;
  }
  const Tensor prediction = Predict(Weights("wan_t2v_tiny"), ConfigOf("wan_t2v_tiny"), call);
  EXPECT_LT(RelativeError(prediction, Io("wan_t2v_tiny").Get("out_expand_timesteps")), 1e-5);
}

TEST(Wan, MatchesTheOriginalWithAPicture) {
  const Tensor prediction = Predict(Weights("wan21_i2v_tiny"), ConfigOf("wan21_i2v_tiny"), PictureCall());
  EXPECT_LT(RelativeError(prediction, Io("wan21_i2v_tiny").Get("out")), 1e-5);
}

// Folding is exact: rows of zeros seen one by one, or as one key.
TEST(Wan, ZeroRowsBehindThePromptAreOneKey) {
  Call call = TextCall();
  Tensor padded = Tensor::Zeros({40, call.prompt_embeds.dim(1)}, DType::kF32);
  std::memcpy(padded.mutable_raw(), call.prompt_embeds.raw(), call.prompt_embeds.bytes());
  call.prompt_embeds = padded;
  const Tensor folded = Predict(Weights("wan_t2v_tiny"), ConfigOf("wan_t2v_tiny"), call);
  call.valid = 40;
  const Tensor whole = Predict(Weights("wan_t2v_tiny"), ConfigOf("wan_t2v_tiny"), call);
  EXPECT_LT(RelativeError(folded, whole), 2e-6);
}

TEST(Wan, EveryWeightMatters) {
  const WanTransformerConfig config = ConfigOf("wan21_i2v_tiny");
  const Tensor want = Io("wan21_i2v_tiny").Get("out");
  for (const std::string& name : Weights("wan21_i2v_tiny").Map("transformer").Keys()) {
    if (name.find("to_k.bias") != std::string::npos || name.find("add_k_proj.bias") != std::string::npos) continue;
    Checkpoint changed = Weights("wan21_i2v_tiny");
    changed.Scale(name, 1.02f);
    EXPECT_GT(RelativeError(Predict(changed, config, PictureCall()), want), 1e-5) << name;
  }
}

TEST(Wan, Bf16StaysCloseToF32) {
  const Tensor prediction = Predict(Weights("wan_t2v_tiny"), ConfigOf("wan_t2v_tiny"), TextCall(), DType::kBF16);
  EXPECT_GT(Cosine(prediction, Io("wan_t2v_tiny").Get("out")), 0.999);
}

TEST(Wan, ThreadsDoNotChangeABit) {
  const auto run = [](int threads) {
    const ScopedThreads scope(threads);
    return Predict(Weights("wan_t2v_tiny"), ConfigOf("wan_t2v_tiny"), TextCall());
  };
  EXPECT_TRUE(SameBytes(run(1), run(3)));
}

// The first step of whole jobs: seeded noise and encoded prompts, with and without guidance.
TEST(Wan, MatchesTheFirstPredictionsOfAJob) {
  const auto folder = GoldenFolder("pipelines/wan21_t2v_tiny");
  const auto config = WanTransformerConfig::From(Config::FromFile(folder / "transformer/config.json"));
  const Checkpoint weights(folder / "transformer/diffusion_pytorch_model.safetensors");
  const SafetensorsFile io(folder / "io.safetensors");
  for (const std::string job : {"text", "unicode", "euler"}) {
    for (const std::string pass : {"", "negative_"}) {
      const Tensor mask = io.Get(job + "." + pass + "attention_mask");
      Call call{
          WithoutBatch(io.Get(job + ".noise")), WithoutBatch(io.Get(job + "." + pass + "prompt_embeds")), {}, 0, {}};
      for (int64_t i = 0; i < mask.numel(); ++i) call.valid += mask.data<int64_t>()[i];
      call.timesteps = {{WanTokens(config, SequenceOf(call, DType::kF32)),
                         io.Get(job + ".timesteps").To(DType::kF32).data<float>()[0]}};
      const Tensor want = io.Get(job + ".first_prediction" + (pass.empty() ? "" : "_negative"));
      EXPECT_LT(RelativeError(Predict(weights, config, call), want), 1e-5) << job << " " << pass;
    }
  }
}

TEST(Wan, WorkspaceIsWhatTheCostSays) {
  const WanTransformerConfig config = ConfigOf("wan_t2v_tiny");
  const Call call = TextCall();
  TestContext context;
  const WanSequence sequence = SequenceOf(call, DType::kF32);
  const auto sites = WanSites(config, sequence);
  context.attention.Prepare(sites);
  const WanTransformer transformer(config, Weights("wan_t2v_tiny").Map("transformer"), DType::kF32);
  ForwardContext forward = context.forward();
  const auto conditioning = transformer.Condition(call.prompt_embeds, call.valid, {}, sequence, forward);
  const RotaryTable rotary = WanRotary(config, sequence);
  Tensor prediction = Tensor::Empty({4, 3, 8, 6}, DType::kF32);
  transformer.Forward({call.latents, call.timesteps, &conditioning, &rotary}, sequence, forward, prediction);
  const size_t planned = WanCost(config, sequence).workspace_bytes + context.attention.WorkspaceBytes(sites);
  EXPECT_LE(context.workspace.peak_bytes(), planned);
  EXPECT_GE(context.workspace.peak_bytes() * 3, planned);
}

TEST(Wan, SaysWhatIsWrongWithACheckpoint) {
  const WanTransformerConfig config = ConfigOf("wan_t2v_tiny");
  const auto load = [&](const Checkpoint& weights) {
    return ErrorOf([&] { WanTransformer(config, weights.Map("transformer"), DType::kF32); });
  };
  Checkpoint missing = Weights("wan_t2v_tiny");
  EXPECT_THAT(load(missing.Remove("blocks.1.ffn.net.2.bias")), HasSubstr("blocks.1.ffn.net.2.bias"));
  Checkpoint more = Weights("wan_t2v_tiny");
  EXPECT_THAT(load(more.Add("blocks.2.norm2.bias", Tensor::Zeros({24}, DType::kF32))),
              HasSubstr("blocks.2.norm2.bias"));
  const Config plain = Config::FromFile(GoldenFolder("wan_t2v_tiny") / "config.json");
  EXPECT_THAT(ErrorOf([&] { WanTransformerConfig::From(ConfigWith(plain, "qk_norm", "layer_norm")); }),
              HasSubstr("qk_norm 'layer_norm'"));
  EXPECT_THAT(ErrorOf([&] {
                WanTransformerConfig::From(ConfigWith(plain, "patch_size", {1, 2}));
              }),
              HasSubstr("patch_size"));
  EXPECT_THAT(ErrorOf([&] { WanTransformerConfig::From(ConfigWith(plain, "image_dim", 8)); }),
              HasSubstr("added_kv_proj_dim"));
}

}  // namespace
}  // namespace tessera
