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

// Two films of `frames` frames; the second column's frame t is brighter by `offset + t * drift`.
Comparison Films(int frames, int offset, int drift) {
  Comparison comparison = Small();
  comparison.columns.pop_back();
  for (int column = 0; column < 2; ++column) {
    auto& pictures = comparison.columns[static_cast<size_t>(column)].pictures;
    pictures.resize(1);
    pictures[0].frames.clear();
    for (int t = 0; t < frames; ++t) {
      const auto value = static_cast<uint8_t>(20 + 10 * t + column * (offset + t * drift));
      pictures[0].frames.push_back(FilledPicture(20, 24, {value, value, value}));
    }
  }
  return comparison;
}

TEST(FilmComparison, TemporalDifferenceSeesMotionAndNotBrightness) {
  EXPECT_DOUBLE_EQ(Score(Films(5, 7, 0))[1].temporal_difference, 0);
  EXPECT_DOUBLE_EQ(Score(Films(5, 0, 3))[1].temporal_difference, 3);
  EXPECT_DOUBLE_EQ(Score(Films(5, 0, -3))[1].temporal_difference, 3);
  EXPECT_DOUBLE_EQ(Score(Films(1, 7, 0))[1].temporal_difference, 0);
}

TEST(FilmComparison, JsonHoldsASeriesPerScore) {
  const Comparison films = Films(3, 0, 2);
  const auto row = ToJson(films, Score(films))["backends"][1]["pictures"][0];
  EXPECT_EQ(row["temporal_difference"], 2.0);
  const auto& series = row["per_frame"];
  EXPECT_TRUE(series["psnr"][0].is_null());  // equal frames
  EXPECT_NEAR(series["psnr"][2].get<double>(), 20 * std::log10(255.0 / 4), 1e-9);
  EXPECT_EQ(series["ssim"].size(), 3u);
  EXPECT_EQ(series["temporal_difference"], nlohmann::json({nullptr, 2.0, 2.0}));
  const Comparison pictures = Small();
  EXPECT_FALSE(ToJson(pictures, Score(pictures))["backends"][1]["pictures"][0].contains("per_frame"));
}

TEST(FilmComparison, FramesAreSpreadFromFirstToLast) {
  EXPECT_EQ(SpreadFrames(81, 5), (std::vector<size_t>{0, 20, 40, 60, 80}));
  EXPECT_EQ(SpreadFrames(3, 6), (std::vector<size_t>{0, 1, 2}));
  EXPECT_EQ(SpreadFrames(1, 6), (std::vector<size_t>{0}));
  EXPECT_EQ(SpreadFrames(10, 1), (std::vector<size_t>{0}));
}

// Whether a row of pixels of the sheet holds all of `values`.
bool ARowHas(const Picture& sheet, const std::vector<uint8_t>& values) {
  for (int64_t y = 0; y < sheet.height; ++y) {
    const auto* row = sheet.rgb.data() + y * sheet.width * 3;
    const auto has = [&](uint8_t value) {
      for (int64_t x = 0; x < sheet.width; ++x) {
        if (row[x * 3] == value && row[x * 3 + 1] == value && row[x * 3 + 2] == value) return true;
      }
      return false;
    };
    if (std::all_of(values.begin(), values.end(), has)) return true;
  }
  return false;
}

TEST(FilmComparison, SheetHasARowOfFramesPerBackend) {
  const Comparison films = Films(3, 1, 1);
  const Picture sheet = DrawContactSheet(films, Score(films));
  EXPECT_TRUE(ARowHas(sheet, {20, 30, 40}));
  EXPECT_TRUE(ARowHas(sheet, {21, 32, 43}));
  EXPECT_TRUE(ARowHas(sheet, {8, 16, 24}));  // differences, times 8
}

TEST(FilmComparison, SheetOfManyLongFilmsStaysReasonable) {
  Comparison films = Films(9, 1, 1);
  for (ComparedBackend& column : films.columns) column.pictures.assign(300, column.pictures[0]);
  const Picture sheet = DrawContactSheet(films, Score(films));
  EXPECT_LT(sheet.height * sheet.width, int64_t{1} << 25);
}

size_t Count(const std::string& text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(FilmComparison, HtmlHoldsEveryFrameAPlayerAndCurves) {
  Comparison films = Films(4, 1, 1);
  films.frames_per_second = 12;
  const std::string html = HtmlReport(films, Score(films));
  EXPECT_EQ(Count(html, "data:image/webp;base64,"), 8u);
  EXPECT_EQ(Count(html, "class=\"clip\""), 2u);
  EXPECT_EQ(Count(html, "<svg"), 3u);
  EXPECT_EQ(Count(html, "<script>"), 1u);
  EXPECT_THAT(html, HasSubstr("data-rate=\"12\""));
  EXPECT_THAT(html, HasSubstr("max=\"3\""));
  for (const char* outside : {"http:", "https:", "src=\"/"}) EXPECT_THAT(html, Not(HasSubstr(outside)));
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
