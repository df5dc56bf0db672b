#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/autoencoder.h"
#include "models/checkpoint.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using Direction = AutoencoderJob::Direction;

Config TinyConfig() { return Config::FromFile(GoldenFolder("vae_flux2_tiny") / "config.json"); }
std::unique_ptr<AutoencoderSpec> Parse(const Config& config) {
  return FindAutoencoder("AutoencoderKLFlux2").parse(config);
}
std::string Refusal(const std::string& key, const nlohmann::json& value) {
  return ErrorOf([&] { Parse(ConfigWith(TinyConfig(), key, value)); });
}
Checkpoint Weights() { return Checkpoint(GoldenFolder("vae_flux2_tiny") / "diffusion_pytorch_model.safetensors"); }
std::string LoadError(const Checkpoint& weights, const Config& config, Direction direction) {
  return ErrorOf([&] { Parse(config)->Load(weights.Map("vae"), {16, 24, DType::kF32, 0, direction}); });
}

TEST(KlConfig, RefusesContradictions) {
  EXPECT_THAT(Refusal("norm_num_groups", 3), testing::HasSubstr("norm_num_groups 3"));
  EXPECT_THAT(Refusal("norm_num_groups", 0), testing::HasSubstr("norm_num_groups"));
  EXPECT_THAT(Refusal("block_out_channels", {8, -16}), testing::HasSubstr("-16"));
  EXPECT_THAT(Refusal("block_out_channels", nlohmann::json::array()), testing::HasSubstr("block_out_channels"));
  EXPECT_THAT(Refusal("decoder_block_out_channels", {8, 16, 16}), testing::HasSubstr("decoder_block_out_channels"));
  EXPECT_THAT(Refusal("decoder_block_out_channels", {8, 15}), testing::HasSubstr("15"));
  EXPECT_THAT(Refusal("down_block_types", {"DownEncoderBlock2D"}), testing::HasSubstr("down_block_types lists 1"));
  EXPECT_THAT(Refusal("block_out_channels", {8, 16, 16}), testing::HasSubstr("down_block_types lists 2"));
  EXPECT_THAT(Refusal("latent_channels", 0), testing::HasSubstr("latent_channels"));
  EXPECT_THAT(Refusal("layers_per_block", -1), testing::HasSubstr("layers_per_block"));
  EXPECT_THAT(Refusal("layers_per_block", int64_t{1} << 40), testing::HasSubstr("layers_per_block"));
  EXPECT_THAT(Refusal("patch_size", {2, 2, 2}), testing::HasSubstr("patch_size"));
  EXPECT_THAT(Refusal("patch_size", {0, 2}), testing::HasSubstr("patch_size"));
}

TEST(KlConfig, RefusesOtherKindsOfBlocksByName) {
  EXPECT_THAT(Refusal("down_block_types", {"DownEncoderBlock2D", "AttnDownEncoderBlock2D"}),
              testing::HasSubstr("AttnDownEncoderBlock2D"));
  EXPECT_THAT(Refusal("up_block_types", {"AttnUpDecoderBlock2D", "UpDecoderBlock2D"}),
              testing::HasSubstr("AttnUpDecoderBlock2D"));
  EXPECT_THAT(Refusal("act_fn", "gelu"), testing::HasSubstr("'gelu'"));
  EXPECT_THAT(Refusal("in_channels", 4), testing::HasSubstr("in_channels 4"));
}

TEST(KlConfig, BothDirectionsCheckAllNames) {
  for (const Direction direction : {Direction::kEncode, Direction::kDecode}) {
    EXPECT_EQ(LoadError(Weights(), TinyConfig(), direction), "no error");
    for (const char* name : {"encoder.conv_out.weight", "decoder.mid_block.attentions.0.to_v.bias", "quant_conv.weight",
                             "post_quant_conv.bias", "bn.running_var"}) {
      EXPECT_THAT(LoadError(Weights().Remove(name), TinyConfig(), direction), testing::HasSubstr(name));
    }
    EXPECT_THAT(LoadError(Weights().Add("decoder.up_blocks.2.resnets.0.conv1.weight", Tensor::Zeros({1}, DType::kF32)),
                          TinyConfig(), direction),
                testing::HasSubstr("decoder.up_blocks.2.resnets.0.conv1.weight"));
    EXPECT_THAT(
        LoadError(Weights().Remove("encoder.conv_in.bias").Add("encoder.conv_in.bias", Tensor::Zeros({9}, DType::kF32)),
                  TinyConfig(), direction),
        testing::AllOf(testing::HasSubstr("encoder.conv_in.bias"), testing::HasSubstr("[9]")));
  }
}

TEST(KlConfig, WidthsThatDoNotFitTheWeightsAreNamed) {
  const auto error = [](const std::string& key, const nlohmann::json& value) {
    return LoadError(Weights(), ConfigWith(TinyConfig(), key, value), Direction::kDecode);
  };
  EXPECT_THAT(error("latent_channels", 8), testing::HasSubstr("expected"));
  EXPECT_THAT(error("block_out_channels", {8, 32}), testing::HasSubstr("expected"));
  EXPECT_THAT(error("layers_per_block", 2), testing::HasSubstr("missing"));
  EXPECT_THAT(error("use_post_quant_conv", false), testing::HasSubstr("post_quant_conv"));
}

TEST(KlConfig, TheBatchCounterMayBeAbsent) {
  EXPECT_EQ(LoadError(Weights().Remove("bn.num_batches_tracked"), TinyConfig(), Direction::kDecode), "no error");
}

TEST(KlConfig, StatisticsAreMeanAndDeviation) {
  const LatentStatistics statistics = Parse(TinyConfig())->Statistics(Weights().Map("vae"));
  const Checkpoint weights = Weights();
  ASSERT_EQ(statistics.mean.numel(), 16);
  for (int64_t i = 0; i < 16; ++i) {
    EXPECT_EQ(statistics.mean.data<float>()[i], weights.at("bn.running_mean").data<float>()[i]);
    const double variance = weights.at("bn.running_var").data<float>()[i];
    EXPECT_NEAR(statistics.deviation.data<float>()[i], std::sqrt(variance + 1e-4), 1e-6);
  }
}

TEST(KlConfig, DamagedStatisticsAreAnError) {
  const auto error = [](float variance) {
    return ErrorOf([&] { Parse(TinyConfig())->Statistics(Weights().Fill("bn.running_var", variance).Map("vae")); });
  };
  EXPECT_THAT(error(-1.0f), testing::HasSubstr("bn.running_var"));
  EXPECT_THAT(error(NAN), testing::HasSubstr("bn.running_var"));
}

TEST(KlConfig, PlainAutoencodersHaveNoStatistics) {
  const auto spec =
      FindAutoencoder("AutoencoderKL").parse(Config::FromFile(GoldenFolder("vae_kl_tiny") / "config.json"));
  const Checkpoint weights(GoldenFolder("vae_kl_tiny") / "diffusion_pytorch_model.safetensors");
  EXPECT_FALSE(spec->Statistics(weights.Map("vae")).mean.defined());
}

TEST(KlConfig, RefusesJobsItCannotDo) {
  const auto refusal = [](const AutoencoderJob& job) { return ErrorOf([&] { Parse(TinyConfig())->Sites(job); }); };
  EXPECT_THAT(refusal({16, 24, DType::kF16}), testing::HasSubstr("f32 or bf16"));
  EXPECT_THAT(refusal({17, 24}), testing::HasSubstr("multiples of 2"));
  EXPECT_THAT(refusal({0, 24}), testing::HasSubstr("multiples of 2"));
  EXPECT_THAT(refusal({16, 24, DType::kF32, 8}), testing::HasSubstr("8 pixels"));
  EXPECT_THAT(refusal({16, 24, DType::kF32, -64}), testing::HasSubstr("-64 pixels"));
}

TEST(KlConfig, BigPicturesAreTiledByDefault) {
  const auto spec = Parse(Config(nlohmann::json::object(), "config.json"));
  EXPECT_EQ(spec->spatial_factor(), 8);
  EXPECT_EQ(spec->latent_channels(), 32);
  EXPECT_EQ(spec->TileFor(1024, 1024), 0);
  EXPECT_EQ(spec->TileFor(1088, 1920), 0);
  EXPECT_GT(spec->TileFor(2048, 2048), 0);
}

TEST(KlConfig, FlopsPerPixelAreThoseOfThePublishedDecoder) {
  const auto spec = Parse(Config(nlohmann::json::object(), "config.json"));
  const Cost cost = spec->CostOf({512, 512, DType::kF32, 0, Direction::kDecode});

  EXPECT_NEAR(cost.convolution_flops / (512.0 * 512.0), 9.46e6, 0.05e6);
}

}  // namespace
}  // namespace tessera
