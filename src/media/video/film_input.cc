#include "media/video/film_input.h"

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"

namespace tessera {
namespace {

class FilmDecoder {
 public:
  FilmDecoder(const std::filesystem::path& path, const std::function<void(Picture)>& take)
      : name_(Printable(path.string())), take_(take), input_(OpenFilmInput(path, "mov,matroska,gif")) {
    Check(avformat_find_stream_info(input_.get(), nullptr));
    const AVCodec* codec = nullptr;
    stream_ = av_find_best_stream(input_.get(), AVMEDIA_TYPE_VIDEO, -1, -1, &codec, 0);
    Check(stream_);
    decoder_ = Owned(avcodec_alloc_context3(codec));
    decoder_->max_pixels = kMostPixels;
    Check(avcodec_parameters_to_context(decoder_.get(), input_->streams[stream_]->codecpar));
    Check(avcodec_open2(decoder_.get(), codec, nullptr));
  }

  void Run() {
    for (;;) {
      const int read = av_read_frame(input_.get(), packet_.get());
      if (read == AVERROR_EOF) break;
      Check(read);
      if (packet_->stream_index == stream_) Send(packet_.get());
      av_packet_unref(packet_.get());
    }
    Send(nullptr);
  }

 private:
  void Check(int result) const {
    if (result >= 0) return;
    throw Error(ErrorKind::kFormat, fmt::format("{}: cannot be decoded ({})", name_, LibavReason(result)));
  }

  void Send(const AVPacket* packet) {
    Check(avcodec_send_packet(decoder_.get(), packet));
    for (;;) {
      const int received = avcodec_receive_frame(decoder_.get(), frame_.get());
      if (received == AVERROR(EAGAIN) || received == AVERROR_EOF) return;
      Check(received);
      take_(ToRgb(*frame_));
    }
  }

  Picture ToRgb(const AVFrame& frame) const {
    constexpr int kFlags = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT;
    const Libav<SwsContext> scaler =
        Owned(sws_getContext(frame.width, frame.height, static_cast<AVPixelFormat>(frame.format), frame.width,
                             frame.height, AV_PIX_FMT_RGB24, kFlags, nullptr, nullptr, nullptr));
    const int* matrix = sws_getCoefficients(frame.colorspace == AVCOL_SPC_BT709 ? SWS_CS_ITU709 : SWS_CS_DEFAULT);
    // Declined where the source is RGB already, which needs none.
    sws_setColorspaceDetails(scaler.get(), matrix, frame.color_range == AVCOL_RANGE_JPEG ? 1 : 0, matrix, 1, 0, 1 << 16,
                             1 << 16);
    Picture picture{frame.height, frame.width, {}};
    picture.rgb.resize(static_cast<size_t>(picture.height * picture.width * 3));
    uint8_t* const rows[] = {picture.rgb.data()};
    const int row_bytes[] = {frame.width * 3};
    Check(sws_scale(scaler.get(), frame.data, frame.linesize, 0, frame.height, rows, row_bytes));
    return picture;
  }

  std::string name_;
  const std::function<void(Picture)>& take_;
  FilmInput input_;
  int stream_ = 0;
  Libav<AVCodecContext> decoder_;
  Libav<AVPacket> packet_ = Owned(av_packet_alloc());
  Libav<AVFrame> frame_ = Owned(av_frame_alloc());
};

}  // namespace

FilmInput OpenFilmInput(const std::filesystem::path& path, const char* demuxers) {
  SilenceLibav();
  // A path is a path here, never an address or a play list that leads elsewhere.
  AVDictionary* options = nullptr;
  const bool set = av_dict_set(&options, "protocol_whitelist", "file", 0) >= 0 &&
                   av_dict_set(&options, "format_whitelist", demuxers, 0) >= 0;
  AVFormatContext* context = nullptr;
  const int opened =
      set ? avformat_open_input(&context, ("file:" + path.string()).c_str(), nullptr, &options) : AVERROR(ENOMEM);
  av_dict_free(&options);
  if (opened < 0) {
    throw Error(ErrorKind::kFormat, fmt::format("{}: is not a film that can be read ({}); MP4, WebM, WebP, GIF and "
                                                "folders of PNG frames are",
                                                Printable(path.string()), LibavReason(opened)));
  }
  return FilmInput(context);
}

void DecodeVideo(const std::filesystem::path& path, const std::function<void(Picture)>& take) {
  FilmDecoder(path, take).Run();
}

}  // namespace tessera
