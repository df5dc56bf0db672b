// Pictures on disk: PNG, JPEG and WebP, with text metadata.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

struct PictureSize {
  int64_t height = 0, width = 0;  // pixels
  bool operator==(const PictureSize&) const = default;
};

struct Picture {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

enum class PictureFormat { kPng, kJpeg, kWebp };
std::string_view Extension(PictureFormat format) noexcept;                          // "png", "jpg", "webp"
std::optional<PictureFormat> PictureFormatOf(std::string_view extension) noexcept;  // png jpg jpeg webp, any case

inline constexpr int64_t kMostPixels = int64_t{1} << 26;

// Reads any of the three by content (never by name), upright (EXIF orientation applied) and as RGB, as diffusers'
// load_image does: alpha is dropped, grey and palettes are expanded, CMYK converted, 16 bit cut to the upper 8.
// Throws Error{kIo, kFormat}; refuses pictures over `most_pixels` by their header, and animations.
Picture ReadPicture(const std::filesystem::path& path, int64_t most_pixels = kMostPixels);
// The same for a file in memory; `name` is used in messages.
Picture DecodePicture(std::string_view bytes, std::string_view name, int64_t most_pixels = kMostPixels);

// Text keys of a picture as UTF-8: PNG tEXt, zTXt and iTXt; JPEG and WebP: the EXIF fields EncodePicture writes.
std::map<std::string, std::string> ReadPictureText(const std::filesystem::path& path);
std::map<std::string, std::string> DecodePictureText(std::string_view bytes, std::string_view name);

struct PictureEncoding {
  PictureFormat format = PictureFormat::kPng;
  int quality = 95;  // JPEG, WebP: 1..100 (WebP 100: lossless)
  // UTF-8 without NUL; keys of 1..79 printable ASCII characters. PNG: tEXt where Latin-1 suffices, else iTXt. JPEG and
  // WebP: `parameters` is the EXIF user comment, where other programs look for it; the rest is JSON in the description.
  std::map<std::string, std::string> text{};
};
// The file's bytes, the same for the same input. Throws Error{kUnsupported} for what the format cannot hold: too many
// rows or columns, in a JPEG more than 64 KiB of text.
std::vector<uint8_t> EncodePicture(const Picture& picture, const PictureEncoding& encoding);

// Resampling as PIL's resize on RGB bytes, byte for byte, in 22-bit fixed point. As Pillow 13 does it: columns first,
// but rows first where the height shrinks by more than twice what the width does (earlier versions: always columns
// first).
enum class Resample { kLanczos, kBicubic, kBilinear };
Picture Resize(const Picture& picture, int64_t height, int64_t width, Resample filter);
// The part that begins at (top, left); it must lie inside the picture.
Picture Crop(const Picture& picture, int64_t top, int64_t left, int64_t height, int64_t width);

}  // namespace tessera
