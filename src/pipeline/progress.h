// Progress of a stage on stderr: a bar on a terminal, lines for a log elsewhere; silent when the log level is below
// info.
#pragma once
#include <cstdint>
#include <string>

#include "pipeline/progress_log.h"

namespace tessera {

class Progress {
 public:
  Progress();
  // Advance after each of the stage's units; Finish erases the bar.
  void Begin(const ProgressStage& stage);
  void Advance();
  void Finish();

 private:
  enum class Form { kSilent, kBar, kLines };
  static Form FormOf();
  void Draw() const;
  static void Say(const std::string& line);

  ProgressStage stage_;
  int64_t done_before_ = 0;
  double begin_ = 0, last_time_ = 0;
  Form form_;
  ProgressLog log_;
};

// The bar's line: label, bar, count and pace.
std::string ProgressBar(const ProgressStage& stage, int64_t done_before, double seconds);

}  // namespace tessera
