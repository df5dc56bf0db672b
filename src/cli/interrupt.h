// What happens on Ctrl-C.
#pragma once

namespace tessera {

// On SIGINT, SIGTERM and SIGHUP: removes unfinished files, says so in one line and ends the process with 128 + signal,
// at once, also in the middle of a step.
void InstallInterruptHandlers();

}  // namespace tessera
