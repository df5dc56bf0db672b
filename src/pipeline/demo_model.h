// Where the built-in demo model lies: beside an installed binary, or in the source folder it was built from.
#pragma once
#include <filesystem>

namespace tessera {

// Folder of the demo checkpoint for the running program. Throws Error{kIo} naming the places tried.
std::filesystem::path DemoModelPath();

// The same for a program at `executable`: <prefix>/share/tessera/models/demo for <prefix>/bin/<program>,
// models/demo in a folder above it (a build folder inside the source folder), the source folder of this build.
std::filesystem::path DemoModelPathFor(const std::filesystem::path& executable);

}  // namespace tessera
