// Films as GIF (Graphics Interchange Format 89a): a palette for each frame, repeated without end.
#include <algorithm>
#include <bit>

#include <fmt/format.h>

#include "base/atomic_file.h"
#include "base/error.h"
#include "base/read_file.h"
#include "base/text.h"
#include "media/film_formats.h"
#include "media/gif_lzw.h"
#include "media/gif_palette.h"

namespace tessera {
namespace {

constexpr int64_t kTicks = 100;  // times are in hundredths of a second
constexpr int64_t kMostTicks = 65535;
constexpr int kFullColourQuality = 90, kFewestColours = 8;
constexpr size_t kMostBlock = 255, kMostFileBytes = size_t{1} << 31, kMostText = size_t{1} << 22;
constexpr char kExtensionMark = 0x21, kImageMark = 0x2C, kEndMark = 0x3B;
constexpr char kComment = '\xFE', kControl = '\xF9', kApplication = '\xFF';

std::string Short(int64_t value) { return {static_cast<char>(value & 0xFF), static_cast<char>(value >> 8 & 0xFF)}; }

std::string CommentBlock(std::string_view text) {
  std::string block{kExtensionMark, kComment};
  for (; !text.empty(); text.remove_prefix(std::min(kMostBlock, text.size()))) {
    const std::string_view part = text.substr(0, kMostBlock);
    block += static_cast<char>(part.size());
    block += part;
  }
  return block + '\0';
}

std::string Begin(const FilmEncoding& encoding) {
  std::string bytes = "GIF89a" + Short(encoding.width) + Short(encoding.height) + std::string("\x70\0\0", 3);
  bytes += std::string{kExtensionMark, kApplication, 11} + "NETSCAPE2.0" + std::string("\x03\x01\0\0\0", 5);
  const FilmComment comment = SplitFilmText(encoding.text);
  if (comment.has_parameters) bytes += CommentBlock(comment.parameters);
  if (!comment.description.empty()) bytes += CommentBlock(comment.description);
  return bytes;
}

class GifFilm final : public FilmWriter {
 public:
  GifFilm(const std::filesystem::path& path, const FilmEncoding& encoding)
      : FilmWriter(encoding),
        file_(path),
        colours_(std::clamp(256 * encoding.quality / kFullColourQuality, kFewestColours, 256)) {
    Put(Begin(encoding));
  }

 private:
  void AddFrame(const Picture& frame) override {
    const IndexedPicture indexed = ReduceColours(frame, colours_);
    const int bits = std::max(1, static_cast<int>(std::bit_width(indexed.palette.size() - 1)));
    const int64_t from = FrameTick(encoding().frame_rate, frames(), kTicks);
    const int64_t until = FrameTick(encoding().frame_rate, frames() + 1, kTicks);
    // A control block: leave the frame in place, no transparent colour.
    std::string bytes{kExtensionMark, kControl, 4, 4};
    bytes += Short(std::min(until - from, kMostTicks)) + std::string(2, '\0');
    bytes += kImageMark + Short(0) + Short(0) + Short(frame.width) + Short(frame.height);
    bytes += static_cast<char>(0x80 | (bits - 1));
    for (const auto& colour : indexed.palette) bytes.append(colour.begin(), colour.end());
    bytes.append(((size_t{1} << bits) - indexed.palette.size()) * 3, '\0');
    AppendLzw(bytes, indexed.pixels, std::max(2, bits));
    Put(bytes);
  }

  void Complete() override {
    Put(std::string(1, kEndMark));
    file_.Commit();
  }

  void Put(const std::string& bytes) { file_.Write(std::as_bytes(std::span(bytes))); }

  AtomicFile file_;
  int colours_;
};

// Goes through the blocks of a GIF; a cut or damaged file ends early.
class GifBlocks {
 public:
  explicit GifBlocks(std::string_view bytes) : rest_(bytes) {
    Take(6);
    const std::string_view screen = Take(7);
    if (screen.size() == 7) SkipPalette(screen[4]);
  }

  // All comments before and between the frames.
  std::vector<std::string> Comments() {
    std::vector<std::string> comments;
    for (std::string_view mark; (mark = Take(1)).size() == 1;) {
      if (mark[0] == kExtensionMark) {
        const bool comment = Take(1) == std::string_view(&kComment, 1);
        std::string text = SubBlocks();
        if (comment) comments.push_back(std::move(text));
      } else if (mark[0] == kImageMark) {
        const std::string_view image = Take(9);
        if (image.size() == 9) SkipPalette(image[8]);
        Take(1);
        SubBlocks();
      } else {
        break;
      }
    }
    return comments;
  }

 private:
  std::string_view Take(size_t count) {
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  void SkipPalette(char flags) {
    if ((flags & 0x80) != 0) Take(size_t{3} << ((flags & 7) + 1));
  }
  std::string SubBlocks() {
    std::string text;
    for (std::string_view size; !(size = Take(1)).empty() && size[0] != 0;) {
      const std::string_view part = Take(static_cast<unsigned char>(size[0]));
      if (text.size() < kMostText) text += part;
    }
    return text;
  }

  std::string_view rest_;
};

}  // namespace

std::unique_ptr<FilmWriter> OpenGifFilm(const std::filesystem::path& path, const FilmEncoding& encoding) {
  const FrameRate& rate = encoding.frame_rate;
  if (rate.denominator * kTicks > kMostTicks * rate.numerator) {
    throw Error(ErrorKind::kUnsupported, "a frame of a GIF lasts 655 seconds at most");
  }
  return std::make_unique<GifFilm>(path, encoding);
}

FilmText ReadGifText(const std::filesystem::path& path) {
  const std::vector<std::string> comments = GifBlocks(ReadWholeFile(path, kMostFileBytes)).Comments();
  const auto text = [](const std::string& comment) { return IsUtf8(comment) ? comment : Printable(comment); };
  if (comments.size() >= 2) return JoinFilmText({true, text(comments[0]), text(comments[1])});
  if (comments.empty()) return {};
  // A single one is ours when it is our JSON, else another program's.
  FilmComment single{false, "", text(comments[0])};
  const FilmText own = JoinFilmText(single);
  const auto description = own.find("description");
  if (description == own.end() || description->second != single.description) return own;
  return {{"parameters", single.description}};
}

}  // namespace tessera
