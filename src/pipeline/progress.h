// A progress bar per stage on stderr; silent when stderr is no terminal or the log level is below info.
#pragma once
#include <cstdint>
#include <string>

namespace tessera {

class Progress {
 public:
  Progress();
  // `total` steps of `label`; Advance after each; Finish erases the bar.
  void Begin(const std::string& label, int64_t total);
  void Advance();
  void Finish();

 private:
  void Draw();

  std::string label_;
  int64_t total_ = 0, done_ = 0;
  double begin_ = 0, last_step_ = 0, last_time_ = 0;
  bool visible_;
};

}  // namespace tessera
