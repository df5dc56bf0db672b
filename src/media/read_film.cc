#include "media/read_film.h"

#include <webp/demux.h>

#include <fstream>
#include <memory>

#include <fmt/format.h>

#include "base/error.h"
#include "base/read_file.h"
#include "base/text.h"
#include "media/codecs.h"
#include "media/film_formats.h"

namespace tessera {
namespace {

constexpr int64_t kMostWebpBytes = int64_t{1} << 30;

void CheckFrames(const std::vector<Picture>& frames, std::string_view name) {
  if (frames.empty()) throw Error(ErrorKind::kFormat, fmt::format("{}: has no frames", name));
  const Picture& first = frames.front();
  const Picture& last = frames.back();
  if (last.height != first.height || last.width != first.width) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: frame {} has {} x {} pixels, those before {} x {}", name,
                                                frames.size() - 1, last.width, last.height, first.width, first.height));
  }
  const int64_t pixels = static_cast<int64_t>(frames.size()) * first.height * first.width;
  if (pixels > kMostFilmPixels) {
    throw Error(ErrorKind::kUnsupported, fmt::format("{}: has more than {} million pixels in all, too many to keep",
                                                     name, kMostFilmPixels / 1000000));
  }
}

std::vector<Picture> ReadFolder(const std::filesystem::path& path, std::string_view name) {
  std::vector<Picture> frames;
  std::error_code ignored;
  for (int64_t i = 0; std::filesystem::exists(path / FrameFileName(i), ignored); ++i) {
    frames.push_back(ReadPicture(path / FrameFileName(i)));
    CheckFrames(frames, name);
  }
  if (!frames.empty()) return frames;
  throw Error(ErrorKind::kFormat, fmt::format("{}: is a folder without frames named {}, {}, ...", name,
                                              FrameFileName(0), FrameFileName(1)));
}

struct FreeDecoder {
  void operator()(WebPAnimDecoder* decoder) const { WebPAnimDecoderDelete(decoder); }
};

Picture FromRgba(const uint8_t* rgba, const WebPAnimInfo& shape) {
  Picture picture{shape.canvas_height, shape.canvas_width, {}};
  const int64_t pixels = picture.height * picture.width;
  picture.rgb.resize(static_cast<size_t>(pixels * 3));
  for (int64_t i = 0; i < pixels; ++i) std::copy_n(rgba + i * 4, 3, picture.rgb.data() + i * 3);
  return picture;
}

std::vector<Picture> ReadWebp(const std::filesystem::path& path, std::string_view name) {
  const std::string bytes = ReadWholeFile(path, kMostWebpBytes);
  const WebPData webp{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, FreeDecoder> decoder(WebPAnimDecoderNew(&webp, nullptr));
  WebPAnimInfo shape;
  if (decoder == nullptr || WebPAnimDecoderGetInfo(decoder.get(), &shape) == 0) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: is not a WebP that can be read", name));
  }
  CheckPictureSize({bytes, name}, shape.canvas_height, shape.canvas_width);
  std::vector<Picture> frames;
  while (WebPAnimDecoderHasMoreFrames(decoder.get()) != 0) {
    uint8_t* rgba = nullptr;
    int end = 0;
    if (WebPAnimDecoderGetNext(decoder.get(), &rgba, &end) == 0) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: is damaged after {} frames", name, frames.size()));
    }
    frames.push_back(FromRgba(rgba, shape));
    CheckFrames(frames, name);
  }
  CheckFrames(frames, name);
  return frames;
}

std::string FirstBytes(const std::filesystem::path& path, std::string_view name) {
  std::error_code ignored;
  std::ifstream file(path, std::ios::binary);
  if (!std::filesystem::is_regular_file(path, ignored) || !file) {
    throw Error(ErrorKind::kIo, fmt::format("cannot open '{}' as a film, a picture or a folder of frames", name));
  }
  return LeadingBytes(file);
}

}  // namespace

std::vector<Picture> ReadFilm(const std::filesystem::path& path) {
  const std::string name = Printable(path.string());
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return ReadFolder(path, name);
  const std::string first = FirstBytes(path, name);
  if (first.starts_with("RIFF") && first.ends_with("WEBP")) return ReadWebp(path, name);
  if (first.starts_with("\x89PNG") || first.starts_with("\xFF\xD8\xFF")) return {ReadPicture(path)};
  std::vector<Picture> frames;
  ReadVideoFrames(path, [&](Picture frame) {
    frames.push_back(std::move(frame));
    CheckFrames(frames, name);
  });
  CheckFrames(frames, name);
  return frames;
}

}  // namespace tessera
