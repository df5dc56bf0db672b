// The `tessera` program: finds the command and turns errors into one line and an exit code.
#include <array>
#include <cstdio>
#include <new>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/commands.h"
#include "cli/interrupt.h"

namespace tessera {
namespace {

struct Command {
  const char* name;
  const char* summary;
  int (*run)(Arguments);
};

constexpr auto kCommands = std::to_array<Command>({
    {"generate", "make pictures from a prompt", GenerateCommand},
    {"explain", "say which attention backend serves each site of a job, and why", ExplainCommand},
    {"backends", "list the attention backends and what each can do", BackendsCommand},
    {"tokenize", "show the tokens of a text", TokenizeCommand},
    {"attend", "run an attention backend on given tensors and check it", AttendCommand},
    {"compare", "the same noise through several attention backends: tables, pictures, a report", CompareCommand},
    {"attention-search", "find the windows of sliding_tile_attn for a model and write them", AttentionSearchCommand},
    {"bench", "measure this machine, attention and layers", BenchCommand},
    {"perf-compare", "compare performance dumps of generate", PerfCompareCommand},
    {"make-random-model", "write a model folder of real size with random weights", MakeRandomModelCommand},
});

std::string Usage() {
  std::string text = "usage: tessera COMMAND [FLAGS]   (tessera COMMAND --help lists the flags)\n\n";
  for (const Command& command : kCommands) text += fmt::format("  {:<20}{}\n", command.name, command.summary);
  return text + "\n  --version           print the version\n";
}

const Command& FindCommand(const std::string& name) {
  std::vector<std::string> names;
  for (const Command& command : kCommands) {
    if (name == command.name) return command;
    names.emplace_back(command.name);
  }
  const auto nearest = Nearest(name, names);
  throw Error(ErrorKind::kUsage,
              fmt::format("unknown command '{}'{}; commands: {}", Printable(name),
                          nearest ? fmt::format(", did you mean '{}'?", *nearest) : "", Join(names, ", ")));
}

int Main(const std::vector<std::string>& arguments) {
  if (arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" || arguments[0] == "help") {
    std::fputs(Usage().c_str(), arguments.empty() ? stderr : stdout);
    return arguments.empty() ? ExitCode(ErrorKind::kUsage) : 0;
  }
  if (arguments[0] == "--version") {
    std::fputs("tessera " TESSERA_VERSION "\n", stdout);
    return 0;
  }
  const Command& command = FindCommand(arguments[0]);
  const int code = command.run(Arguments(arguments).subspan(1));
  if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0)
    throw Error(ErrorKind::kIo, "cannot write to standard output");
  return code;
}

// One line, whatever the message holds.
void PrintError(const std::string& message) { Log(LogLevel::kError, Printable(message, 2000)); }

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  InstallInterruptHandlers();
  try {
    return Main({argv + 1, argv + std::max(argc, 1)});
  } catch (const Error& error) {
    PrintError(error.what());
    return ExitCode(error.kind());
  } catch (const std::bad_alloc&) {
    PrintError("out of memory");
    return ExitCode(ErrorKind::kMemory);
  } catch (const std::exception& error) {
    PrintError(fmt::format("unexpected: {}", error.what()));
    return 1;
  }
}
