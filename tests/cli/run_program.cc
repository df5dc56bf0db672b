#include "cli/run_program.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <chrono>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "base/read_file.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr size_t kMostOutput = size_t{1} << 20;
constexpr rlim_t kSmallFile = 1024;

void PauseShortly() {
  const timespec pause{0, 2'000'000};
  nanosleep(&pause, nullptr);
}

// In the new process: a root without these capabilities is held to permissions like anybody else.
bool BecomePlain() {
  if (geteuid() != 0) return true;
  return prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE) == 0 && prctl(PR_CAPBSET_DROP, CAP_DAC_READ_SEARCH) == 0;
}

bool Confine(Confinement confinement) {
  switch (confinement) {
    case Confinement::kNone:
      return true;
    case Confinement::kSmallFiles: {
      const rlimit limit{kSmallFile, kSmallFile};
      return setrlimit(RLIMIT_FSIZE, &limit) == 0;
    }
    case Confinement::kPlainUser:
      return BecomePlain();
    case Confinement::kFullStandardOut:
      return dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO) >= 0;
  }
  return false;
}

[[noreturn]] void Become(const std::vector<std::string>& words, const std::filesystem::path& folder,
                         const std::filesystem::path& output_folder, Confinement confinement) {
  std::vector<char*> arguments{const_cast<char*>(TESSERA_BINARY)};
  for (const std::string& word : words) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  const int flags = O_WRONLY | O_CREAT | O_TRUNC;
  const bool ready = dup2(open((output_folder / "out").c_str(), flags, 0600), STDOUT_FILENO) >= 0 &&
                     dup2(open((output_folder / "err").c_str(), flags, 0600), STDERR_FILENO) >= 0 &&
                     dup2(open("/dev/null", O_RDONLY), STDIN_FILENO) >= 0 && chdir(folder.c_str()) == 0 &&
                     Confine(confinement);
  if (ready) execv(TESSERA_BINARY, arguments.data());
  _exit(99);
}

}  // namespace

Program::Program(const std::vector<std::string>& words, const std::filesystem::path& folder, Confinement confinement) {
  std::string pattern = (std::filesystem::temp_directory_path() / "tessera_output_XXXXXX").string();
  EXPECT_NE(mkdtemp(pattern.data()), nullptr);
  output_folder_ = pattern;
  process_ = fork();
  if (process_ == 0) Become(words, folder, output_folder_, confinement);
  EXPECT_GT(process_, 0);
}

Program::~Program() {
  if (!HasEnded()) {
    kill(process_, SIGKILL);
    waitpid(process_, &status_, 0);
  }
  std::filesystem::remove_all(output_folder_);
}

double Program::ProcessorSeconds() const {
  // proc(5): fields 14 and 15, counted from behind the program's name in parentheses.
  const std::string line = ReadWholeFile(fmt::format("/proc/{}/stat", process_), kMostOutput);
  const std::vector<std::string> fields = Split(line.substr(line.rfind(')') + 2), ' ');
  return (std::stod(fields.at(11)) + std::stod(fields.at(12))) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

bool Program::HasEnded() {
  if (!ended_) ended_ = waitpid(process_, &status_, WNOHANG) == process_;
  return ended_;
}

void Program::Signal(int signal) const { kill(process_, signal); }

void Program::Interrupt() const { Signal(SIGINT); }

Outcome Program::Wait() {
  Outcome outcome;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(kSecondsAllowed);
  while (!HasEnded()) {
    PauseShortly();
    if (std::chrono::steady_clock::now() < deadline) continue;
    outcome.in_time = false;
    kill(process_, SIGKILL);
  }
  if (WIFEXITED(status_)) outcome.exit_code = WEXITSTATUS(status_);
  if (WIFSIGNALED(status_)) outcome.signal = WTERMSIG(status_);
  outcome.err = ReadWholeFile(output_folder_ / "err", kMostOutput);
  outcome.out = ReadWholeFile(output_folder_ / "out", kMostOutput);
  return outcome;
}

bool CanConfine(Confinement confinement) {
  const pid_t process = fork();
  if (process == 0) _exit(Confine(confinement) ? 0 : 1);
  int status = 0;
  return waitpid(process, &status, 0) == process && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace tessera
