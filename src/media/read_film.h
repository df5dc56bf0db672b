// Films read back as frames.
#pragma once
#include <filesystem>
#include <vector>

#include "media/picture.h"

namespace tessera {

// Of all frames of a film together: they are kept in memory.
inline constexpr int64_t kMostFilmPixels = int64_t{1} << 29;

// The frames of a folder (00000.png, 00001.png, ...), of an MP4, WebM, GIF or animated WebP, or a picture as its only
// frame; told by content, all of one size. Throws Error{kIo, kFormat, kUnsupported}: also when they are too many to
// keep, and MP4, WebM and GIF without tessera's module for FFmpeg.
std::vector<Picture> ReadFilm(const std::filesystem::path& path);

}  // namespace tessera
