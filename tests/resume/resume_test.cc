// Whatever a run is stopped after: going on gives the bytes of a run that was never stopped.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "resume/small_job.h"
#include "support/distilled_model.h"

namespace tessera::testing {
namespace {

using ::testing::HasSubstr;

const std::string kGolden = TESSERA_SOURCE_FOLDER "/tests/golden/pipelines/";

constexpr const char* kClusters =
    R"({"top_p_kmeans": 0.4, "min_kc_ratio": 0, "num_q_centroids": 4, "num_k_centroids": 6, "kmeans_iter_init": 1,
        "first_times_fp": 0, "first_layers_fp": 0})";

const Words kFilm = {"--prompt", "a red fox", "--height",           "32",       "--width", "48", "--num-frames", "9",
                     "--seed",   "7",         "--output-file-name", "film.webp"};

Words With(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

// A folder of the distilled model of a recording; it is there while this process runs.
const char* DistilledFolder(const std::string& name) {
  static const TemporaryFolder folder;
  static std::map<std::string, std::string> made;
  std::string& path = made[name];
  if (path.empty()) ComposeDistilledModel(DistilledJob(name), path = folder / name);
  return path.c_str();
}

std::vector<SmallJob> DistilledJobs() {
  const auto film = [](const char* frames) -> Words {
    return {"--prompt", "a tram", "--height",           "32",       "--width", "48", "--num-frames", frames,
            "--seed",   "3",      "--output-file-name", "film.webp"};
  };
  return {{"dmd", DistilledFolder("fast"), With(film("9"), {"--dmd-denoising-steps", "1000,757,522,250"}), 4},
          {"causal_blocks", DistilledFolder("causal"), film("21"), 8},
          {"causal_window", DistilledFolder("causal_window"), film("33"), 12},
          {"causal_first_frame", DistilledFolder("causal_first"), film("17"), 12},
          {"causal_two_experts", DistilledFolder("causal_two"), film("21"), 16}};
}

std::vector<SmallJob> Jobs() {
  const Words guided = {"--guidance-scale", "5", "--negative-prompt", "blurry", "--num-inference-steps", "4"};
  const Words clusters = {"--attention-backend", "sparse_video_gen_2_attn", "--attention-backend-config", kClusters};
  const Words two = {"--num-outputs-per-prompt", "2"};
  return {
      {"flux_euler_two_outputs", "flux2_klein_tiny",
       With(two, {"--prompt", "a blue owl", "--height", "48", "--width", "80", "--num-inference-steps", "3"}), 6},
      {"flux_references",
       "flux2_klein_tiny",
       {"--prompt", "a blue owl", "a hat", "--height", "48", "--width", "80", "--num-inference-steps", "2",
        "--image-path", kGolden + "flux2_klein_tiny/edit_ref0.png", "--output-file-name", "owl.jpg"},
       4},
      {"wan_unipc_guided", "wan21_t2v_tiny", With(kFilm, guided), 4},
      {"wan_euler_guided", "wan21_t2v_tiny",
       With(With(kFilm, guided), {"--scheduler-path", kGolden + "wan21_t2v_tiny/scheduler_euler"}), 4},
      {"wan_clusters_two_outputs", "wan21_t2v_tiny", With(With(With(kFilm, guided), clusters), two), 8},
      {"wan_two_experts_clusters", "wan22_t2v_tiny",
       With(With(kFilm, clusters), {"--guidance-scale", "4", "--guidance-scale-2", "3", "--num-inference-steps", "6"}),
       6},
      {"wan_picture_and_clip", "wan21_i2v_tiny",
       With(With(kFilm, guided), {"--image-path", kGolden + "wan21_i2v_tiny/image_ref0.png"}), 4},
      {"wan_given_first_frame",
       "wan22_ti2v_tiny",
       {"--prompt", "a red fox", "--height", "64", "--width", "96", "--num-frames", "9", "--num-inference-steps", "3",
        "--guidance-scale", "4", "--frames-as", "png", "--output-file-name", "film", "--image-path",
        kGolden + "wan22_ti2v_tiny/image_ref0.png"},
       3},
      {"wan_demoted_attention", "wan21_t2v_tiny",
       With(With(kFilm, clusters), {"--num-inference-steps", "4", "--guidance-scale", "1", "--attention-check",
                                    "rate=0.1,tolerance=0.2", "--attention-check-action", "demote"}),
       4},
  };
}

bool IsThere(const std::string& path) { return std::filesystem::exists(path); }

// Names made from the prompt carry the time.
std::map<std::string, std::string> WithoutTimes(const std::map<std::string, std::string>& files) {
  std::map<std::string, std::string> named;
  for (const auto& [name, bytes] : files) {
    const size_t time = name.find("_20"), end = name.find('_', time + 1);
    named[time == std::string::npos ? name : name.substr(0, time) + name.substr(end)] = bytes;
  }
  return named;
}

class Resume : public ::testing::TestWithParam<SmallJob> {
 protected:
  static std::map<std::string, std::string> Uninterrupted() {
    const TemporaryFolder folder;
    const Ran ran = RunJob(GetParam(), folder, {});
    EXPECT_EQ(ran.error, "");
    EXPECT_EQ(ran.steps, GetParam().steps);
    return WithoutTimes(FilesIn(folder));
  }
};

TEST_P(Resume, GivesTheSameBytesAfterAnyStep) {
  const auto expected = Uninterrupted();
  for (int stop = 1; stop <= GetParam().steps; ++stop) {
    const TemporaryFolder folder;
    const Ran stopped = RunJob(GetParam(), folder, Saving(folder), stop);
    EXPECT_THAT(stopped.error, HasSubstr("stopped; the same command with --resume"));
    const Ran ran = RunJob(GetParam(), folder, SavingAndResuming(folder));
    ASSERT_EQ(ran.error, "");
    EXPECT_EQ(ran.steps, GetParam().steps - stop);
    EXPECT_TRUE(WithoutTimes(FilesIn(folder)) == expected) << "stopped after step " << stop;
    EXPECT_FALSE(IsThere(folder / kCheckpointName));
  }
}

TEST_P(Resume, GivesTheSameBytesWhenEveryStepIsARunOfItsOwn) {
  const TemporaryFolder folder;
  RunJob(GetParam(), folder, Saving(folder), 1);
  for (int step = 2; step <= GetParam().steps; ++step) {
    EXPECT_THAT(RunJob(GetParam(), folder, SavingAndResuming(folder), 1).error, HasSubstr("stopped"));
  }
  EXPECT_EQ(RunJob(GetParam(), folder, SavingAndResuming(folder)).error, "");
  EXPECT_TRUE(WithoutTimes(FilesIn(folder)) == Uninterrupted());
}

INSTANTIATE_TEST_SUITE_P(Jobs, Resume, ::testing::ValuesIn(Jobs()), [](const auto& suite) { return suite.param.name; });
INSTANTIATE_TEST_SUITE_P(Distilled, Resume, ::testing::ValuesIn(DistilledJobs()),
                         [](const auto& suite) { return suite.param.name; });

const SmallJob kJob{"film", "wan21_t2v_tiny", With(kFilm, {"--num-inference-steps", "5", "--guidance-scale", "1"}), 5};

TEST(Checkpoint, EverySecondStepIsSavedWhereAsked) {
  const TemporaryFolder folder;
  RunJob(kJob, folder, With(Saving(folder), {"--checkpoint-every", "2"}), 3);
  EXPECT_EQ(RunJob(kJob, folder, SavingAndResuming(folder)).steps, 3);  // from step 2 on
}

TEST(Checkpoint, IsLeftAloneByARunThatOnlyResumes) {
  const TemporaryFolder folder;
  RunJob(kJob, folder, Saving(folder), 2);
  for (int round = 0; round < 2; ++round) {
    const Ran ran = RunJob(kJob, folder, {"--resume", folder / kCheckpointName});
    EXPECT_EQ(ran.error, "");
    EXPECT_EQ(ran.steps, 3);
  }
  EXPECT_TRUE(IsThere(folder / kCheckpointName));
}

TEST(Checkpoint, HoldsTheEncodingsBeforeTheFirstStep) {
  const TemporaryFolder folder, other;
  RunJob(kJob, folder, With(Saving(folder), {"--checkpoint-every", "100"}), 2);
  const Ran ran = RunJob(kJob, folder, SavingAndResuming(folder));
  EXPECT_EQ(ran.steps, 5);
  RunJob(kJob, other, {});
  EXPECT_TRUE(FilesIn(folder) == FilesIn(other));
}

TEST(Checkpoint, DoesNotChangeTheFilm) {
  const TemporaryFolder with, without;
  RunJob(kJob, with, Saving(with));
  RunJob(kJob, without, {});
  EXPECT_TRUE(FilesIn(with) == FilesIn(without));
}

}  // namespace
}  // namespace tessera::testing
