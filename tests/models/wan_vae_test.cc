#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/autoencoder.h"
#include "models/checkpoint.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;
using Direction = AutoencoderJob::Direction;

SafetensorsFile Io(const std::string& folder) { return SafetensorsFile(GoldenFolder(folder) / "io.safetensors"); }
Checkpoint Weights(const std::string& folder) {
  return Checkpoint(GoldenFolder(folder) / "diffusion_pytorch_model.safetensors");
}
std::unique_ptr<AutoencoderSpec> Spec(const std::string& folder) {
  return FindAutoencoder("AutoencoderKLWan").parse(Config::FromFile(GoldenFolder(folder) / "config.json"));
}

AutoencoderJob JobOf(const Tensor& film, Direction direction, DType compute) {
  return {.height = film.dim(3),
          .width = film.dim(4),
          .compute = compute,
          .tile = 0,
          .direction = direction,
          .frames = film.dim(2)};
}

// Frame t of a film [1, 3, frames, height, width], channels last.
Tensor FrameOf(const Tensor& film, int64_t t) {
  return film.Reshape({3, film.dim(2), film.dim(3), film.dim(4)})
      .Narrow(1, t, 1)
      .Permute({1, 2, 3, 0})
      .Clone()
      .Reshape({film.dim(3), film.dim(4), 3});
}

struct Film {
  explicit Film(const std::string& golden) : folder(golden), weights(Weights(golden)), io(Io(golden)) {}
  std::string folder;
  Checkpoint weights;
  SafetensorsFile io;
  TestContext context;

  Tensor Encode(DType compute = DType::kF32) {
    const Tensor film = io.Get("x");
    const AutoencoderJob job = JobOf(film, Direction::kEncode, compute);
    const auto spec = Spec(folder);
    context.attention.Prepare(spec->Sites(job));
    ForwardContext forward = context.forward();
    std::vector<Tensor> frames;
    for (int64_t t = 0; t < film.dim(2); ++t) frames.push_back(FrameOf(film, t));
    return spec->Load(weights.Map("vae"), job)->Encode(frames, forward);
  }

  std::vector<Tensor> Decode(DType compute = DType::kF32) { return Decode(io.Get("z"), io.Get("out_dec"), compute); }
  std::vector<Tensor> Decode(const Tensor& latents, const Tensor& film, DType compute) {
    const AutoencoderJob job = JobOf(film, Direction::kDecode, compute);
    const auto spec = Spec(folder);
    context.attention.Prepare(spec->Sites(job));
    ForwardContext forward = context.forward();
    std::vector<Tensor> frames;
    spec->Load(weights.Map("vae"), job)
        ->Decode(latents.Reshape({latents.dim(1), latents.dim(2), latents.dim(3), latents.dim(4)}), forward,
                 [&](const Tensor& frame) { frames.push_back(frame.Clone()); });
    return frames;
  }
};

void ExpectFrames(const std::vector<Tensor>& frames, const Tensor& film, const std::string& name) {
  ASSERT_EQ(static_cast<int64_t>(frames.size()), film.dim(2)) << name;
  Tensor all = Tensor::Empty({film.dim(2), film.dim(3), film.dim(4), 3}, DType::kF32), want = all.Clone();
  for (int64_t t = 0; t < film.dim(2); ++t) {
    const Tensor original = FrameOf(film, t);
    std::memcpy(all.mutable_data<float>() + t * original.numel(), frames[static_cast<size_t>(t)].raw(),
                original.bytes());
    std::memcpy(want.mutable_data<float>() + t * original.numel(), original.raw(), original.bytes());
  }
  // Norms over one channel (the first golden) magnify rounding.
  EXPECT_LT(RelativeError(all, want), name == "vae_wan21_tiny" ? 2e-5 : 1e-5) << name;
}

class WanVae : public testing::TestWithParam<const char*> {};

TEST_P(WanVae, DecodesAsTheOriginal) {
  Film run(GetParam());
  ExpectFrames(run.Decode(), run.io.Get("out_dec"), GetParam());
}

TEST_P(WanVae, EncodesAsTheOriginal) {
  Film run(GetParam());
  EXPECT_LT(RelativeError(run.Encode(), run.io.Get("out_enc_mean")), 1e-5);
}

TEST_P(WanVae, FramesDoNotDependOnLaterOnes) {
  Film run(GetParam());
  const Tensor latents = run.io.Get("z"), film = run.io.Get("out_dec");
  const auto whole = run.Decode();
  const Tensor shorter = latents.Narrow(2, 0, 2).Clone();
  const auto frames = run.Decode(shorter, film.Narrow(2, 0, 5).Clone(), DType::kF32);
  ASSERT_EQ(frames.size(), 5u);
  for (size_t t = 0; t < frames.size(); ++t) EXPECT_TRUE(SameBytes(frames[t], whole[t])) << t;
}

TEST_P(WanVae, ThreadsDoNotChangeABit) {
  const auto run = [&](int threads) {
    const ScopedThreads scope(threads);
    return Film(GetParam()).Decode().back();
  };
  EXPECT_TRUE(SameBytes(run(1), run(3)));
}

TEST_P(WanVae, Bf16StaysCloseToF32) {
  Film run(GetParam());
  const auto exact = run.Decode(), rounded = run.Decode(DType::kBF16);
  // A norm over a single channel keeps signs only, so a rounded zero can turn over: narrow layers are farther off.
  const double least = std::string(GetParam()) == "vae_wan21_tiny" ? 0.95 : 0.998;
  for (size_t t = 0; t < exact.size(); ++t) EXPECT_GT(Cosine(rounded[t], exact[t]), least) << t;
  EXPECT_GT(Cosine(run.Encode(DType::kBF16), run.io.Get("out_enc_mean")), 0.999);
}

TEST_P(WanVae, WorkspaceIsWhatTheCostSays) {
  Film run(GetParam());
  const AutoencoderJob job = JobOf(run.io.Get("out_dec"), Direction::kDecode, DType::kF32);
  run.Decode();
  const auto spec = Spec(GetParam());
  const size_t planned = spec->CostOf(job).workspace_bytes + run.context.attention.WorkspaceBytes(spec->Sites(job));
  EXPECT_LE(run.context.workspace.peak_bytes(), planned);
}

INSTANTIATE_TEST_SUITE_P(Goldens, WanVae, testing::Values("vae_wan21_tiny", "vae_wan21b_tiny", "vae_wan22_tiny"),
                         [](const auto& parameter) { return std::string(parameter.param); });

TEST(WanVae, EveryWeightMatters) {
  for (const char* folder : {"vae_wan21b_tiny", "vae_wan22_tiny"}) {
    Film plain(folder);
    const auto frames = plain.Decode();
    const Tensor latents = plain.Encode();
    for (const std::string& name : Weights(folder).Map("vae").Keys()) {
      Film changed(folder);
      changed.weights.Scale(name, 1.05f);
      const bool decodes = name.starts_with("decoder.") || name.starts_with("post_quant");
      const double error =
          decodes ? RelativeError(changed.Decode()[4], frames[4]) : RelativeError(changed.Encode(), latents);
      EXPECT_GT(error, 1e-6) << folder << " " << name;
    }
  }
}

TEST(WanVae, SaysWhatIsWrong) {
  const Config config = Config::FromFile(GoldenFolder("vae_wan21_tiny") / "config.json");
  const auto parse = [](const Config& c) { return ErrorOf([&] { FindAutoencoder("AutoencoderKLWan").parse(c); }); };
  EXPECT_THAT(parse(ConfigWith(config, "temperal_downsample", {true})), HasSubstr("temperal_downsample of one less"));
  EXPECT_THAT(parse(ConfigWith(config, "latents_std", {1.0})), HasSubstr("latents_std must list 16"));
  EXPECT_THAT(parse(ConfigWith(config, "attn_scales", {0.5})), HasSubstr("attn_scales"));
  const auto spec = Spec("vae_wan21_tiny");
  EXPECT_THAT(ErrorOf([&] { spec->CostOf({.height = 64, .width = 60}); }), HasSubstr("60x64"));
  EXPECT_THAT(ErrorOf([&] { spec->CostOf({.height = 64, .width = 64, .frames = 8}); }), HasSubstr("8 frames"));
  Checkpoint damaged = Weights("vae_wan21_tiny");
  damaged.Remove("decoder.mid_block.attentions.0.to_qkv.weight");
  EXPECT_THAT(ErrorOf([&] { spec->Load(damaged.Map("vae"), {.height = 16, .width = 16}); }),
              HasSubstr("decoder.mid_block.attentions.0.to_qkv.weight"));
}

TEST(WanVae, SaysThatItTakesNoTiles) {
  const auto spec = Spec("vae_wan21_tiny");
  EXPECT_FALSE(spec->TakesTiles());
  EXPECT_EQ(spec->TileFor(4096, 4096), 0);
}

}  // namespace
}  // namespace tessera
