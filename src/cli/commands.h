// The subcommands of `tessera`: each gets its arguments without the program and command names and returns the exit
// code.
#pragma once
#include <span>
#include <string>

namespace tessera {

using Arguments = std::span<const std::string>;

int GenerateCommand(Arguments arguments);
int TokenizeCommand(Arguments arguments);
int BackendsCommand(Arguments arguments);
int ExplainCommand(Arguments arguments);
int BenchCommand(Arguments arguments);
int PerfCompareCommand(Arguments arguments);
int AttendCommand(Arguments arguments);
int AttentionSearchCommand(Arguments arguments);
int CompareCommand(Arguments arguments);
int MakeRandomModelCommand(Arguments arguments);

}  // namespace tessera
