#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/checkpoint.h"
#include "models/transformers/flux2_transformer.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

Config KleinConfig() { return Config::FromFile(GoldenFolder("flux2_klein_tiny") / "config.json"); }

std::string Refusal(const std::string& key, const nlohmann::json& value) {
  return ErrorOf([&] { Flux2TransformerConfig::From(ConfigWith(KleinConfig(), key, value)); });
}

TEST(Flux2Config, AbsentKeysAreThoseOfTheLargeModel) {
  const auto sizes = Flux2TransformerConfig::From(Config(nlohmann::json::object(), "config.json"));
  EXPECT_EQ(sizes.inner_dim(), 6144);
  EXPECT_EQ(sizes.mlp_dim(), 18432);
  EXPECT_EQ(sizes.num_layers, 8);
  EXPECT_EQ(sizes.num_single_layers, 48);
  EXPECT_EQ(sizes.joint_attention_dim, 15360);
  EXPECT_TRUE(sizes.guidance_embeds);
}

TEST(Flux2Config, OutChannelsAreThoseOfTheInputWhenNull) {
  EXPECT_EQ(Flux2TransformerConfig::From(KleinConfig()).out_channels, 8);
  EXPECT_EQ(Flux2TransformerConfig::From(ConfigWith(KleinConfig(), "out_channels", 6)).out_channels, 6);
}

TEST(Flux2Config, RefusesContradictions) {
  EXPECT_THAT(Refusal("axes_dims_rope", {4, 4, 4, 6}),
              testing::AllOf(testing::HasSubstr("18"), testing::HasSubstr("16")));
  EXPECT_THAT(Refusal("axes_dims_rope", {3, 5, 4, 4}), testing::HasSubstr("axes_dims_rope has 3"));
  EXPECT_THAT(Refusal("axes_dims_rope", {-4, 12, 4, 4}), testing::HasSubstr("axes_dims_rope"));
  EXPECT_THAT(Refusal("axes_dims_rope", {8, 8}), testing::HasSubstr("2 axes"));
  EXPECT_THAT(Refusal("attention_head_dim", 32), testing::HasSubstr("attention_head_dim is 32"));
  EXPECT_THAT(Refusal("patch_size", 2), testing::HasSubstr("patch_size 2"));
  EXPECT_THAT(Refusal("mlp_ratio", 0.0), testing::HasSubstr("mlp_ratio"));
  EXPECT_THAT(Refusal("mlp_ratio", -3.0), testing::HasSubstr("mlp_ratio"));
  EXPECT_THAT(Refusal("rope_theta", 0), testing::HasSubstr("rope_theta"));
  EXPECT_THAT(Refusal("timestep_guidance_channels", 255), testing::HasSubstr("timestep_guidance_channels 255"));
  EXPECT_THAT(Refusal("_class_name", "FluxTransformer2DModel"), testing::HasSubstr("FluxTransformer2DModel"));
}

TEST(Flux2Config, RefusesSizesOutOfRange) {
  for (const char* key :
       {"in_channels", "num_attention_heads", "attention_head_dim", "joint_attention_dim", "num_layers"}) {
    EXPECT_THAT(Refusal(key, -1), testing::HasSubstr(key));
    EXPECT_THAT(Refusal(key, int64_t{1} << 50), testing::HasSubstr(key));
    EXPECT_THAT(Refusal(key, 2.5), testing::HasSubstr(key));
  }
  EXPECT_THAT(ErrorOf([] {
                auto config = ConfigWith(ConfigWith(KleinConfig(), "num_layers", 0), "num_single_layers", 0);
                Flux2TransformerConfig::From(config);
              }),
              testing::HasSubstr("no blocks"));
}

TEST(Flux2Config, SitesListEveryBlockOnce) {
  const auto config = Flux2TransformerConfig::From(KleinConfig());
  const Flux2Sequence sequence{7, 18, DType::kF32, 3, 4};
  const auto sites = Flux2Sites(config, sequence);
  ASSERT_EQ(sites.size(), 4u);
  for (size_t i = 0; i < sites.size(); ++i) {
    EXPECT_EQ(sites[i].site, (AttentionSite{"transformer", AttentionRole::kJoint, static_cast<int>(i)}));
    EXPECT_EQ(sites[i].problem.q_len, 25);
    EXPECT_EQ(sites[i].problem.grid, (VideoGrid{1, 3, 4, 7, 6}));
    EXPECT_EQ(sites[i].problem.role, AttentionRole::kJoint);
  }
}

TEST(Flux2Config, FlopsOfTheFourBillionModelAreTheKnownOnes) {
  Flux2TransformerConfig klein;
  klein.num_layers = 5;
  klein.num_single_layers = 20;
  klein.num_attention_heads = 24;
  klein.joint_attention_dim = 7680;
  klein.guidance_embeds = false;
  const Cost cost = Flux2Cost(klein, {512, 1024, DType::kBF16, 32, 32});
  // Block weights: 5 double blocks of 2 x 13 d^2 and 20 single blocks of 13 d^2, d = 3072, for their rows.
  const double square = 3072.0 * 3072.0;
  const double blocks = 2.0 * 1536 * (5 * 13 + 20 * 13) * square;
  EXPECT_NEAR(cost.linear_flops / blocks, 1.0, 0.01);
  EXPECT_DOUBLE_EQ(cost.attention_flops, 25.0 * 4 * 24 * 128 * 1536.0 * 1536.0);
}

}  // namespace
}  // namespace tessera
