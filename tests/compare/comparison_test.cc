#include "cli/compare/comparison.h"

#include <cmath>

#include <gmock/gmock.h>

#include "base/base64.h"
#include "cli/compare/contact_sheet.h"
#include "cli/compare/html_report.h"
#include "media/drawing.h"

namespace tessera {
namespace {

using testing::HasSubstr;
using testing::Not;

MadePicture Made(uint64_t seed, uint8_t value, float latent) {
  Tensor latents = Tensor::Zeros({2}, DType::kF32);
  latents.mutable_data<float>()[0] = latent;
  latents.mutable_data<float>()[1] = 2;
  return {.prompt = 0,
          .seed = seed,
          .frames = {FilledPicture(20, 24, {value, value, value})},
          .latents = latents,
          .denoising_seconds = 1,
          .seconds = 2};
}

// The reference, a column that differs in one of two pictures, and one that refused.
Comparison Small() {
  Comparison comparison{.model = "m<1>", .prompts = {"a \"red\" house"}, .seeds = {1, 2}, .columns = {}};
  comparison.columns.push_back({.label = "fa",
                                .backend = "fa",
                                .config = "",
                                .refused = "",
                                .pictures = {Made(1, 100, 1), Made(2, 50, 1)},
                                .attention = {},
                                .seconds = 8});
  comparison.columns.push_back({.label = "other",
                                .backend = "sage_attn",
                                .config = "pv=int8",
                                .refused = "",
                                .pictures = {Made(1, 101, 1.3f), Made(2, 50, 1)},
                                .attention = {},
                                .seconds = 2});
  comparison.columns.push_back({.label = "third",
                                .backend = "x",
                                .config = "",
                                .refused = "causal mask",
                                .pictures = {},
                                .attention = {},
                                .seconds = 0});
  comparison.columns[1].pictures[0].denoising_seconds = 0.25;
  comparison.columns[1].pictures[1].denoising_seconds = 0.25;
  return comparison;
}

TEST(Comparison, ScoresAgainstTheFirstColumn) {
  const auto scores = Score(Small());
  ASSERT_EQ(scores.size(), 3u);
  EXPECT_TRUE(std::isinf(scores[0].psnr));
  EXPECT_EQ(scores[0].identical, 2);
  EXPECT_DOUBLE_EQ(scores[0].speedup, 1);
  EXPECT_NEAR(scores[1].psnr, 20 * std::log10(255.0), 1e-9);  // of the picture that differs
  EXPECT_EQ(scores[1].identical, 1);
  EXPECT_NEAR(scores[1].latents_rel_l1, 0.3 / 3 / 2, 1e-7);
  EXPECT_DOUBLE_EQ(scores[1].speedup, 4);
  EXPECT_DOUBLE_EQ(scores[1].denoising_speedup, 4);
  EXPECT_LT(scores[1].ssim, 1);
  EXPECT_TRUE(scores[2].pictures.empty());
}

TEST(Comparison, FramesOfAFilmAreAveraged) {
  Comparison comparison = Small();
  for (size_t column = 0; column < 2; ++column) {
    auto& frames = comparison.columns[column].pictures[0].frames;
    frames.push_back(FilledPicture(20, 24, {0, 0, static_cast<uint8_t>(column == 0 ? 0 : 255)}));
  }
  const double second = 10 * std::log10(3.0);
  EXPECT_NEAR(Score(comparison)[1].pictures[0].psnr, (20 * std::log10(255.0) + second) / 2, 1e-9);
}

TEST(Comparison, JsonHoldsScoresAndReasons) {
  const Comparison comparison = Small();
  const auto json = ToJson(comparison, Score(comparison));
  EXPECT_EQ(json["reference"], "fa");
  EXPECT_TRUE(json["backends"][0]["psnr"].is_null());
  EXPECT_EQ(json["backends"][1]["config"], "pv=int8");
  EXPECT_EQ(json["backends"][1]["pictures"][1]["seed"], 2);
  EXPECT_EQ(json["backends"][1]["pictures"][1]["identical"], true);
  EXPECT_EQ(json["backends"][2]["refused"], "causal mask");
}

TEST(Comparison, TableHasARowPerBackend) {
  const Comparison comparison = Small();
  const std::string table = ToTable(comparison, Score(comparison));
  EXPECT_THAT(table, HasSubstr("\nother  "));
  EXPECT_THAT(table, HasSubstr("48.13"));
  EXPECT_THAT(table, HasSubstr("4.00 x"));
  EXPECT_THAT(table, HasSubstr("refused: causal mask"));
}

TEST(Comparison, ContactSheetShowsPicturesAndDifferences) {
  const Comparison comparison = Small();
  const Picture sheet = DrawContactSheet(comparison, Score(comparison));
  const auto has = [&](uint8_t value) {
    for (size_t i = 0; i < sheet.rgb.size(); i += 3) {
      if (sheet.rgb[i] == value && sheet.rgb[i + 1] == value && sheet.rgb[i + 2] == value) return true;
    }
    return false;
  };
  for (const uint8_t value : {100, 101, 50, 8}) EXPECT_TRUE(has(value)) << int{value};  // 8: a difference of 1
}

TEST(Comparison, ContactSheetOfManyLargePicturesStaysReasonable) {
  Comparison comparison = Small();
  comparison.columns.pop_back();
  for (ComparedBackend& column : comparison.columns) {
    column.pictures.assign(200, Made(1, 7, 1));
    for (MadePicture& picture : column.pictures) picture.frames = {FilledPicture(300, 100, {9, 9, 9})};
  }
  const Picture sheet = DrawContactSheet(comparison, Score(comparison));
  EXPECT_LT(sheet.height * sheet.width, int64_t{1} << 25);
}

TEST(Comparison, HtmlIsSelfContainedAndEscaped) {
  const Comparison comparison = Small();
  const std::string html = HtmlReport(comparison, Score(comparison));
  EXPECT_THAT(html, HasSubstr("m&lt;1&gt;"));
  EXPECT_THAT(html, HasSubstr("a &quot;red&quot; house"));
  EXPECT_THAT(html, HasSubstr("data:image/png;base64,iVBOR"));
  EXPECT_THAT(html, HasSubstr("causal mask"));
  for (const char* outside : {"http:", "https:", "src=\"/", "<script"}) EXPECT_THAT(html, Not(HasSubstr(outside)));
}

TEST(Base64, FollowsTheExamplesOfRfc4648) {
  const auto encode = [](std::string_view text) {
    return EncodeBase64({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  EXPECT_EQ(encode(""), "");
  EXPECT_EQ(encode("f"), "Zg==");
  EXPECT_EQ(encode("fo"), "Zm8=");
  EXPECT_EQ(encode("foobar"), "Zm9vYmFy");
  EXPECT_EQ(encode("\xFF\xFE\xFD"), "//79");
}

}  // namespace
}  // namespace tessera
