// Films as animated WebP, by libwebpmux. Compressed frames stay in memory until the film is finished: the container
// begins with its length. A frame equal to the one before makes that one last longer.
#include <webp/encode.h>
#include <webp/mux.h>

#include <fmt/format.h>

#include "base/atomic_file.h"
#include "base/check.h"
#include "base/error.h"
#include "base/text.h"
#include "media/exif.h"
#include "media/film_formats.h"
#include "media/webp_parts.h"

namespace tessera {
namespace {

constexpr int64_t kTicks = 1000;  // times are in milliseconds

struct FreeEncoder {
  void operator()(WebPAnimEncoder* encoder) const { WebPAnimEncoderDelete(encoder); }
};

// Memory of the library, freed with the object.
struct AssembledWebp : WebPData {
  AssembledWebp() : WebPData{} { WebPDataInit(this); }
  ~AssembledWebp() { WebPDataClear(this); }
  AssembledWebp(const AssembledWebp&) = delete;
  AssembledWebp& operator=(const AssembledWebp&) = delete;
};

struct WebpFrame : WebPPicture {
  explicit WebpFrame(const Picture& picture) : WebPPicture{} {
    TESSERA_CHECK(WebPPictureInit(this));
    use_argb = 1;
    width = static_cast<int>(picture.width);
    height = static_cast<int>(picture.height);
    imported = WebPPictureImportRGB(this, picture.rgb.data(), static_cast<int>(picture.width * 3)) != 0;
  }
  ~WebpFrame() { WebPPictureFree(this); }
  WebpFrame(const WebpFrame&) = delete;
  WebpFrame& operator=(const WebpFrame&) = delete;
  bool imported = false;
};

class WebpFilm final : public FilmWriter {
 public:
  WebpFilm(const std::filesystem::path& path, const FilmEncoding& encoding)
      : FilmWriter(encoding), name_(Printable(path.string())), file_(path), config_(MakeWebpConfig(encoding.quality)) {
    WebPAnimEncoderOptions options;
    TESSERA_CHECK(WebPAnimEncoderOptionsInit(&options));
    encoder_.reset(WebPAnimEncoderNew(static_cast<int>(encoding.width), static_cast<int>(encoding.height), &options));
    if (encoder_ == nullptr) Fail("out of memory");
  }

 private:
  void AddFrame(const Picture& frame) override {
    WebpFrame webp(frame);
    if (!webp.imported) Fail("out of memory");
    if (!WebPAnimEncoderAdd(encoder_.get(), &webp, Time(frames()), &config_)) Fail(Reason());
  }

  void Complete() override {
    AssembledWebp whole;
    if (!WebPAnimEncoderAdd(encoder_.get(), nullptr, Time(frames()), nullptr) ||
        !WebPAnimEncoderAssemble(encoder_.get(), &whole)) {
      Fail(Reason());
    }
    const std::string exif = MakeExif(encoding().text);
    if (exif.empty()) {
      file_.Write(std::as_bytes(std::span(whole.bytes, whole.size)));
    } else {
      const std::vector<uint8_t> bytes = WithExif(whole, exif);
      file_.Write(std::as_bytes(std::span(bytes)));
    }
    file_.Commit();
  }

  int Time(int64_t index) {
    const int64_t time = FrameTick(encoding().frame_rate, index, kTicks);
    if (time > INT32_MAX) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("cannot write '{}': an animated WebP ends after 24 days", name_));
    }
    return static_cast<int>(time);
  }
  std::string Reason() { return Lower(Printable(WebPAnimEncoderGetError(encoder_.get()))); }
  [[noreturn]] void Fail(std::string_view reason) {
    throw Error(ErrorKind::kMemory, fmt::format("cannot write '{}' as animated WebP: {}", name_, reason));
  }

  std::string name_;
  AtomicFile file_;
  WebPConfig config_;
  std::unique_ptr<WebPAnimEncoder, FreeEncoder> encoder_;
};

}  // namespace

std::unique_ptr<FilmWriter> OpenWebpFilm(const std::filesystem::path& path, const FilmEncoding& encoding) {
  return std::make_unique<WebpFilm>(path, encoding);
}

}  // namespace tessera
