// Progress as a log shows it: few plain lines, enough to see that a long job lives and when it will end.
#pragma once
#include <cstdint>
#include <string>

namespace tessera {

struct ProgressStage {
  std::string label;          // "denoising"
  std::string unit = "step";  // what is counted
  int64_t total = 0;
  int64_t done = 0;  // before this run began
};

// "12.3 s a step, 9 min 40 s left" from the units done since `begin`; "" before the first.
std::string PaceText(const ProgressStage& stage, int64_t done_before, double seconds);

// Says something when 10 seconds have passed since its last line and another tenth of the stage is done, or a minute
// has passed. Times are seconds of any clock; "" means no line.
class ProgressLog {
 public:
  explicit ProgressLog(double now) : last_line_(now) {}
  std::string Begin(const ProgressStage& stage, double now);
  std::string Advance(double now);
  std::string Finish(double now);

 private:
  std::string Said(std::string line, double now);
  int64_t Tenths() const noexcept { return stage_.total > 0 ? stage_.done * 10 / stage_.total : 0; }

  ProgressStage stage_;
  int64_t done_before_ = 0, said_tenths_ = 0;
  double begin_ = 0, last_line_;
};

}  // namespace tessera
