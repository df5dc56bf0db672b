// Films as folders of PNG frames: 00000.png, 00001.png, ...
#include <algorithm>

#include <fmt/format.h>

#include "base/atomic_folder.h"
#include "media/film_formats.h"

namespace tessera {
namespace {

constexpr std::string_view kExtension = ".png";
constexpr size_t kDigits = 5;

bool IsFrameName(std::string_view name) {
  if (!name.ends_with(kExtension)) return false;
  name.remove_suffix(kExtension.size());
  return name.size() >= kDigits && std::all_of(name.begin(), name.end(), [](char c) { return c >= '0' && c <= '9'; });
}

class FrameFolder final : public FilmWriter {
 public:
  FrameFolder(const std::filesystem::path& path, const FilmEncoding& encoding)
      : FilmWriter(encoding), folder_(path, IsFrameName) {}

 private:
  void AddFrame(const Picture& frame) override {
    const PictureEncoding png{.format = PictureFormat::kPng, .text = encoding().text};
    const std::vector<uint8_t> bytes = EncodePicture(frame, png);
    folder_.WriteFile(FrameFileName(frames()), std::as_bytes(std::span(bytes)));
  }
  void Complete() override { folder_.Commit(); }

  AtomicFolder folder_;
};

}  // namespace

std::string FrameFileName(int64_t index) { return fmt::format("{:0{}}{}", index, kDigits, kExtension); }

std::unique_ptr<FilmWriter> OpenFrameFolder(const std::filesystem::path& path, const FilmEncoding& encoding) {
  return std::make_unique<FrameFolder>(path, encoding);
}

}  // namespace tessera
