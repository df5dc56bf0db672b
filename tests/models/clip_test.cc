#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "models/checkpoint.h"
#include "models/picture_preprocessing.h"
#include "models/vision_encoder.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

constexpr const char* kPublished = "clip_vision_tiny";  // names with vision_model., f32
constexpr const char* kBare = "clip_vision_bare_tiny";  // names as transformers 5 writes them, bf16

struct Recording {
  const char* folder;
  const char* name;     // of the tensors
  int64_t row;          // of the recorded batch
  const char* picture;  // file
};
constexpr Recording kRecordings[] = {
    {kPublished, "image.", 0, "image_ref0.png"},
    {kPublished, "unicode.", 0, "unicode_ref0.png"},
    {kPublished, "unguided.", 0, "unguided_ref0.png"},
    {kBare, "image.", 0, "image_ref0.png"},
    {kBare, "image.", 1, "image_ref1.png"},
    {kBare, "unicode.", 0, "unicode_ref0.png"},
    {kBare, "unicode.", 1, "unicode_ref1.png"},
};

Config EncoderConfig(const std::string& folder = kPublished) {
  return Config::FromFile(GoldenFolder(folder) / "config.json");
}
Config Preprocessor(const std::string& folder = kPublished) {
  return Config::FromFile(GoldenFolder(folder) / "preprocessor_config.json");
}
Checkpoint Weights(const std::string& folder = kPublished) {
  return Checkpoint(GoldenFolder(folder) / "model.safetensors");
}
Picture PictureOf(const Recording& recording) {
  return ReadPicture(GoldenFolder(recording.folder) / recording.picture);
}
Tensor Recorded(const Recording& recording, const std::string& key) {
  return SafetensorsFile(GoldenFolder(recording.folder) / "io.safetensors")
      .Get(recording.name + key)
      .Narrow(0, recording.row, 1)
      .Clone();
}

std::unique_ptr<VisionEncoderSpec> Spec(const Config& config = EncoderConfig(),
                                        const Config& preprocessor = Preprocessor()) {
  return FindVisionEncoder("CLIPVisionModel").parse(config, preprocessor);
}

Tensor Encode(const Checkpoint& weights, const Tensor& pixels, DType compute = DType::kF32,
              const Config& config = EncoderConfig()) {
  const auto spec = Spec(config);
  TestContext context;
  context.attention.Prepare(spec->Sites({compute}));
  ForwardContext forward = context.forward();
  return spec->Load(weights.Map("image_encoder"), {compute})->Encode(pixels, forward);
}

Tensor PixelsOf(const Recording& recording) { return Spec()->Pixels(PictureOf(recording)); }

TEST(ClipVision, PreparesPicturesAsTheOriginal) {
  for (const Recording& recording : kRecordings) {
    const Tensor want = Recorded(recording, "pixel_values");
    EXPECT_LT(RelativeError(PixelsOf(recording), want), 1e-6) << recording.folder << " " << recording.picture;
  }
}

TEST(ClipVision, MatchesTheOriginalFromPictureToStates) {
  for (const Recording& recording : kRecordings) {
    const Tensor states = Encode(Weights(recording.folder), PixelsOf(recording));
    EXPECT_LT(RelativeError(states, Recorded(recording, "image_embeds")), 1e-5)
        << recording.folder << " " << recording.picture;
  }
}

TEST(ClipVision, EveryWeightMatters) {
  const Tensor pixels = Recorded(kRecordings[0], "pixel_values").Reshape({3, 56, 56});
  const Tensor want = Recorded(kRecordings[0], "image_embeds");
  for (const std::string name :
       {"embeddings.class_embedding", "embeddings.patch_embedding.weight", "embeddings.position_embedding.weight",
        "pre_layrnorm.weight", "pre_layrnorm.bias", "encoder.layers.0.layer_norm1.weight",
        "encoder.layers.0.self_attn.q_proj.weight", "encoder.layers.0.self_attn.k_proj.weight",
        "encoder.layers.1.self_attn.v_proj.weight", "encoder.layers.1.self_attn.v_proj.bias",
        "encoder.layers.1.self_attn.out_proj.weight", "encoder.layers.1.layer_norm2.weight",
        "encoder.layers.1.mlp.fc1.weight", "encoder.layers.1.mlp.fc1.bias", "encoder.layers.1.mlp.fc2.weight"}) {
    Checkpoint changed = Weights();
    changed.Scale("vision_model." + name, 1.05f);
    EXPECT_GT(RelativeError(Encode(changed, pixels), want), 2e-5) << name;
  }
}

TEST(ClipVision, ActivationsDiffer) {
  const Tensor pixels = PixelsOf(kRecordings[0]), want = Recorded(kRecordings[0], "image_embeds");
  for (const char* name : {"gelu_new", "quick_gelu"}) {
    const Tensor states = Encode(Weights(), pixels, DType::kF32, ConfigWith(EncoderConfig(), "hidden_act", name));
    EXPECT_GT(RelativeError(states, want), 1e-5) << name;
    EXPECT_LT(RelativeError(states, want), 0.05) << name;
  }
}

TEST(ClipVision, Bf16StaysCloseToF32) {
  const Tensor states = Encode(Weights(), PixelsOf(kRecordings[0]), DType::kBF16);
  EXPECT_GT(Cosine(states, Recorded(kRecordings[0], "image_embeds")), 0.9995);
}

TEST(ClipVision, ThreadsDoNotChangeABit) {
  const auto run = [](int threads) {
    const ScopedThreads scope(threads);
    return Encode(Weights(), PixelsOf(kRecordings[0]));
  };
  EXPECT_TRUE(SameBytes(run(1), run(3)));
}

TEST(ClipVision, LastLayerAndProjectionAreNotNeeded) {
  Checkpoint weights = Weights();
  weights.Remove("vision_model.encoder.layers.2.mlp.fc1.weight").Remove("vision_model.post_layernorm.weight");
  weights.Add("visual_projection.weight", Tensor::Zeros({8, 40}, DType::kF32));
  weights.Add("vision_model.embeddings.position_ids", Tensor::Zeros({1, 17}, DType::kI64));
  const Tensor states = Encode(weights, PixelsOf(kRecordings[0]));
  EXPECT_LT(RelativeError(states, Recorded(kRecordings[0], "image_embeds")), 1e-5);
}

TEST(ClipVision, WorkspaceStaysWithinThePlan) {
  for (const DType compute : {DType::kF32, DType::kBF16}) {
    const auto spec = Spec();
    TestContext context;
    context.attention.Prepare(spec->Sites({compute}));
    ForwardContext forward = context.forward();
    const Tensor pixels = PixelsOf(kRecordings[0]);
    spec->Load(Weights().Map("image_encoder"), {compute})->Encode(pixels, forward);
    EXPECT_LE(context.workspace.peak_bytes(),
              spec->CostOf({compute}).workspace_bytes + context.attention.WorkspaceBytes(spec->Sites({compute})));
  }
}

TEST(ClipVision, CountsTheBytesItKeeps) {
  const Checkpoint weights = Weights();
  WeightMap all = weights.Map("image_encoder");
  size_t unused = 0;
  for (const std::string& key : all.Keys()) {
    if (key.find("layers.2.") != std::string::npos || key.find("post_layernorm") != std::string::npos) {
      unused += all.Peek(key).bytes();
    }
  }
  EXPECT_GT(unused, 0u);
  EXPECT_EQ(Spec()->UsedWeightBytes(all), all.total_bytes() - unused);
}

TEST(ClipVision, SaysWhatItCannotDo) {
  EXPECT_THAT(ErrorOf([] { FindVisionEncoder("DinoModel"); }), HasSubstr("CLIPVisionModel"));
  EXPECT_THAT(ErrorOf([] { Spec(ConfigWith(EncoderConfig(), "hidden_act", "relu")); }), HasSubstr("'relu'"));
  EXPECT_THAT(ErrorOf([] { Spec(ConfigWith(EncoderConfig(), "num_attention_heads", 7)); }), HasSubstr("7"));
  EXPECT_THAT(ErrorOf([] { Spec(ConfigWith(EncoderConfig(), "image_size", 70)); }), HasSubstr("image_size 70"));
  EXPECT_THAT(ErrorOf([] { Spec().get()->Sites({DType::kF16}); }), HasSubstr("f16"));
  EXPECT_THAT(ErrorOf([] {
                Checkpoint damaged = Weights();
                damaged.Remove("vision_model.encoder.layers.1.mlp.fc2.bias");
                Encode(damaged, PixelsOf(kRecordings[0]));
              }),
              HasSubstr("encoder.layers.1.mlp.fc2.bias"));
}

TEST(PicturePreprocessing, ReadsOlderSpellings) {
  const Config older({{"size", 32}, {"crop_size", 24}, {"image_mean", 0.5}, {"image_std", {0.5, 0.25, 1.0}}}, "older");
  const Tensor pixels = ToPixels({40, 64, std::vector<uint8_t>(40 * 64 * 3, 255)}, ReadPicturePreprocessing(older));
  EXPECT_EQ(pixels.shape(), Shape({3, 24, 24}));
  EXPECT_FLOAT_EQ(pixels.data<float>()[0], 1.0f);
  EXPECT_FLOAT_EQ(pixels.data<float>()[24 * 24], 2.0f);
  EXPECT_FLOAT_EQ(pixels.data<float>()[2 * 24 * 24], 0.5f);
}

TEST(PicturePreprocessing, StretchesToAnExactSize) {
  const Config exact({{"size", {{"height", 8}, {"width", 12}}}, {"do_center_crop", false}, {"do_normalize", false}},
                     "exact");
  const Tensor pixels = ToPixels({5, 7, std::vector<uint8_t>(5 * 7 * 3, 51)}, ReadPicturePreprocessing(exact));
  EXPECT_EQ(pixels.shape(), Shape({3, 8, 12}));
  EXPECT_FLOAT_EQ(pixels.data<float>()[17], 0.2f);
}

TEST(PicturePreprocessing, CutsTheMiddle) {
  Picture picture{1, 5, std::vector<uint8_t>(15)};
  for (size_t i = 0; i < 15; ++i) picture.rgb[i] = static_cast<uint8_t>(i / 3);
  const Config cut({{"do_resize", false}, {"crop_size", 1}, {"do_rescale", false}, {"do_normalize", false}}, "cut");
  EXPECT_EQ(ToPixels(picture, ReadPicturePreprocessing(cut)).data<float>()[0], 2.0f);
}

TEST(PicturePreprocessing, SaysWhatItCannotDo) {
  const auto read = [](const nlohmann::json& json) {
    return ErrorOf([&] { ReadPicturePreprocessing(Config(json, "preprocessor")); });
  };
  EXPECT_THAT(read({{"resample", 0}}), HasSubstr("resample 0"));
  EXPECT_THAT(read({{"image_mean", {1, 2}}}), HasSubstr("image_mean"));
  EXPECT_THAT(read({{"image_std", 0}}), HasSubstr("image_std"));
  EXPECT_THAT(read({{"size", {{"height", 8}}}}), HasSubstr("width"));
  const auto prepare = [](const nlohmann::json& json, const Picture& picture) {
    return ErrorOf([&] { ToPixels(picture, ReadPicturePreprocessing(Config(json, "preprocessor"))); });
  };
  EXPECT_THAT(prepare({{"do_resize", false}}, {4, 4, std::vector<uint8_t>(48)}), HasSubstr("4x4"));
  EXPECT_THAT(prepare({{"size", 16384}}, {1, 9, std::vector<uint8_t>(27)}), HasSubstr("9x1"));
}

}  // namespace
}  // namespace tessera
