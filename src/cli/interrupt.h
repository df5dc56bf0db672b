// What happens on Ctrl-C.
#pragma once

namespace tessera {

// On SIGINT, SIGTERM and SIGHUP: removes unfinished files, says so in one line and ends the process with 128 + signal,
// at once, also in the middle of a step. A file that grows over the process's limit is an error of its writer, no
// signal.
void InstallInterruptHandlers();

}  // namespace tessera
