// Films read through FFmpeg's libraries.
#pragma once
#include <functional>

#include "media/picture.h"
#include "media/video/libav.h"

namespace tessera {

struct CloseFilmInput {
  void operator()(AVFormatContext* context) const noexcept { avformat_close_input(&context); }
};
using FilmInput = std::unique_ptr<AVFormatContext, CloseFilmInput>;

// `demuxers`: FFmpeg's names, separated by commas. Throws Error{kFormat}.
FilmInput OpenFilmInput(const std::filesystem::path& path, const char* demuxers);

// Every frame of the first video stream as RGB, in order. Throws Error{kFormat} and what `take` throws.
void DecodeVideo(const std::filesystem::path& path, const std::function<void(Picture)>& take);

}  // namespace tessera
