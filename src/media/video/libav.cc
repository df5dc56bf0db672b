#include "media/video/libav.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <new>
#include <type_traits>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

constexpr size_t kBufferBytes = 1 << 16;

// FFmpeg 7 gives its bytes as const.
using WrittenByte = std::conditional_t<(LIBAVFORMAT_VERSION_MAJOR >= 61), const uint8_t, uint8_t>;

}  // namespace

void SilenceLibav() {
  [[maybe_unused]] static const bool silent = [] {
    av_log_set_level(AV_LOG_QUIET);
    return true;
  }();
}

std::string LibavReason(int error) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(error, text.data(), text.size());
  return Lower(text.data());
}

FilmMuxer::FilmMuxer(const std::filesystem::path& path, const char* muxer)
    : name_(Printable(path.string())), file_(path) {
  SilenceLibav();
  AVFormatContext* context = nullptr;
  Check(avformat_alloc_output_context2(&context, nullptr, muxer, nullptr));
  context_.reset(context);
  stream_ = OpenStream(this, 1);
  if (stream_ == nullptr) throw std::bad_alloc();
  context->pb = stream_->libav.get();
  context->opaque = this;
  context->io_open = OpenAgain;
  context->io_close2 = CloseAgain;
  // No time of day, no version, no random numbers.
  context->flags |= AVFMT_FLAG_BITEXACT | AVFMT_FLAG_CUSTOM_IO;
}

FilmMuxer::~FilmMuxer() = default;

void FilmMuxer::Check(int result) const {
  if (failure_) std::rethrow_exception(failure_);
  if (result == AVERROR(ENOMEM)) throw std::bad_alloc();
  if (result < 0) {
    throw Error(ErrorKind::kIo, fmt::format("cannot write '{}': {}", name_, LibavReason(result)));
  }
}

void FilmMuxer::Commit() {
  avio_flush(stream_->libav.get());
  Check(stream_->libav->error);
  file_.Commit();
}

std::unique_ptr<FilmMuxer::Stream> FilmMuxer::OpenStream(FilmMuxer* muxer, int writes) {
  auto stream = std::make_unique<Stream>();
  stream->muxer = muxer;
  auto* buffer = static_cast<unsigned char*>(av_malloc(kBufferBytes));
  if (buffer == nullptr) return nullptr;
  stream->libav.reset(avio_alloc_context(
      buffer, static_cast<int>(kBufferBytes), writes, stream.get(), Read,
      [](void* opaque, WrittenByte* bytes, int count) { return Write(opaque, bytes, count); }, Seek));
  if (stream->libav == nullptr) {
    av_free(buffer);
    return nullptr;
  }
  return stream;
}

template <typename Action>
int FilmMuxer::Guarded(void* opaque, Action action) noexcept {
  auto& stream = *static_cast<Stream*>(opaque);
  try {
    if (!stream.muxer->failure_) return action(stream);
  } catch (...) {
    stream.muxer->failure_ = std::current_exception();
  }
  return AVERROR(EIO);
}

int FilmMuxer::Read(void* opaque, uint8_t* bytes, int count) noexcept {
  return Guarded(opaque, [&](Stream& stream) {
    const auto target = std::as_writable_bytes(std::span(bytes, static_cast<size_t>(count)));
    const int done = static_cast<int>(stream.muxer->file_.ReadAt(stream.position, target));
    stream.position += done;
    return done == 0 ? AVERROR_EOF : done;
  });
}

int FilmMuxer::Write(void* opaque, const uint8_t* bytes, int count) noexcept {
  return Guarded(opaque, [&](Stream& stream) {
    stream.muxer->file_.WriteAt(stream.position, std::as_bytes(std::span(bytes, static_cast<size_t>(count))));
    stream.position += count;
    stream.muxer->size_ = std::max(stream.muxer->size_, stream.position);
    return count;
  });
}

int64_t FilmMuxer::Seek(void* opaque, int64_t offset, int whence) noexcept {
  auto& stream = *static_cast<Stream*>(opaque);
  const int64_t size = stream.muxer->size_;
  switch (whence & ~AVSEEK_FORCE) {
    case AVSEEK_SIZE:
      return size;
    case SEEK_SET:
      break;
    case SEEK_CUR:
      offset += stream.position;
      break;
    case SEEK_END:
      offset += size;
      break;
    default:
      return AVERROR(EINVAL);
  }
  if (offset < 0) return AVERROR(EINVAL);
  return stream.position = offset;
}

int FilmMuxer::OpenAgain(AVFormatContext* context, AVIOContext** stream, const char*, int flags,
                         AVDictionary**) noexcept {
  auto* muxer = static_cast<FilmMuxer*>(context->opaque);
  if ((flags & AVIO_FLAG_WRITE) != 0 || muxer->again_ != nullptr) return AVERROR(EPERM);
  try {
    muxer->again_ = OpenStream(muxer, 0);
  } catch (const std::bad_alloc&) {
  }
  if (muxer->again_ == nullptr) return AVERROR(ENOMEM);
  *stream = muxer->again_->libav.get();
  return 0;
}

int FilmMuxer::CloseAgain(AVFormatContext* context, AVIOContext*) noexcept {
  static_cast<FilmMuxer*>(context->opaque)->again_.reset();
  return 0;
}

}  // namespace tessera
