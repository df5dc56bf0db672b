// FFmpeg's objects as values, and its files as ours.
#pragma once
#include <exception>
#include <memory>
#include <new>
#include <string>

#include "base/atomic_file.h"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavformat/avformat.h>
#include <libswscale/swscale.h>
}

namespace tessera {

// Silences FFmpeg: its messages go to stderr, but what they say and when belongs to tessera's one line. The level is
// global in the library (x264 obeys it, too), is set once by the first caller and never changed again.
void SilenceLibav();

std::string LibavReason(int error);  // an AVERROR in words, lower case

struct FreeLibav {
  void operator()(AVCodecContext* context) const noexcept { avcodec_free_context(&context); }
  void operator()(AVFrame* frame) const noexcept { av_frame_free(&frame); }
  void operator()(AVPacket* packet) const noexcept { av_packet_free(&packet); }
  void operator()(SwsContext* scaler) const noexcept { sws_freeContext(scaler); }
  void operator()(AVDictionary* dictionary) const noexcept { av_dict_free(&dictionary); }
  void operator()(AVFormatContext* context) const noexcept { avformat_free_context(context); }
  void operator()(AVIOContext* stream) const noexcept {
    av_freep(&stream->buffer);
    avio_context_free(&stream);
  }
};
template <typename T>
using Libav = std::unique_ptr<T, FreeLibav>;

// What FFmpeg allocated. Throws std::bad_alloc for null.
template <typename T>
Libav<T> Owned(T* object) {
  if (object == nullptr) throw std::bad_alloc();
  return Libav<T>(object);
}

// A muxer (MP4, Matroska ...) whose file is an AtomicFile. No exception crosses FFmpeg: what the file throws is kept
// and thrown by the call of ours that follows.
class FilmMuxer {
 public:
  FilmMuxer(const std::filesystem::path& path, const char* muxer);
  ~FilmMuxer();
  FilmMuxer(const FilmMuxer&) = delete;
  FilmMuxer& operator=(const FilmMuxer&) = delete;

  AVFormatContext* context() const noexcept { return context_.get(); }
  // For a result of a call that may have written; throws what the file threw, else Error{kIo} for a negative one.
  void Check(int result) const;
  void Commit();

 private:
  // One position in the file; the muxer opens a second one to move what it wrote.
  struct Stream {
    FilmMuxer* muxer = nullptr;
    int64_t position = 0;
    Libav<AVIOContext> libav{};
  };
  static std::unique_ptr<Stream> OpenStream(FilmMuxer* muxer, int writes);
  template <typename Action>
  static int Guarded(void* opaque, Action action) noexcept;
  static int Read(void* opaque, uint8_t* bytes, int count) noexcept;
  static int Write(void* opaque, const uint8_t* bytes, int count) noexcept;
  static int64_t Seek(void* opaque, int64_t offset, int whence) noexcept;
  static int OpenAgain(AVFormatContext* context, AVIOContext** stream, const char* url, int flags,
                       AVDictionary** options) noexcept;
  static int CloseAgain(AVFormatContext* context, AVIOContext* stream) noexcept;

  std::string name_;
  AtomicFile file_;
  int64_t size_ = 0;
  std::exception_ptr failure_;
  std::unique_ptr<Stream> stream_, again_;
  Libav<AVFormatContext> context_;
};

}  // namespace tessera
