// Runs the real program and watches it.
#pragma once
#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

namespace tessera {

enum class Confinement {
  kNone,
  kSmallFiles,      // no file over 1 KiB can be written: a full disk
  kPlainUser,       // permissions count even for root
  kFullStandardOut  // standard output is /dev/full
};

struct Outcome {
  int exit_code = -1;   // -1: ended by a signal
  int signal = 0;       // SIGKILL also when it ran out of time
  bool in_time = true;  // within kSecondsAllowed
  std::string out, err;
};
constexpr int kSecondsAllowed = 60;

// A program started in a folder; its output goes to files outside of it.
class Program {
 public:
  Program(const std::vector<std::string>& words, const std::filesystem::path& folder, Confinement confinement);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  double ProcessorSeconds() const;  // used so far by all its threads
  bool HasEnded();
  void Signal(int signal) const;
  void Interrupt() const;  // Ctrl-C
  Outcome Wait();

 private:
  std::filesystem::path output_folder_;
  pid_t process_ = -1;
  bool ended_ = false;
  int status_ = 0;
};

// False when this machine cannot confine a program that way.
bool CanConfine(Confinement confinement);

}  // namespace tessera
