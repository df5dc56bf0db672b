#include "models/transformers/flux2_transformer.h"

#include <cmath>
#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/checkpoint.h"
#include "support/temporary_folder.h"
#include "tensor/random.h"

namespace tessera {
namespace {

// Inputs of one golden call, without batch axis.
struct Call {
  Tensor hidden_states, encoder_hidden_states, ids;
  float timestep = 0;
  std::optional<float> guidance;
  Flux2Sequence sequence;
};

Tensor Rows(const Tensor& batched) { return batched.Reshape({batched.dim(1), batched.dim(2)}); }

Tensor Join(const std::vector<Tensor>& parts) {
  int64_t rows = 0;
  for (const Tensor& part : parts) rows += part.dim(0);
  Tensor all = Tensor::Empty({rows, parts[0].dim(1)}, parts[0].dtype());
  auto* to = static_cast<std::byte*>(all.mutable_raw());
  for (const Tensor& part : parts) {
    std::memcpy(to, part.raw(), part.bytes());
    to += part.bytes();
  }
  return all;
}

Call DevCall(const SafetensorsFile& io) {
  return {Rows(io.Get("x")),
          Rows(io.Get("ctx")),
          Join({Rows(io.Get("txt_ids")), Rows(io.Get("img_ids"))}),
          io.Get("t").data<float>()[0],
          io.Get("guidance").data<float>()[0],
          {7, 12, DType::kF32, 3, 4}};
}

Call KleinCall(const SafetensorsFile& io) {
  return {Join({Rows(io.Get("x")), Rows(io.Get("ref"))}),
          Rows(io.Get("ctx")),
          Join({Rows(io.Get("txt_ids")), Rows(io.Get("img_ids")), Rows(io.Get("ref_ids"))}),
          io.Get("t").data<float>()[0],
          std::nullopt,
          {7, 18, DType::kF32, 3, 4}};
}

class Flux2 : public testing::Test {
 protected:
  static SafetensorsFile Io(const std::string& folder) {
    return SafetensorsFile(GoldenFolder(folder) / "io.safetensors");
  }
  static Checkpoint Weights(const std::string& folder) {
    return Checkpoint(GoldenFolder(folder) / "diffusion_pytorch_model.safetensors");
  }
  static Flux2TransformerConfig ConfigOf(const std::string& folder) {
    return Flux2TransformerConfig::From(Config::FromFile(GoldenFolder(folder) / "config.json"));
  }

  static Tensor Run(const Checkpoint& weights, const Flux2TransformerConfig& config, const Call& call) {
    TestContext context;
    return Run(weights, config, call, context);
  }
  static Tensor Run(const Checkpoint& weights, const Flux2TransformerConfig& config, const Call& call,
                    TestContext& context) {
    context.attention.Prepare(Flux2Sites(config, call.sequence));
    const Flux2Transformer transformer(config, weights.Map("transformer"), call.sequence.compute);
    const RotaryTable rotary = AxisRotary(call.ids, config.axes_dims_rope, config.rope_theta);
    const Flux2Input input{call.hidden_states, call.encoder_hidden_states.To(call.sequence.compute), call.timestep,
                           call.guidance, &rotary};
    Tensor prediction = Tensor::Empty({call.sequence.image_tokens, config.out_channels}, DType::kF32);
    ForwardContext forward = context.forward();
    transformer.Forward(input, call.sequence, forward, prediction);
    return prediction;
  }
  static Tensor RunDev(const Checkpoint& weights) {
    return Run(weights, ConfigOf("flux2_dev_tiny"), DevCall(Io("flux2_dev_tiny")));
  }
  static std::string LoadError(const Checkpoint& weights, const Flux2TransformerConfig& config) {
    return ErrorOf([&] { Flux2Transformer(config, weights.Map("transformer"), DType::kF32); });
  }
};

TEST_F(Flux2, RotationTablesMatchTheOriginal) {
  const SafetensorsFile io = Io("flux2_dev_tiny");
  const RotaryTable table = AxisRotary(DevCall(io).ids, {4, 4, 4, 4}, 2000);
  const Tensor cos = io.Get("rope_cos"), sin = io.Get("rope_sin");
  for (int64_t i = 0; i < cos.numel(); ++i) {
    EXPECT_NEAR(table.cos.data<float>()[i / 2], cos.data<float>()[i], 1e-7) << i;
    EXPECT_NEAR(table.sin.data<float>()[i / 2], sin.data<float>()[i], 1e-7) << i;
  }
}

TEST_F(Flux2, MatchesTheOriginalWithGuidance) {
  EXPECT_LT(RelativeError(RunDev(Weights("flux2_dev_tiny")), Io("flux2_dev_tiny").Get("out")), 1e-5);
}

TEST_F(Flux2, MatchesTheOriginalWithAReference) {
  const SafetensorsFile io = Io("flux2_klein_tiny");
  const Tensor prediction = Run(Weights("flux2_klein_tiny"), ConfigOf("flux2_klein_tiny"), KleinCall(io));
  EXPECT_LT(RelativeError(prediction.Narrow(0, 0, 12), io.Get("out_edit")), 1e-5);
}

// The first step of a whole job: seeded noise and encoded prompt.
TEST_F(Flux2, MatchesTheFirstPredictionOfAJob) {
  const auto folder = GoldenFolder("pipelines/flux2_klein_tiny");
  const auto config = Flux2TransformerConfig::From(Config::FromFile(folder / "transformer/config.json"));
  const SafetensorsFile io(folder / "io.safetensors");
  const std::pair<const char*, uint64_t> jobs[] = {{"text", 7}, {"unicode", 123456789}};
  for (const auto& [name, seed] : jobs) {
    const Tensor noise = TorchGenerator(seed).Randn({1, 16, 4, 6}, DType::kF32);
    Tensor ids = Tensor::Zeros({48 + 24, 4}, DType::kI64);
    for (int64_t i = 0; i < 48; ++i) ids.mutable_data<int64_t>()[4 * i + 3] = i;
    for (int64_t i = 0; i < 24; ++i) {
      ids.mutable_data<int64_t>()[4 * (48 + i) + 1] = i / 6;
      ids.mutable_data<int64_t>()[4 * (48 + i) + 2] = i % 6;
    }
    const Call call{noise.Reshape({16, 24}).Permute({1, 0}).Clone(),
                    Rows(io.Get(std::string(name) + ".prompt_embeds")),
                    ids,
                    1.0f,
                    std::nullopt,
                    {48, 24, DType::kF32, 4, 6}};
    const Tensor prediction = Run(Checkpoint(folder / "transformer/diffusion_pytorch_model.safetensors"), config, call);
    EXPECT_LT(RelativeError(prediction, io.Get(std::string(name) + ".first_prediction")), 1e-5) << name;
  }
}

TEST_F(Flux2, EveryWeightMatters) {
  const Tensor want = Io("flux2_dev_tiny").Get("out");
  for (const char* name : {"time_guidance_embed.timestep_embedder.linear_1.weight",
                           "time_guidance_embed.guidance_embedder.linear_2.weight",
                           "double_stream_modulation_img.linear.weight",
                           "double_stream_modulation_txt.linear.weight",
                           "single_stream_modulation.linear.weight",
                           "x_embedder.weight",
                           "context_embedder.weight",
                           "transformer_blocks.0.attn.to_q.weight",
                           "transformer_blocks.1.attn.to_k.weight",
                           "transformer_blocks.0.attn.to_v.weight",
                           "transformer_blocks.1.attn.norm_q.weight",
                           "transformer_blocks.0.attn.norm_k.weight",
                           "transformer_blocks.0.attn.norm_added_q.weight",
                           "transformer_blocks.1.attn.norm_added_k.weight",
                           "transformer_blocks.0.attn.add_q_proj.weight",
                           "transformer_blocks.1.attn.add_v_proj.weight",
                           "transformer_blocks.0.attn.to_out.0.weight",
                           "transformer_blocks.0.attn.to_add_out.weight",
                           "transformer_blocks.1.ff.linear_in.weight",
                           "transformer_blocks.0.ff_context.linear_out.weight",
                           "single_transformer_blocks.0.attn.to_qkv_mlp_proj.weight",
                           "single_transformer_blocks.1.attn.norm_q.weight",
                           "single_transformer_blocks.0.attn.norm_k.weight",
                           "single_transformer_blocks.1.attn.to_out.weight",
                           "norm_out.linear.weight",
                           "proj_out.weight"}) {
    EXPECT_GT(RelativeError(RunDev(Weights("flux2_dev_tiny").Scale(name, 1.01f)), want), 2e-5) << name;
  }
}

TEST_F(Flux2, EveryInputMatters) {
  const SafetensorsFile io = Io("flux2_dev_tiny");
  const Tensor want = io.Get("out");
  const auto run = [&](const Call& call) {
    return RelativeError(Run(Weights("flux2_dev_tiny"), ConfigOf("flux2_dev_tiny"), call), want);
  };
  Call call = DevCall(io);
  call.timestep *= 1.01f;
  EXPECT_GT(run(call), 2e-5);
  call = DevCall(io);
  *call.guidance *= 1.01f;
  EXPECT_GT(run(call), 2e-5);
  call = DevCall(io);
  call.ids = call.ids.Clone();
  call.ids.mutable_data<int64_t>()[4 * 9 + 1] += 1;
  EXPECT_GT(run(call), 2e-5);
}

// At a timestep and a guidance that bf16 holds exactly: only the activations differ.
TEST_F(Flux2, Bf16StaysCloseToF32) {
  const auto run = [](const Checkpoint& weights, DType compute) {
    Call call = DevCall(Io("flux2_dev_tiny"));
    call.timestep = 0.512f;
    call.sequence.compute = compute;
    return Run(weights, ConfigOf("flux2_dev_tiny"), call);
  };
  const Tensor want = run(Weights("flux2_dev_tiny"), DType::kF32);
  EXPECT_GT(Cosine(run(Weights("flux2_dev_tiny"), DType::kBF16), want), 0.9995);
  Checkpoint narrow = Weights("flux2_dev_tiny");
  EXPECT_GT(Cosine(run(narrow.Convert(DType::kBF16), DType::kBF16), want), 0.9995);
}

// 986.4 and 986.6 are both 988 in bf16, 990.4 is 992.
TEST_F(Flux2, TimestepsAreRoundedAsTheOriginalsDo) {
  const auto run = [](float timestep, DType compute) {
    Call call = DevCall(Io("flux2_dev_tiny"));
    call.timestep = timestep / 1000.0f;
    call.sequence.compute = compute;
    return Run(Weights("flux2_dev_tiny"), ConfigOf("flux2_dev_tiny"), call);
  };
  EXPECT_TRUE(SameBytes(run(986.4f, DType::kBF16), run(986.6f, DType::kBF16)));
  EXPECT_FALSE(SameBytes(run(986.4f, DType::kBF16), run(990.4f, DType::kBF16)));
  EXPECT_FALSE(SameBytes(run(986.4f, DType::kF32), run(986.6f, DType::kF32)));
}

TEST_F(Flux2, ThreadsDoNotChangeABit) {
  const auto run = [](int threads, DType compute) {
    const ScopedThreads scope(threads);
    Call call = DevCall(Io("flux2_dev_tiny"));
    call.sequence.compute = compute;
    return Run(Weights("flux2_dev_tiny"), ConfigOf("flux2_dev_tiny"), call);
  };
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    EXPECT_TRUE(SameBytes(run(1, compute), run(2, compute)));
    EXPECT_TRUE(SameBytes(run(1, compute), run(3, compute)));
  }
}

TEST_F(Flux2, RepeatedCallsGiveTheSameBytes) {
  const auto config = ConfigOf("flux2_dev_tiny");
  const Call call = DevCall(Io("flux2_dev_tiny"));
  TestContext context;
  const Tensor first = Run(Weights("flux2_dev_tiny"), config, call, context);
  EXPECT_TRUE(SameBytes(Run(Weights("flux2_dev_tiny"), config, call, context), first));
}

// Random weights of every name and shape of a configuration.
Checkpoint RandomWeights(const Flux2TransformerConfig& config) {
  Checkpoint weights(GoldenFolder("flux2_klein_tiny") / "diffusion_pytorch_model.safetensors");
  Checkpoint result = weights;
  const std::map<int64_t, int64_t> widths = {{32, config.inner_dim()},       {192, 6 * config.inner_dim()},
                                             {96, 3 * config.inner_dim()},   {64, 2 * config.inner_dim()},
                                             {288, 9 * config.inner_dim()},  {128, 4 * config.inner_dim()},
                                             {16, config.attention_head_dim}};
  for (const std::string& key : weights.Map("transformer").Keys()) {
    Shape shape = weights.at(key).shape();
    for (int axis = 0; axis < shape.rank(); ++axis) {
      if (const auto found = widths.find(shape[axis]); found != widths.end()) shape[axis] = found->second;
    }
    Tensor tensor = RandomTensor(shape, 11);
    const float scale = 1.0f / std::sqrt(static_cast<float>(shape[shape.rank() - 1]));
    for (int64_t i = 0; i < tensor.numel(); ++i) tensor.mutable_data<float>()[i] *= scale;
    result.Remove(key).Add(key, tensor);
  }
  return result;
}

TEST_F(Flux2, ScratchIsWhatThePlanSays) {
  Flux2TransformerConfig config = ConfigOf("flux2_klein_tiny");
  config.attention_head_dim = 64;
  config.axes_dims_rope = {16, 16, 16, 16};
  config.num_attention_heads = 4;
  const Checkpoint weights = RandomWeights(config);
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    Call call;
    call.sequence = {64, 1024, compute, 32, 32};
    call.hidden_states = RandomTensor({1024, config.in_channels}, 1);
    call.encoder_hidden_states = RandomTensor({64, config.joint_attention_dim}, 2);
    call.ids = Tensor::Zeros({64 + 1024, 4}, DType::kF32);
    call.timestep = 0.5f;
    TestContext context;
    const Tensor prediction = Run(weights, config, call, context);
    EXPECT_TRUE(std::isfinite(prediction.data<float>()[0]));
    const size_t attention = context.attention.WorkspaceBytes(Flux2Sites(config, call.sequence));
    const size_t planned = Flux2Cost(config, call.sequence).workspace_bytes;
    const size_t peak = context.workspace.peak_bytes();
    EXPECT_LE(peak, planned + attention) << Name(compute);
    EXPECT_GE(static_cast<double>(peak), static_cast<double>(planned) / 1.15) << Name(compute);
  }
}

TEST_F(Flux2, NamesWrongTensors) {
  const auto config = ConfigOf("flux2_klein_tiny");
  const auto error = [&](const Checkpoint& weights) { return LoadError(weights, config); };
  EXPECT_THAT(error(Weights("flux2_klein_tiny").Remove("transformer_blocks.1.attn.to_add_out.weight")),
              testing::HasSubstr("transformer_blocks.1.attn.to_add_out.weight"));
  EXPECT_THAT(error(Weights("flux2_klein_tiny")
                        .Add("transformer_blocks.2.attn.to_q.weight", Tensor::Zeros({32, 32}, DType::kF32))),
              testing::HasSubstr("transformer_blocks.2.attn.to_q.weight"));
  EXPECT_THAT(error(Weights("flux2_klein_tiny")
                        .Remove("proj_out.weight")
                        .Add("proj_out.weight", Tensor::Zeros({8, 31}, DType::kF32))),
              testing::AllOf(testing::HasSubstr("proj_out.weight"), testing::HasSubstr("[8, 31]"),
                             testing::HasSubstr("[8, 32]")));
  EXPECT_THAT(error(Weights("flux2_dev_tiny")), testing::HasSubstr("guidance_embedder"));
  EXPECT_THAT(LoadError(Weights("flux2_klein_tiny"), ConfigOf("flux2_dev_tiny")),
              testing::HasSubstr("guidance_embedder"));
}

TEST_F(Flux2, ConfigsThatDoNotFitTheWeightsAreNamed) {
  auto config = ConfigOf("flux2_klein_tiny");
  config.in_channels = 16;
  EXPECT_THAT(LoadError(Weights("flux2_klein_tiny"), config), testing::HasSubstr("x_embedder.weight"));
  config = ConfigOf("flux2_klein_tiny");
  config.num_attention_heads = 4;
  EXPECT_THAT(LoadError(Weights("flux2_klein_tiny"), config), testing::HasSubstr("expected"));
  config = ConfigOf("flux2_klein_tiny");
  config.num_layers = 1;
  EXPECT_THAT(LoadError(Weights("flux2_klein_tiny"), config), testing::HasSubstr("transformer_blocks.1."));
}

TEST_F(Flux2, RefusesF16Activations) {
  EXPECT_THAT(ErrorOf([] {
                Flux2Transformer(ConfigOf("flux2_klein_tiny"), Weights("flux2_klein_tiny").Map("transformer"),
                                 DType::kF16);
              }),
              testing::HasSubstr("f32 or bf16"));
}

}  // namespace
}  // namespace tessera
