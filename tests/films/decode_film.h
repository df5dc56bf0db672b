// Films read back by other programs' decoders: FFmpeg for MP4, WebM and GIF, libwebpdemux for WebP, libpng for folders.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "media/film.h"
#include "media/picture.h"

namespace tessera {

struct DecodedFilm {
  std::vector<Picture> frames;
  std::vector<double> begins;  // of each frame, in seconds; none for folders
  std::string codec, pixel_format, matrix;
};
DecodedFilm DecodeFilm(const std::filesystem::path& path);

// A smooth moving pattern: waves of each colour that drift, and a disc that crosses the picture.
Picture PatternFrame(int64_t height, int64_t width, int64_t index);
std::filesystem::path WritePattern(const std::filesystem::path& path, const FilmEncoding& encoding, int64_t frames);

double Psnr(const Picture& a, const Picture& b);  // dB over all values; 100 for equal ones

inline constexpr FilmFormat kFilmFormats[] = {FilmFormat::kMp4, FilmFormat::kWebm, FilmFormat::kWebp, FilmFormat::kGif,
                                              FilmFormat::kFrames};
std::string FilmName(FilmFormat format);  // "film.mp4" ... "film"

}  // namespace tessera
