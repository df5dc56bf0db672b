// Pictures, their text and EXIF blocks from arbitrary bytes: read or refused, never anything else.
#include <cstddef>
#include <cstdint>

#include "base/error.h"
#include "media/exif.h"
#include "media/generation_text.h"
#include "media/picture.h"

using namespace tessera;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t count) {
  const std::string_view file(reinterpret_cast<const char*>(bytes), count);
  constexpr int64_t kMostFuzzPixels = 1 << 18;
  try {
    const Picture picture = DecodePicture(file, "fuzz", kMostFuzzPixels);
    if (picture.rgb.size() != static_cast<size_t>(picture.height * picture.width * 3)) __builtin_trap();
    Resize(picture, 7, 5, Resample::kBicubic);
  } catch (const Error&) {
  }
  try {
    ParsePictureText(DecodePictureText(file, "fuzz"), "fuzz");
  } catch (const Error&) {
  }
  ExifText(file);
  ExifOrientation(file);
  XmpOrientation(file);
  return 0;
}
