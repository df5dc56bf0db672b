// MP4 and WebM films, made by a module of its own (media/video/) that is loaded when the first one is asked for.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "media/film_formats.h"
#include "platform/cpu/cpu.h"

namespace tessera {

// What the module exports under kVideoFilmsSymbol, a constant object. The module takes from the program what the other
// formats' writers use, too; what they do not use (the machine's instructions) is given to it.
struct VideoFilms {
  const char* version;  // the TESSERA_VERSION it is built for: C++ objects cross, so both must agree
  std::unique_ptr<FilmWriter> (*open)(const std::filesystem::path& path, const FilmEncoding& encoding, Isa isa);
  FilmText (*read_text)(const std::filesystem::path& path);  // Throws Error{kIo, kFormat}
  // GIF as well. Throws Error{kIo, kFormat} and what `take` throws.
  void (*read_frames)(const std::filesystem::path& path, const std::function<void(Picture)>& take);
};
inline constexpr const char* kVideoFilmsSymbol = "tessera_video_films";
inline constexpr const char* kVideoFilmsModule = "tessera_video.so";

// Where the module is looked for: beside the program, as installed, where it was built.
std::vector<std::filesystem::path> VideoModulePaths(const std::filesystem::path& executable);

// Loads the first that is there; it stays loaded. Throws Error{kUnsupported}, naming the places or the loader's reason.
const VideoFilms& LoadVideoFilms(const std::vector<std::filesystem::path>& paths);

}  // namespace tessera
