// Previews show what the picture becomes, change nothing of it and are gone when it is there.
#include <cmath>
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/read_file.h"
#include "cli/generate_flags.h"
#include "pipeline/pipeline.h"
#include "pipeline/previews.h"
#include "resume/small_job.h"
#include "tensor/random.h"

namespace tessera::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::string Bytes(const fs::path& path) { return ReadWholeFile(path, size_t{1} << 28); }

std::unique_ptr<RunState> RunOf(Words words, const TemporaryFolder& folder) {
  words.insert(words.end(), {"--output-path", folder.path()});
  return PrepareRun(MakeRequest(ParseFlags(GenerateFlags(), words)));
}

// Correlation of all values of two pictures of one size.
double Correlation(const Picture& a, const Picture& b) {
  EXPECT_EQ(a.rgb.size(), b.rgb.size());
  const auto n = static_cast<double>(a.rgb.size());
  double x_sum = 0, y_sum = 0, xx = 0, yy = 0, xy = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) {
    const double x = a.rgb[i], y = b.rgb[i];
    x_sum += x / n;
    y_sum += y / n;
    xx += x * x / n;
    yy += y * y / n;
    xy += x * y / n;
  }
  return (xy - x_sum * y_sum) / std::sqrt((xx - x_sum * x_sum) * (yy - y_sum * y_sum) + 1e-9);
}

// One value of a latent pixel is worth a block of the picture.
double Likeness(const Picture& preview, const Picture& picture) {
  const auto shrunk = [&](const Picture& from) {
    return Resize(from, picture.height / 8, picture.width / 8, Resample::kBilinear);
  };
  return Correlation(shrunk(preview), shrunk(picture));
}

TEST(Previews, ShowThePictureFromTheFirstStepOn) {
  for (const char* prompt : {"a red house to the left of a green tree", "a big blue star on a yellow background",
                             "two orange hearts on black", "a green triangle above a red square"}) {
    const TemporaryFolder folder;
    const auto run = RunOf({"--prompt", prompt, "--preview-every", "1", "--output-file-name", "picture.png"}, folder);
    std::vector<Picture> previews;
    run->watch_step = [&](int) { previews.push_back(ReadPicture(folder / "picture.preview.png")); };
    Generate(*run);
    const Picture picture = ReadPicture(folder / "picture.png");
    EXPECT_EQ(previews.back().height, picture.height / 2);
    // 0.88 to 0.97 at the end; the steps before it know less of what is made.
    EXPECT_GT(Likeness(previews.back(), picture), 0.85) << prompt;
    for (const Picture& preview : previews) EXPECT_GT(Likeness(preview, picture), 0.75) << prompt;
    EXPECT_FALSE(fs::exists(folder / "picture.preview.png"));
  }
}

const Words kFilm = {"--model-path",
                     TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/wan21_t2v_tiny",
                     "--prompt",
                     "a red fox",
                     "--height",
                     "32",
                     "--width",
                     "48",
                     "--num-frames",
                     "9",
                     "--num-inference-steps",
                     "5",
                     "--output-file-name",
                     "fox.webp"};

Words With(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(Previews, OfAFilmMove) {
  const TemporaryFolder folder;
  const auto run = RunOf(With(kFilm, {"--preview-every", "2"}), folder);
  std::vector<int> with_preview;
  std::string last;
  run->watch_step = [&](int steps_done) {
    if (!fs::exists(folder / "fox.preview.webp")) return;
    const std::string preview = Bytes(folder / "fox.preview.webp");
    if (preview != last) with_preview.push_back(steps_done);
    last = preview;
  };
  Generate(*run);
  EXPECT_THAT(with_preview, ElementsAre(2, 4));
  EXPECT_TRUE(last.starts_with("RIFF"));
  EXPECT_NE(last.find("ANIM"), std::string::npos);
  EXPECT_FALSE(fs::exists(folder / "fox.preview.webp"));
}

TEST(Previews, ChangeNothingOfWhatIsMade) {
  const TemporaryFolder with, without;
  Generate(*RunOf(With(kFilm, {"--preview-every", "1"}), with));
  Generate(*RunOf(kFilm, without));
  EXPECT_EQ(Bytes(with / "fox.webp"), Bytes(without / "fox.webp"));
}

TEST(Previews, ThatCannotBeWrittenEndNothing) {
  const TemporaryFolder folder;
  fs::create_directory(folder / "fox.preview.webp");
  Generate(*RunOf(With(kFilm, {"--preview-every", "1"}), folder));
  EXPECT_TRUE(fs::exists(folder / "fox.webp"));
}

TEST(PreviewPaths, StandBesideTheOutput) {
  EXPECT_EQ(PreviewPath({"out/a.b.png"}, 1), "out/a.b.preview.png");
  EXPECT_EQ(PreviewPath({"out/fox_3.mp4", PictureFormat::kPng, FilmFormat::kMp4}, 5), "out/fox_3.preview.webp");
  EXPECT_EQ(PreviewPath({"out/v1.2", PictureFormat::kPng, FilmFormat::kFrames}, 5), "out/v1.2.preview.webp");
}

TEST(LeastSquares, FindsTheWeightsThatMadeTheColours) {
  constexpr int64_t kWidth = 5, kRows = 40;
  TorchGenerator generator(3);
  const Tensor x = generator.Randn({kRows, kWidth}, DType::kF32), wanted = generator.Randn({kWidth, 3}, DType::kF32);
  std::vector<double> rows(x.data<float>(), x.data<float>() + x.numel()), colours;
  for (int64_t r = 0; r < kRows; ++r) {
    for (int64_t k = 0; k < 3; ++k) {
      double sum = 0;
      for (int64_t i = 0; i < kWidth; ++i) {
        sum += rows[static_cast<size_t>(r * kWidth + i)] * static_cast<double>(wanted.data<float>()[i * 3 + k]);
      }
      colours.push_back(sum);
    }
  }
  const auto weights = SolveLeastSquares(rows, colours, kWidth, 0);
  for (size_t i = 0; i < weights.size(); ++i) EXPECT_NEAR(weights[i], wanted.data<float>()[i], 1e-9);
}

TEST(LatentProjection, DrawsItsColoursAndNoOthers) {
  const LatentProjection projection({1, 0, 0, 0, 0.5, 0, 0, 0, -1});  // red of channel 0, green of 1, no blue
  Tensor latents = Tensor::Zeros({2, 2, 1, 2}, DType::kF32);          // [channels, frames, h, w]
  latents.mutable_data<float>()[2] = 1;                               // channel 0, frame 1, left
  latents.mutable_data<float>()[7] = 9;                               // channel 1, frame 1, right: cut
  EXPECT_THAT(projection.Draw(latents, 0).rgb, ElementsAre(128, 128, 0, 128, 128, 0));
  EXPECT_THAT(projection.Draw(latents, 1).rgb, ElementsAre(255, 128, 0, 128, 255, 0));
}

}  // namespace
}  // namespace tessera::testing
