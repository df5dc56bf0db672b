// Films on disk: MP4, WebM, animated WebP, GIF and folders of PNG frames, written frame by frame.
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "media/picture.h"

namespace tessera {

enum class FilmFormat { kMp4, kWebm, kWebp, kGif, kFrames };

// By extension (mp4 webm webp gif, any case), or kFrames for a path that ends in '/'. Throws Error{kUsage} for any
// other, naming these.
FilmFormat FilmFormatOf(const std::filesystem::path& path);

// Frames per second.
struct FrameRate {
  int64_t numerator = 24, denominator = 1;
};
// The fraction that is meant: 24 -> 24/1, 23.976 and 23.98 -> 24000/1001, 12.5 -> 25/2. Throws Error{kUsage} outside
// of 0.01..1000 and for what is not a number.
FrameRate MakeFrameRate(double frames_per_second);

struct FilmEncoding {
  FilmFormat format = FilmFormat::kMp4;
  int64_t height = 0, width = 0;
  FrameRate frame_rate{};
  // 1..100. MP4: H.264 with the constant rate factor imageio gives to this quality, so that SGLang's 50 is 50 here
  // (51 * (1 - quality / 100), never the lossless 0, which few players show). WebM: VP9, 63 * (1 - quality / 100).
  // WebP: as for pictures, 100 is lossless. GIF: from 90 on all 256 colours, below proportionally fewer. Frames:
  // unused.
  int quality = 50;
  // As in PictureEncoding. MP4 and WebM: `parameters` is the comment, the rest is JSON in the description. GIF: the
  // same in one comment each. WebP and PNG frames: as in pictures.
  std::map<std::string, std::string> text{};
};

// One film being written. Nothing is to be seen at its path until Finish() returns; without it, and after an Error,
// nothing stays behind. The same frames give the same bytes, whatever the machine has in threads.
class FilmWriter {
 public:
  virtual ~FilmWriter() = default;
  FilmWriter(const FilmWriter&) = delete;
  FilmWriter& operator=(const FilmWriter&) = delete;

  // The next frame, of the film's size; it may go when this returns. Throws Error{kIo, kMemory, kUnsupported}; then the
  // film is lost.
  void Add(const Picture& frame);
  void Finish();  // once, as the last call; throws as Add does, and without frames

 protected:
  explicit FilmWriter(const FilmEncoding& encoding) : encoding_(encoding) {}
  const FilmEncoding& encoding() const noexcept { return encoding_; }
  int64_t frames() const noexcept { return frames_; }  // before the present one

 private:
  virtual void AddFrame(const Picture& frame) = 0;
  virtual void Complete() = 0;

  FilmEncoding encoding_;
  int64_t frames_ = 0;
  bool finished_ = false;
};

// Opens the encoder and a temporary file at once, so that what cannot work fails before the first frame is made.
// Throws Error{kUsage}: size, rate or quality outside of any range; Error{kUnsupported}: what the format cannot hold,
// or no encoder for it in the FFmpeg libraries present; Error{kIo}: a place that cannot be written. H.264 has even
// sides only: a film with an odd one is padded by one row or column, equal to its neighbour. An existing folder of
// frames is replaced if it holds nothing else.
std::unique_ptr<FilmWriter> OpenFilm(const std::filesystem::path& path, const FilmEncoding& encoding);

// Text of a film OpenFilm wrote, told by content; of other programs' films the comment as `parameters`, the description
// as `description`. Of a folder: its first frame's. Throws Error{kIo, kFormat}.
std::map<std::string, std::string> ReadFilmText(const std::filesystem::path& path);
// The same of a folder of frames, MP4, WebM or GIF; what is none of them is read as a picture, see ReadPictureText.
std::map<std::string, std::string> ReadMediaText(const std::filesystem::path& path);

}  // namespace tessera
