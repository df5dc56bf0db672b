#include <webp/decode.h>

#include <memory>

#include <fmt/format.h>

#include "base/check.h"
#include "base/error.h"
#include "media/codecs.h"
#include "media/exif.h"
#include "media/webp_parts.h"

namespace tessera {
namespace {

constexpr int kLosslessQuality = 100;
// How hard the lossless coder searches, 0..100.
constexpr float kLosslessEffort = 75;

struct FreeMux {
  void operator()(WebPMux* mux) const { WebPMuxDelete(mux); }
};
using Mux = std::unique_ptr<WebPMux, FreeMux>;

const uint8_t* Bytes(std::string_view text) { return reinterpret_cast<const uint8_t*>(text.data()); }

WebPBitstreamFeatures ReadFeatures(const PictureFile& file) {
  WebPBitstreamFeatures features;
  const VP8StatusCode status = WebPGetFeatures(Bytes(file.bytes), file.bytes.size(), &features);
  if (status == VP8_STATUS_NOT_ENOUGH_DATA) RefusePicture(file, "damaged WebP: the file is truncated");
  if (status != VP8_STATUS_OK) RefusePicture(file, "damaged WebP: its header is not valid");
  return features;
}

// A chunk by its four letters, or "".
std::string Chunk(const PictureFile& file, const char* name) {
  const WebPData whole{Bytes(file.bytes), file.bytes.size()};
  const Mux mux(WebPMuxCreate(&whole, 0));
  WebPData chunk{nullptr, 0};
  if (mux == nullptr || WebPMuxGetChunk(mux.get(), name, &chunk) != WEBP_MUX_OK) return "";
  std::string content(reinterpret_cast<const char*>(chunk.bytes), chunk.size);
  // Some programs keep the name JPEG puts in front.
  return content.starts_with("Exif") ? content.substr(6) : content;
}

class WebpEncoder {
 public:
  explicit WebpEncoder(const Picture& picture) : picture_(picture) {
    WebPMemoryWriterInit(&memory_);
    TESSERA_CHECK(WebPPictureInit(&source_));
  }
  ~WebpEncoder() {
    WebPPictureFree(&source_);
    WebPMemoryWriterClear(&memory_);
  }
  WebpEncoder(const WebpEncoder&) = delete;
  WebpEncoder& operator=(const WebpEncoder&) = delete;

  WebPData Encode(const WebPConfig& config) {
    source_.use_argb = config.lossless;
    source_.width = static_cast<int>(picture_.width);
    source_.height = static_cast<int>(picture_.height);
    source_.writer = WebPMemoryWrite;
    source_.custom_ptr = &memory_;
    const int row_bytes = static_cast<int>(picture_.width * 3);
    if (!WebPPictureImportRGB(&source_, picture_.rgb.data(), row_bytes) || !WebPEncode(&config, &source_)) {
      throw Error(ErrorKind::kMemory,
                  fmt::format("out of memory for a WebP of {} x {} pixels", picture_.width, picture_.height));
    }
    return {memory_.mem, memory_.size};
  }

 private:
  const Picture& picture_;
  WebPPicture source_;
  WebPMemoryWriter memory_;
};

}  // namespace

WebPConfig MakeWebpConfig(int quality) {
  WebPConfig config;
  TESSERA_CHECK(WebPConfigInit(&config));
  config.lossless = quality == kLosslessQuality ? 1 : 0;
  config.quality = config.lossless ? kLosslessEffort : static_cast<float>(quality);
  TESSERA_CHECK(WebPValidateConfig(&config));
  return config;
}

std::vector<uint8_t> WithExif(const WebPData& webp, const std::string& exif) {
  const Mux mux(WebPMuxCreate(&webp, 0));
  const WebPData chunk{Bytes(exif), exif.size()};
  WebPData whole{nullptr, 0};
  const bool done = mux != nullptr && WebPMuxSetChunk(mux.get(), "EXIF", &chunk, 0) == WEBP_MUX_OK &&
                    WebPMuxAssemble(mux.get(), &whole) == WEBP_MUX_OK;
  if (!done) throw Error(ErrorKind::kMemory, "out of memory for the text of a WebP");
  const std::unique_ptr<const uint8_t, void (*)(const void*)> owner(
      whole.bytes, [](const void* bytes) { WebPFree(const_cast<void*>(bytes)); });
  return {whole.bytes, whole.bytes + whole.size};
}

DecodedPicture DecodeWebp(const PictureFile& file) {
  const WebPBitstreamFeatures features = ReadFeatures(file);
  if (features.has_animation) RefusePicture(file, "is an animated WebP, a still picture is needed");
  DecodedPicture decoded;
  decoded.picture = BlankPicture(file, features.height, features.width);
  std::vector<uint8_t>& rgb = decoded.picture.rgb;
  if (WebPDecodeRGBInto(Bytes(file.bytes), file.bytes.size(), rgb.data(), rgb.size(), features.width * 3) == nullptr) {
    RefusePicture(file, "damaged WebP: its pixels are corrupt or truncated");
  }
  decoded.orientation = ExifOrientation(Chunk(file, "EXIF"));
  if (decoded.orientation == 1) decoded.orientation = XmpOrientation(Chunk(file, "XMP "));
  return decoded;
}

PictureText ReadWebpText(const PictureFile& file) {
  ReadFeatures(file);
  return ExifText(Chunk(file, "EXIF"));
}

std::vector<uint8_t> EncodeWebp(const Picture& picture, int quality, const PictureText& text) {
  if (picture.width > WEBP_MAX_DIMENSION || picture.height > WEBP_MAX_DIMENSION) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("a WebP cannot hold {} x {} pixels, at most {} each way; PNG would", picture.width,
                            picture.height, WEBP_MAX_DIMENSION));
  }
  WebpEncoder encoder(picture);
  const WebPData still = encoder.Encode(MakeWebpConfig(quality));
  const std::string exif = MakeExif(text);
  if (!exif.empty()) return WithExif(still, exif);
  return {still.bytes, still.bytes + still.size};
}

}  // namespace tessera
