// What picture.cc and the three codecs share.
#pragma once
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "media/picture.h"

namespace tessera {

using PictureText = std::map<std::string, std::string>;

// A file in memory and how messages call it.
struct PictureFile {
  std::string_view bytes;
  std::string_view name;
  int64_t most_pixels = kMostPixels;
};

struct DecodedPicture {
  Picture picture;      // as it is stored
  int orientation = 1;  // EXIF: 1 upright, 2..8 mirrored or turned
};

[[noreturn]] void RefusePicture(const PictureFile& file, std::string_view reason);  // Error{kFormat}
void CheckPictureSize(const PictureFile& file, int64_t height,
                      int64_t width);  // Error{kFormat}: none, or over the limit
// A black picture of that size, checked.
Picture BlankPicture(const PictureFile& file, int64_t height, int64_t width);

// Keys and values a picture can hold, see PictureEncoding::text; Error{kUnsupported} for others.
void CheckPictureText(const PictureText& text);

DecodedPicture DecodePng(const PictureFile& file);
DecodedPicture DecodeJpeg(const PictureFile& file);
DecodedPicture DecodeWebp(const PictureFile& file);

PictureText ReadPngText(const PictureFile& file);
PictureText ReadJpegText(const PictureFile& file);
PictureText ReadWebpText(const PictureFile& file);

std::vector<uint8_t> EncodePng(const Picture& picture, const PictureText& text);
std::vector<uint8_t> EncodeJpeg(const Picture& picture, int quality, const PictureText& text);
std::vector<uint8_t> EncodeWebp(const Picture& picture, int quality, const PictureText& text);

}  // namespace tessera
