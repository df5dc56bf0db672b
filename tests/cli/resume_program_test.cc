// The program, ended at any moment: what it saved stays whole, and going on gives the bytes of an undisturbed run.
#include <signal.h>
#include <time.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/read_file.h"
#include "cli/edited_model.h"
#include "cli/run_program.h"
#include "pipeline/checkpoint_file.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

using Words = std::vector<std::string>;

constexpr int64_t kSteps = 60;
const Words kJob = {"generate", "--model-path",       "model",    "--prompt", "a red house", "--num-inference-steps",
                    "60",       "--height",           "64",       "--width",  "64",          "--output-path",
                    "out",      "--output-file-name", "house.png"};

Words With(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

void PauseShortly() {
  const timespec pause{0, 1'000'000};
  nanosleep(&pause, nullptr);
}

std::string Bytes(const fs::path& path) { return ReadWholeFile(path, size_t{1} << 28); }

// Sends `signal` as soon as the checkpoint has `step` steps.
Outcome EndAfter(int64_t step, int signal, const EditedModel& model, const Words& words) {
  Program program(words, model.folder(), Confinement::kNone);
  const fs::path path = model.folder() / "run";
  const auto saved = [&] { return fs::exists(path) ? ReadCheckpoint(path).step : -1; };
  while (!program.HasEnded() && saved() < step) PauseShortly();
  program.Signal(signal);
  return program.Wait();
}

class ResumeProgram : public ::testing::Test {
 protected:
  static std::string Undisturbed() {
    const EditedModel model({});
    EXPECT_EQ(Program(kJob, model.folder(), Confinement::kNone).Wait().exit_code, 0);
    return Bytes(model.folder() / "out" / "house.png");
  }
  // The listing of the folder without the model.
  static std::set<std::string> Files(const EditedModel& model) {
    std::set<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(model.folder())) {
      const std::string name = fs::relative(entry.path(), model.folder()).string();
      if (entry.is_regular_file() && !name.starts_with("model/")) names.insert(name);
    }
    return names;
  }
};

TEST_F(ResumeProgram, GoesOnAfterBeingKilledAgainAndAgain) {
  const EditedModel model({});
  const Words saving = With(kJob, {"--checkpoint", "run"}), resuming = With(saving, {"--resume", "run"});
  EXPECT_EQ(EndAfter(3, SIGKILL, model, saving).signal, SIGKILL);
  for (const int64_t step : {17, 18, 40}) EXPECT_EQ(EndAfter(step, SIGKILL, model, resuming).signal, SIGKILL);
  EXPECT_GE(ReadCheckpoint(model.folder() / "run").step, 40);
  const Outcome outcome = Program(resuming, model.folder(), Confinement::kNone).Wait();
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("going on with output 1 of 1 after step"));
  EXPECT_EQ(Bytes(model.folder() / "out" / "house.png"), Undisturbed());
  EXPECT_FALSE(fs::exists(model.folder() / "run"));
}

TEST_F(ResumeProgram, SaysHowToGoOnWhenItIsInterrupted) {
  for (const int signal : {SIGINT, SIGTERM}) {
    const EditedModel model({});
    const Outcome outcome = EndAfter(5, signal, model, With(kJob, {"--checkpoint", "run"}));
    EXPECT_EQ(outcome.exit_code, 128 + signal);
    EXPECT_THAT(outcome.err, HasSubstr("error: interrupted; unfinished files were removed; the same command with "
                                       "--resume run goes on after step"));
    EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
    EXPECT_THAT(Files(model), UnorderedElementsAre("run"));
    const int64_t step = ReadCheckpoint(model.folder() / "run").step;
    EXPECT_GE(step, 5);
    EXPECT_LT(step, kSteps);
    const Outcome end = Program(With(kJob, {"--resume", "run"}), model.folder(), Confinement::kNone).Wait();
    EXPECT_EQ(end.exit_code, 0) << end.err;
    EXPECT_EQ(Bytes(model.folder() / "out" / "house.png"), Undisturbed());
  }
}

TEST_F(ResumeProgram, AFullDiskLeavesTheCheckpointBefore) {
  const EditedModel model({});
  EndAfter(5, SIGKILL, model, With(kJob, {"--checkpoint", "run"}));
  const std::string before = Bytes(model.folder() / "run");
  const Words resuming = With(kJob, {"--resume", "run", "--checkpoint", "run"});
  const Outcome outcome = Program(resuming, model.folder(), Confinement::kSmallFiles).Wait();
  EXPECT_NE(outcome.exit_code, 0);
  EXPECT_THAT(outcome.err, HasSubstr("the one before stays"));
  EXPECT_THAT(outcome.err, HasSubstr("--resume run goes on after step"));
  EXPECT_EQ(Bytes(model.folder() / "run"), before);
  EXPECT_THAT(Files(model), UnorderedElementsAre("run"));
}

}  // namespace
}  // namespace tessera
