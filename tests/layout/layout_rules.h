// The rules of the source tree that a compiler does not check. Each returns one line per violation: "file:line: what".
#pragma once
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace tessera::layout {

using Violations = std::vector<std::string>;

// `source` is the folder that holds base/, tensor/, ... (src/ of the repository).
Violations UpwardIncludes(const std::filesystem::path& source);
Violations HeadersInPluginFolders(const std::filesystem::path& source);
// A registered plug-in's name as a string, or its .cc in an include, anywhere but in its own file.
Violations PluginNamesElsewhere(const std::filesystem::path& source);
Violations EnvironmentReaders(const std::filesystem::path& source);

// `root` is any folder of C++ files.
Violations LongFiles(const std::filesystem::path& root, int limit);
Violations BannedNames(const std::filesystem::path& root);

// Weak symbols exported by object files of one instruction set: the linker could hand such code to every machine.
bool IsInstructionSetObject(const std::filesystem::path& object);
Violations WeakSymbols(std::span<const std::filesystem::path> objects, const std::string& nm);

}  // namespace tessera::layout
