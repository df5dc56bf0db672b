#include "cli/interrupt.h"

#include <unistd.h>

#include <csignal>
#include <cstring>

#include "base/interrupt_advice.h"
#include "base/unfinished_paths.h"

namespace tessera {
namespace {

void WriteText(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) return;
}

// Only calls that are allowed in a signal handler.
void EndProcess(int signal) {
  RemoveUnfinishedFiles();
  if (::isatty(STDERR_FILENO) == 1) WriteText("\r\x1b[K");
  WriteText("error: interrupted; unfinished files were removed");
  WriteText(InterruptAdvice());
  WriteText("\n");
  ::_exit(128 + signal);
}

}  // namespace

void InstallInterruptHandlers() {
  struct sigaction action {};
  action.sa_handler = EndProcess;
  sigemptyset(&action.sa_mask);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
  // Then write() fails with a reason and the error path cleans up.
  action.sa_handler = SIG_IGN;
  sigaction(SIGXFSZ, &action, nullptr);
}

}  // namespace tessera
