// Names of temporary files and folders that a dying process has to remove.
#pragma once
#include <string>

namespace tessera {

// A place in the list, or -1 when there is none left or the path is too long.
int RememberUnfinished(const std::string& path) noexcept;
void ForgetUnfinished(int place) noexcept;  // -1: nothing

// Removes the files, and the folders with the files in them; may be called from a signal handler before the process
// ends.
void RemoveUnfinishedFiles() noexcept;

}  // namespace tessera
