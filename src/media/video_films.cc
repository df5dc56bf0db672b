#include "media/video_films.h"

#include <dlfcn.h>

#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void Refuse(const std::string& why) {
  throw Error(
      ErrorKind::kUnsupported,
      fmt::format("MP4 and WebM films need tessera's module {}, which {}; webp, gif and a folder of frames work "
                  "without",
                  kVideoFilmsModule, why));
}

const VideoFilms& Load(const fs::path& path) {
  const auto reason = [] {
    const char* text = dlerror();
    return Printable(text != nullptr ? text : "no reason given");
  };
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (library == nullptr) Refuse(fmt::format("cannot be loaded ({})", reason()));
  const auto* films = static_cast<const VideoFilms*>(dlsym(library, kVideoFilmsSymbol));
  if (films == nullptr) Refuse(fmt::format("is another library ({})", reason()));
  if (std::strcmp(films->version, TESSERA_VERSION) != 0) {
    Refuse(fmt::format("is of version {} at '{}', but this program of {}", Printable(films->version),
                       Printable(path.string()), TESSERA_VERSION));
  }
  return *films;
}

const VideoFilms& Loaded() {
  static const VideoFilms& films = []() -> const VideoFilms& {
    std::error_code error;
    const fs::path executable = fs::read_symlink("/proc/self/exe", error);
    return LoadVideoFilms(VideoModulePaths(error ? fs::path() : executable));
  }();
  return films;
}

}  // namespace

std::vector<fs::path> VideoModulePaths(const fs::path& executable) {
  std::vector<fs::path> paths;
  if (executable.has_parent_path()) {
    const fs::path folder = executable.parent_path();
    paths.push_back(folder / kVideoFilmsModule);
    paths.push_back(folder.parent_path() / "lib/tessera" / kVideoFilmsModule);
  }
  paths.emplace_back(TESSERA_BUILT_VIDEO_MODULE);
  return paths;
}

const VideoFilms& LoadVideoFilms(const std::vector<fs::path>& paths) {
  std::vector<std::string> tried;
  for (const fs::path& path : paths) {
    std::error_code ignored;
    if (fs::exists(path, ignored)) return Load(path);
    tried.push_back(Printable(path.parent_path().string()));
  }
  Refuse("is in none of " + Join(tried, ", "));
}

std::unique_ptr<FilmWriter> OpenVideoFilm(const fs::path& path, const FilmEncoding& encoding) {
  return Loaded().open(path, encoding, MachineIsa());
}

void ReadVideoFrames(const fs::path& path, const std::function<void(Picture)>& take) {
  Loaded().read_frames(path, take);
}

FilmText ReadVideoText(const fs::path& path) { return Loaded().read_text(path); }

}  // namespace tessera
