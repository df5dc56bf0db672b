#include "media/picture.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "base/read_file.h"
#include "base/text.h"
#include "media/codecs.h"

namespace tessera {
namespace {

constexpr size_t kMostFileBytes = size_t{1} << 28;

PictureFormat FormatByContent(const PictureFile& file) {
  const std::string_view bytes = file.bytes;
  if (bytes.empty()) RefusePicture(file, "is empty, a PNG, JPEG or WebP picture is needed");
  if (bytes.starts_with("\x89PNG\r\n\x1a\n")) return PictureFormat::kPng;
  if (bytes.starts_with("\xFF\xD8\xFF")) return PictureFormat::kJpeg;
  if (bytes.starts_with("RIFF") && bytes.substr(0, 12).ends_with("WEBP")) return PictureFormat::kWebp;
  RefusePicture(file, "is not a PNG, JPEG or WebP picture");
}

DecodedPicture Decode(const PictureFile& file) {
  switch (FormatByContent(file)) {
    case PictureFormat::kPng:
      return DecodePng(file);
    case PictureFormat::kJpeg:
      return DecodeJpeg(file);
    case PictureFormat::kWebp:
      return DecodeWebp(file);
  }
  return {};
}

// EXIF orientations as three independent steps: mirror rows, mirror columns, swap the axes.
struct Turn {
  int flip_rows = 0, flip_columns = 0, swap_axes = 0;
};
constexpr Turn kTurns[9] = {{}, {0, 0, 0}, {0, 1, 0}, {1, 1, 0}, {1, 0, 0}, {0, 0, 1}, {1, 0, 1}, {1, 1, 1}, {0, 1, 1}};

Picture TurnUpright(DecodedPicture decoded) {
  if (decoded.orientation == 1) return std::move(decoded.picture);
  const Turn turn = kTurns[decoded.orientation];
  const Picture& in = decoded.picture;
  Picture out{turn.swap_axes ? in.width : in.height, turn.swap_axes ? in.height : in.width,
              std::vector<uint8_t>(in.rgb.size())};
  uint8_t* pixel = out.rgb.data();
  for (int64_t y = 0; y < out.height; ++y) {
    for (int64_t x = 0; x < out.width; ++x, pixel += 3) {
      const int64_t row = turn.swap_axes ? x : y, column = turn.swap_axes ? y : x;
      const int64_t from_row = turn.flip_rows ? in.height - 1 - row : row;
      const int64_t from_column = turn.flip_columns ? in.width - 1 - column : column;
      std::memcpy(pixel, in.rgb.data() + (from_row * in.width + from_column) * 3, 3);
    }
  }
  return out;
}

}  // namespace

void RefusePicture(const PictureFile& file, std::string_view reason) {
  throw Error(ErrorKind::kFormat, fmt::format("{}: {}", Printable(file.name), Printable(reason, 300)));
}

void CheckPictureSize(const PictureFile& file, int64_t height, int64_t width) {
  if (height <= 0 || width <= 0) RefusePicture(file, fmt::format("has no pixels ({} x {})", width, height));
  if (height > file.most_pixels / width) {
    RefusePicture(file, fmt::format("has {} x {} pixels, at most {} million are read", width, height,
                                    file.most_pixels / 1000000));
  }
}

Picture BlankPicture(const PictureFile& file, int64_t height, int64_t width) {
  CheckPictureSize(file, height, width);
  return {height, width, std::vector<uint8_t>(static_cast<size_t>(height * width * 3))};
}

void CheckPictureText(const PictureText& text) {
  for (const auto& [key, value] : text) {
    const bool printable = std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 0x7F; });
    if (key.empty() || key.size() > 79 || !printable) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("a picture cannot hold text under the key '{}'", Printable(key)));
    }
    if (!IsUtf8(value) || value.find('\0') != std::string::npos) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("a picture cannot hold '{}' as text under '{}', valid UTF-8 without NUL is needed",
                              Printable(value, 40), key));
    }
  }
}

std::string_view Extension(PictureFormat format) noexcept {
  switch (format) {
    case PictureFormat::kPng:
      return "png";
    case PictureFormat::kJpeg:
      return "jpg";
    case PictureFormat::kWebp:
      return "webp";
  }
  return "";
}

std::optional<PictureFormat> PictureFormatOf(std::string_view extension) noexcept {
  const auto is = [&](std::string_view name) {
    return std::equal(extension.begin(), extension.end(), name.begin(), name.end(),
                      [](char a, char b) { return (a >= 'A' && a <= 'Z' ? a - 'A' + 'a' : a) == b; });
  };
  if (is("png")) return PictureFormat::kPng;
  if (is("jpg") || is("jpeg")) return PictureFormat::kJpeg;
  if (is("webp")) return PictureFormat::kWebp;
  return std::nullopt;
}

Picture DecodePicture(std::string_view bytes, std::string_view name, int64_t most_pixels) {
  return TurnUpright(Decode({bytes, name, most_pixels}));
}

Picture ReadPicture(const std::filesystem::path& path, int64_t most_pixels) {
  return DecodePicture(ReadWholeFile(path, kMostFileBytes), path.native(), most_pixels);
}

std::map<std::string, std::string> DecodePictureText(std::string_view bytes, std::string_view name) {
  const PictureFile file{bytes, name};
  switch (FormatByContent(file)) {
    case PictureFormat::kPng:
      return ReadPngText(file);
    case PictureFormat::kJpeg:
      return ReadJpegText(file);
    case PictureFormat::kWebp:
      return ReadWebpText(file);
  }
  return {};
}

std::map<std::string, std::string> ReadPictureText(const std::filesystem::path& path) {
  return DecodePictureText(ReadWholeFile(path, kMostFileBytes), path.native());
}

std::vector<uint8_t> EncodePicture(const Picture& picture, const PictureEncoding& encoding) {
  TESSERA_CHECK(picture.height > 0 && picture.width > 0 && encoding.quality >= 1 && encoding.quality <= 100);
  TESSERA_CHECK(static_cast<int64_t>(picture.rgb.size()) == picture.height * picture.width * 3);
  CheckPictureText(encoding.text);
  switch (encoding.format) {
    case PictureFormat::kPng:
      return EncodePng(picture, encoding.text);
    case PictureFormat::kJpeg:
      return EncodeJpeg(picture, encoding.quality, encoding.text);
    case PictureFormat::kWebp:
      return EncodeWebp(picture, encoding.quality, encoding.text);
  }
  return {};
}

Picture Crop(const Picture& picture, int64_t top, int64_t left, int64_t height, int64_t width) {
  TESSERA_CHECK(top >= 0 && left >= 0 && height > 0 && width > 0);
  TESSERA_CHECK(top + height <= picture.height && left + width <= picture.width);
  Picture part{height, width, std::vector<uint8_t>(static_cast<size_t>(height * width * 3))};
  for (int64_t y = 0; y < height; ++y) {
    std::memcpy(part.rgb.data() + y * width * 3, picture.rgb.data() + ((top + y) * picture.width + left) * 3,
                static_cast<size_t>(width * 3));
  }
  return part;
}

}  // namespace tessera
