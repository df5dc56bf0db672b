#include <gtest/gtest.h>
#include <sys/wait.h>
#include <time.h>

#include "cli/edited_model.h"
#include "cli/run_program.h"

namespace tessera {
namespace {

void PauseShortly() {
  const timespec pause{0, 5'000'000};
  nanosleep(&pause, nullptr);
}

// Ctrl-C once a job without end has used that much processor time.
Outcome InterruptAfter(double seconds, const EditedModel& model) {
  Program program(
      {"generate", "--model-path", "model", "--prompt", "a red house", "--num-inference-steps", "10000", "--height",
       "64", "--width", "64", "--output-path", "deep/out", "--save-latents", "latents.safetensors"},
      model.folder(), Confinement::kNone);
  while (!program.HasEnded() && program.ProcessorSeconds() < seconds) PauseShortly();
  EXPECT_FALSE(program.HasEnded());
  program.Interrupt();
  return program.Wait();
}

TEST(Interrupt, LeavesNothingBehind) {
  for (const double seconds : {0.02, 0.5, 2.0}) {
    const EditedModel model({});
    const auto before = model.Listing();
    const Outcome outcome = InterruptAfter(seconds, model);
    EXPECT_TRUE(outcome.in_time);
    EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
    EXPECT_TRUE(outcome.err.starts_with("error: interrupted")) << outcome.err;
    EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
    EXPECT_EQ(model.Listing(), before);
  }
}

}  // namespace
}  // namespace tessera
