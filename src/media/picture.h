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

struct Picture {
  int64_t height = 0, width = 0;
  std::vector<uint8_t> rgb;  // [height, width, 3]
};

enum class PictureFormat { kPng, kJpeg, kWebp };
std::string_view Extension(PictureFormat format) noexcept;  // "png", "jpg", "webp"
std::optional<PictureFormat> PictureFormatOf(std::string_view extension) noexcept;  // png jpg jpeg webp, any case

// Reads any of the three by content (never by name). Alpha is dropped as PIL's convert("RGB") does, grey and palettes are
// expanded, 16 bit reduced. Throws Error{kIo, kFormat}; refuses pictures over `most_pixels` by their header.
Picture ReadPicture(const std::filesystem::path& path, int64_t most_pixels = int64_t{1} << 26);

// Text keys of a picture: PNG tEXt/iTXt, JPEG and WebP: an XMP/EXIF comment holding the same keys.
std::map<std::string, std::string> ReadPictureText(const std::filesystem::path& path);

struct PictureEncoding {
  PictureFormat format = PictureFormat::kPng;
  int quality = 95;                            // JPEG, WebP: 1..100 (WebP 100: lossless)
  std::map<std::string, std::string> text;     // UTF-8
};
std::vector<uint8_t> EncodePicture(const Picture& picture, const PictureEncoding& encoding);

// Resampling as PIL's resize on RGB bytes (two passes, 8-bit fixed point): byte for byte.
enum class Resample { kLanczos, kBicubic, kBilinear };
Picture Resize(const Picture& picture, int64_t height, int64_t width, Resample filter);
Picture Crop(const Picture& picture, int64_t top, int64_t left, int64_t height, int64_t width);

}  // namespace tessera
