#include <algorithm>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/autoencoder.h"
#include "models/checkpoint.h"

namespace tessera {
namespace {

using Direction = AutoencoderJob::Direction;

// One autoencoder on disk.
struct Golden {
  explicit Golden(const std::string& name)
      : folder(GoldenFolder(name)), config(Config::FromFile(folder / "config.json")) {}
  Checkpoint Weights() const { return Checkpoint(folder / "diffusion_pytorch_model.safetensors"); }
  SafetensorsFile Io() const { return SafetensorsFile(folder / "io.safetensors"); }
  std::unique_ptr<AutoencoderSpec> Spec() const {
    return FindAutoencoder(config.String("_class_name", "")).parse(config);
  }

  std::filesystem::path folder;
  Config config;
};

Golden Demo() {
  Golden golden("vae_flux2_tiny");
  golden.folder = std::filesystem::path(TESSERA_SOURCE_FOLDER) / "models/demo/vae";
  golden.config = Config::FromFile(golden.folder / "config.json");
  return golden;
}

Tensor Apply(const Golden& golden, const Checkpoint& weights, const AutoencoderJob& job, const Tensor& input,
             TestContext& context) {
  const auto spec = golden.Spec();
  context.attention.Prepare(spec->Sites(job));
  const auto autoencoder = spec->Load(weights.Map("vae"), job);
  ForwardContext forward = context.forward();
  if (job.direction == Direction::kEncode) {
    const Tensor latents = autoencoder->Encode({&input, 1}, forward);
    return latents.Reshape({latents.dim(0), latents.dim(2), latents.dim(3)});
  }
  Tensor picture;
  autoencoder->Decode(input.Reshape({input.dim(0), 1, input.dim(1), input.dim(2)}), forward,
                      [&](const Tensor& frame) { picture = frame.Clone(); });
  return picture;
}
Tensor Apply(const Golden& golden, const Checkpoint& weights, const AutoencoderJob& job, const Tensor& input) {
  TestContext context;
  return Apply(golden, weights, job, input, context);
}

// [1, a, b, c] -> [b, c, a] contiguous.
Tensor ChannelsLast(const Tensor& batched) {
  return batched.Reshape({batched.dim(1), batched.dim(2), batched.dim(3)}).Permute({1, 2, 0}).Clone();
}
Tensor Latents(const SafetensorsFile& io) { return io.Get("z").Reshape({4, 8, 12}); }

AutoencoderJob TinyJob(Direction direction, DType compute = DType::kF32) { return {16, 24, compute, 0, direction}; }

Tensor DecodeTiny(const Golden& golden, const Checkpoint& weights, DType compute = DType::kF32) {
  return Apply(golden, weights, TinyJob(Direction::kDecode, compute), Latents(golden.Io()));
}
Tensor EncodeTiny(const Golden& golden, const Checkpoint& weights, DType compute = DType::kF32) {
  return Apply(golden, weights, TinyJob(Direction::kEncode, compute), ChannelsLast(golden.Io().Get("x")));
}

class Kl : public testing::TestWithParam<const char*> {};
INSTANTIATE_TEST_SUITE_P(Goldens, Kl, testing::Values("vae_flux2_tiny", "vae_flux2_smalldec_tiny", "vae_kl_tiny"));

TEST_P(Kl, DecodesAsTheOriginal) {
  const Golden golden(GetParam());
  EXPECT_LT(RelativeError(DecodeTiny(golden, golden.Weights()), ChannelsLast(golden.Io().Get("out_dec"))), 1e-5);
}

TEST_P(Kl, EncodesAsTheOriginal) {
  const Golden golden(GetParam());
  EXPECT_LT(RelativeError(EncodeTiny(golden, golden.Weights()), golden.Io().Get("out_enc_mean")), 1e-5);
}

TEST_P(Kl, Bf16StaysCloseToF32) {
  const Golden golden(GetParam());
  EXPECT_GT(Cosine(DecodeTiny(golden, golden.Weights(), DType::kBF16), ChannelsLast(golden.Io().Get("out_dec"))),
            0.999);
  EXPECT_GT(Cosine(EncodeTiny(golden, golden.Weights(), DType::kBF16), golden.Io().Get("out_enc_mean")), 0.999);
}

TEST_P(Kl, WeightsMayBeBf16OrF16) {
  const Golden golden(GetParam());
  const Tensor want = ChannelsLast(golden.Io().Get("out_dec"));
  Checkpoint bf16 = golden.Weights(), f16 = golden.Weights();
  EXPECT_GT(Cosine(DecodeTiny(golden, bf16.Convert(DType::kBF16)), want), 0.999);
  EXPECT_LT(RelativeError(DecodeTiny(golden, f16.Convert(DType::kF16)), want), 1e-2);
}

TEST(KlAutoencoder, EveryDecoderWeightMatters) {
  const Golden golden("vae_flux2_tiny");
  const Tensor want = ChannelsLast(golden.Io().Get("out_dec"));
  for (const char* name :
       {"post_quant_conv.weight", "decoder.conv_in.weight", "decoder.mid_block.resnets.0.norm1.weight",
        "decoder.mid_block.resnets.0.conv1.weight", "decoder.mid_block.attentions.0.group_norm.weight",
        "decoder.mid_block.attentions.0.to_q.weight", "decoder.mid_block.attentions.0.to_k.weight",
        "decoder.mid_block.attentions.0.to_v.weight", "decoder.mid_block.attentions.0.to_out.0.weight",
        "decoder.mid_block.attentions.0.to_out.0.bias", "decoder.up_blocks.0.resnets.1.conv2.weight",
        "decoder.up_blocks.0.upsamplers.0.conv.weight", "decoder.up_blocks.1.resnets.0.conv_shortcut.weight",
        "decoder.up_blocks.1.resnets.0.norm2.bias", "decoder.conv_norm_out.weight", "decoder.conv_out.weight"}) {
    EXPECT_GT(RelativeError(DecodeTiny(golden, golden.Weights().Scale(name, 1.01f)), want), 2e-5) << name;
  }
}

TEST(KlAutoencoder, EveryEncoderWeightMatters) {
  const Golden golden("vae_flux2_tiny");
  const Tensor want = golden.Io().Get("out_enc_mean");
  for (const char* name :
       {"encoder.conv_in.weight", "encoder.down_blocks.0.downsamplers.0.conv.weight",
        "encoder.down_blocks.1.resnets.0.conv_shortcut.bias", "encoder.mid_block.attentions.0.to_v.weight",
        "encoder.conv_norm_out.bias", "encoder.conv_out.weight", "quant_conv.weight"}) {
    EXPECT_GT(RelativeError(EncodeTiny(golden, golden.Weights().Scale(name, 1.01f)), want), 2e-5) << name;
  }
}

TEST(KlAutoencoder, ThreadsDoNotChangeABit) {
  const Golden golden("vae_flux2_tiny");
  const auto run = [&](int threads, DType compute) {
    const ScopedThreads scope(threads);
    return DecodeTiny(golden, golden.Weights(), compute);
  };
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    EXPECT_TRUE(SameBytes(run(1, compute), run(2, compute)));
    EXPECT_TRUE(SameBytes(run(1, compute), run(3, compute)));
  }
}

TEST(KlAutoencoder, ScratchIsWhatThePlanSays) {
  const Golden golden = Demo();
  for (const Direction direction : {Direction::kEncode, Direction::kDecode}) {
    for (const DType compute : {DType::kF32, DType::kBF16}) {
      const AutoencoderJob job{192, 256, compute, 0, direction};
      const Tensor input =
          direction == Direction::kDecode ? RandomTensor({16, 24, 32}, 3) : RandomTensor({192, 256, 3}, 3);
      TestContext context;
      Apply(golden, golden.Weights(), job, input, context);
      const size_t attention = context.attention.WorkspaceBytes(golden.Spec()->Sites(job));
      const size_t planned = golden.Spec()->CostOf(job).workspace_bytes;
      EXPECT_LE(context.workspace.peak_bytes(), planned + attention) << Name(compute);
      EXPECT_GE(static_cast<double>(context.workspace.peak_bytes()), static_cast<double>(planned) / 1.15)
          << Name(compute);
    }
  }
}

// Four features of the full resolution and the first level's width, and a little.
TEST(KlAutoencoder, MemoryOfAMegapixelIsReasonable) {
  const auto spec = FindAutoencoder("AutoencoderKLFlux2").parse(Config(nlohmann::json::object(), "config.json"));
  const double feature = 1024.0 * 1024.0 * 128.0;
  for (const auto& [compute, bytes] : {std::pair{DType::kF32, 4.0}, {DType::kBF16, 2.0}}) {
    const Cost cost = spec->CostOf({1024, 1024, compute, 0, Direction::kDecode});
    EXPECT_LT(static_cast<double>(cost.workspace_bytes), 4.5 * feature * bytes) << Name(compute);
  }
}

// A picture with soft and hard structure everywhere, [h, w, 3].
Tensor TestPicture(int64_t height, int64_t width) {
  Tensor picture = Tensor::Empty({height, width, 3}, DType::kF32);
  for (int64_t i = 0; i < picture.numel(); ++i) {
    const auto x = static_cast<float>(i / 3 % width), y = static_cast<float>(i / 3 / width);
    const auto c = static_cast<float>(i % 3);
    const float soft = std::sin(x / 37.0f + c) * std::cos(y / 53.0f - c);
    const bool disc = std::hypot(x - 150.0f, y - 180.0f) < 90.0f || std::hypot(x - 330.0f, y - 90.0f) < 60.0f;
    picture.mutable_data<float>()[i] = disc ? 0.8f - 0.5f * c : 0.6f * soft;
  }
  return picture;
}

double Psnr(const Tensor& a, const Tensor& b) {
  double squares = 0;
  for (int64_t i = 0; i < a.numel(); ++i) {
    const double x = std::clamp(a.data<float>()[i], -1.0f, 1.0f), y = std::clamp(b.data<float>()[i], -1.0f, 1.0f);
    squares += (x - y) * (x - y);
  }
  return 10 * std::log10(4.0 * static_cast<double>(a.numel()) / squares);
}

// How much the difference of two pictures changes from one column to the next, averaged over the column.
std::vector<double> ColumnSteps(const Tensor& a, const Tensor& b) {
  const int64_t rows = a.dim(0), columns = a.dim(1);
  const auto difference = [&](int64_t y, int64_t x, int64_t c) {
    const int64_t i = (y * columns + x) * 3 + c;
    return static_cast<double>(a.data<float>()[i]) - b.data<float>()[i];
  };
  std::vector<double> steps;
  for (int64_t x = 0; x + 1 < columns; ++x) {
    double sum = 0;
    for (int64_t y = 0; y < rows; ++y) {
      for (int64_t c = 0; c < 3; ++c) sum += std::abs(difference(y, x + 1, c) - difference(y, x, c));
    }
    steps.push_back(sum / static_cast<double>(3 * rows));
  }
  return steps;
}

// Tiles have norm statistics of their own, so the pictures differ softly; what must not be are edges where tiles meet.
TEST(KlAutoencoder, TiledPicturesLookLikeWholeOnesWithoutSeams) {
  const Golden golden = Demo();
  const Checkpoint weights = golden.Weights();
  const Tensor picture = TestPicture(384, 448);
  const Tensor latents = Apply(golden, weights, {384, 448, DType::kF32, 0, Direction::kEncode}, picture);
  const Tensor whole = Apply(golden, weights, {384, 448, DType::kF32, 0, Direction::kDecode}, latents);
  const Tensor tiled = Apply(golden, weights, {384, 448, DType::kF32, 256, Direction::kDecode}, latents);
  const double psnr = Psnr(tiled, whole);
  EXPECT_GT(psnr, 26);
  EXPECT_LT(psnr, 200) << "tiles were not used";
  const std::vector<double> steps = ColumnSteps(tiled, whole);
  std::vector<double> sorted = steps;
  std::ranges::sort(sorted);
  const double typical = sorted[sorted.size() / 2];
  for (const size_t edge : {191u, 255u}) EXPECT_LT(steps[edge], 2 * typical) << "column " << edge;
}

TEST(KlAutoencoder, TiledLatentsAreCloseToWholeOnes) {
  const Golden golden = Demo();
  const Checkpoint weights = golden.Weights();
  const Tensor picture = TestPicture(384, 448);
  const Tensor whole = Apply(golden, weights, {384, 448, DType::kF32, 0, Direction::kEncode}, picture);
  const Tensor tiled = Apply(golden, weights, {384, 448, DType::kF32, 256, Direction::kEncode}, picture);
  EXPECT_GT(Cosine(tiled, whole), 0.99);
  EXPECT_FALSE(SameBytes(tiled, whole));
}

TEST(KlAutoencoder, ATileAsLargeAsThePictureIsTheWholePicture) {
  const Golden golden("vae_flux2_tiny");
  const Tensor whole = DecodeTiny(golden, golden.Weights());
  const Tensor tiled =
      Apply(golden, golden.Weights(), {16, 24, DType::kF32, 32, Direction::kDecode}, Latents(golden.Io()));
  EXPECT_TRUE(SameBytes(tiled, whole));
}

}  // namespace
}  // namespace tessera
