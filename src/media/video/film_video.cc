// Films as MP4 (H.264 by libx264) and WebM (VP9 by libvpx), through FFmpeg's libraries.
#include <algorithm>
#include <array>
#include <cstring>
#include <new>

#include <fmt/format.h>

#include "base/error.h"
#include "base/round_up.h"
#include "base/text.h"
#include "media/film_formats.h"
#include "media/video/film_input.h"
#include "media/video/libav.h"
#include "media/video_films.h"

namespace tessera {
namespace {

struct Option {
  const char* name;
  std::string value;
};

struct VideoKind {
  const char* muxer;
  const char* encoder;
  std::string_view codec;
  int64_t side_multiple;  // of the pixels stored
  std::vector<Option> encoder_options, muxer_options;
};

// x264's AVX-512 code, its macroblock tree above all, gives other bytes from run to run for the same frames (seen with
// core 164, about one film in three); its AVX2 code does not.
Option InstructionSet(Isa isa) { return {"x264-params", isa >= Isa::kAvx2 ? "asm=AVX2" : "asm=auto"}; }

VideoKind KindOf(const FilmEncoding& encoding, Isa isa) {
  const int loss = 100 - encoding.quality;
  if (encoding.format == FilmFormat::kMp4) {
    const int factor = std::max(1, 51 * loss / 100);
    return {"mp4",
            "libx264",
            "H.264",
            2,
            {{"preset", "medium"}, {"crf", std::to_string(factor)}, InstructionSet(isa)},
            {{"movflags", "+faststart"}}};
  }
  return {"webm",
          "libvpx-vp9",
          "VP9",
          1,
          {{"deadline", "good"}, {"cpu-used", "4"}, {"b", "0"}, {"crf", std::to_string(63 * loss / 100)}},
          {}};
}

Libav<AVDictionary> MakeDictionary(const std::vector<Option>& options) {
  AVDictionary* dictionary = nullptr;
  for (const Option& option : options) {
    if (av_dict_set(&dictionary, option.name, option.value.c_str(), 0) < 0) throw std::bad_alloc();
  }
  return Libav<AVDictionary>(dictionary);
}

class VideoFilm final : public FilmWriter {
 public:
  VideoFilm(const std::filesystem::path& path, const FilmEncoding& encoding, Isa isa)
      : FilmWriter(encoding),
        kind_(KindOf(encoding, isa)),
        muxer_(path, kind_.muxer),
        packet_(Owned(av_packet_alloc())) {
    OpenEncoder(Printable(path.string()));
    MakeFrames();
    MakeScaler();
    WriteHeader();
  }

 private:
  void AddFrame(const Picture& picture) override {
    CopyPixels(picture);
    muxer_.Check(av_frame_make_writable(frame_.get()));
    muxer_.Check(sws_scale(scaler_.get(), rgb_->data, rgb_->linesize, 0, rgb_->height, frame_->data, frame_->linesize));
    frame_->pts = frames();
    Encode(frame_.get());
  }

  void Complete() override {
    Encode(nullptr);
    muxer_.Check(av_write_trailer(muxer_.context()));
    muxer_.Commit();
  }

  void OpenEncoder(const std::string& name) {
    const AVCodec* codec = avcodec_find_encoder_by_name(kind_.encoder);
    if (codec == nullptr) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("cannot write '{}': the FFmpeg libraries of this machine have no {} encoder ({}); webp, "
                              "gif and a folder of frames work without",
                              name, kind_.codec, kind_.encoder));
    }
    encoder_ = Owned(avcodec_alloc_context3(codec));
    AVCodecContext& encoder = *encoder_;
    const auto rate_term = [](int64_t term) { return static_cast<int>(term); };
    encoder.width = static_cast<int>(RoundUp(encoding().width, kind_.side_multiple));
    encoder.height = static_cast<int>(RoundUp(encoding().height, kind_.side_multiple));
    encoder.pix_fmt = AV_PIX_FMT_YUV420P;
    encoder.framerate = {rate_term(encoding().frame_rate.numerator), rate_term(encoding().frame_rate.denominator)};
    encoder.time_base = av_inv_q(encoder.framerate);
    encoder.sample_aspect_ratio = {1, 1};
    // Said in the file, because players guess by size otherwise.
    encoder.color_range = AVCOL_RANGE_MPEG;
    encoder.colorspace = AVCOL_SPC_BT709;
    encoder.color_primaries = AVCOL_PRI_BT709;
    encoder.color_trc = AVCOL_TRC_BT709;
    encoder.thread_count = 1;  // the bytes would depend on it
    encoder.flags |= AV_CODEC_FLAG_BITEXACT;
    if ((muxer_.context()->oformat->flags & AVFMT_GLOBALHEADER) != 0) encoder.flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
    AVDictionary* options = MakeDictionary(kind_.encoder_options).release();
    const int opened = avcodec_open2(&encoder, codec, &options);
    av_dict_free(&options);
    if (opened < 0) {
      throw Error(ErrorKind::kUnsupported,
                  fmt::format("cannot write '{}': {} does not take {} x {} pixels at {}/{} frames per second ({})",
                              name, kind_.encoder, encoder.width, encoder.height, encoder.framerate.num,
                              encoder.framerate.den, LibavReason(opened)));
    }
  }

  void MakeFrames() {
    const auto make = [&](AVPixelFormat format) {
      Libav<AVFrame> frame = Owned(av_frame_alloc());
      frame->format = format;
      frame->width = encoder_->width;
      frame->height = encoder_->height;
      muxer_.Check(av_frame_get_buffer(frame.get(), 0));
      return frame;
    };
    rgb_ = make(AV_PIX_FMT_RGB24);
    frame_ = make(AV_PIX_FMT_YUV420P);
  }

  void MakeScaler() {
    constexpr int kFlags = SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INP | SWS_BITEXACT;
    const int width = encoder_->width, height = encoder_->height;
    scaler_ = Owned(sws_getContext(width, height, AV_PIX_FMT_RGB24, width, height, AV_PIX_FMT_YUV420P, kFlags, nullptr,
                                   nullptr, nullptr));
    const int* bt709 = sws_getCoefficients(SWS_CS_ITU709);
    muxer_.Check(sws_setColorspaceDetails(scaler_.get(), bt709, 1, bt709, 0, 0, 1 << 16, 1 << 16));
  }

  void WriteHeader() {
    AVFormatContext* context = muxer_.context();
    stream_ = avformat_new_stream(context, nullptr);
    if (stream_ == nullptr) throw std::bad_alloc();
    stream_->time_base = encoder_->time_base;
    stream_->avg_frame_rate = encoder_->framerate;
    stream_->sample_aspect_ratio = encoder_->sample_aspect_ratio;
    muxer_.Check(avcodec_parameters_from_context(stream_->codecpar, encoder_.get()));
    const FilmComment comment = SplitFilmText(encoding().text);
    if (!comment.parameters.empty()) SetTag("comment", comment.parameters);
    if (!comment.description.empty()) SetTag("description", comment.description);
    AVDictionary* options = MakeDictionary(kind_.muxer_options).release();
    const int written = avformat_write_header(context, &options);
    av_dict_free(&options);
    muxer_.Check(written);
  }

  void SetTag(const char* tag, const std::string& text) {
    muxer_.Check(av_dict_set(&muxer_.context()->metadata, tag, text.c_str(), 0));
  }

  // Rows and columns beyond the picture repeat its last ones.
  void CopyPixels(const Picture& picture) {
    const auto row_bytes = static_cast<size_t>(picture.width * 3);
    for (int64_t y = 0; y < rgb_->height; ++y) {
      uint8_t* row = rgb_->data[0] + y * rgb_->linesize[0];
      std::memcpy(row, picture.rgb.data() + std::min(y, picture.height - 1) * picture.width * 3, row_bytes);
      if (rgb_->width > picture.width) std::memcpy(row + row_bytes, row + row_bytes - 3, 3);
    }
  }

  // Null: no more frames.
  void Encode(const AVFrame* frame) {
    muxer_.Check(avcodec_send_frame(encoder_.get(), frame));
    for (;;) {
      const int received = avcodec_receive_packet(encoder_.get(), packet_.get());
      if (received == AVERROR(EAGAIN) || received == AVERROR_EOF) return;
      muxer_.Check(received);
      packet_->stream_index = stream_->index;
      packet_->duration = 1;
      av_packet_rescale_ts(packet_.get(), encoder_->time_base, stream_->time_base);
      const int written = av_write_frame(muxer_.context(), packet_.get());
      av_packet_unref(packet_.get());
      muxer_.Check(written);
    }
  }

  VideoKind kind_;
  FilmMuxer muxer_;
  Libav<AVCodecContext> encoder_;
  Libav<AVPacket> packet_;
  Libav<AVFrame> rgb_, frame_;
  Libav<SwsContext> scaler_;
  AVStream* stream_ = nullptr;  // the muxer's
};

std::unique_ptr<FilmWriter> OpenVideo(const std::filesystem::path& path, const FilmEncoding& encoding, Isa isa) {
  return std::make_unique<VideoFilm>(path, encoding, isa);
}

FilmText ReadText(const std::filesystem::path& path) {
  const FilmInput input = OpenFilmInput(path, "mov,matroska");
  const auto tag = [&](const char* name) -> std::string {
    const AVDictionaryEntry* entry = av_dict_get(input->metadata, name, nullptr, 0);
    return entry != nullptr ? entry->value : "";
  };
  const std::string comment = tag("comment");
  return JoinFilmText({!comment.empty(), comment, tag("description")});
}

}  // namespace
}  // namespace tessera

extern "C" const tessera::VideoFilms tessera_video_films = {TESSERA_VERSION, tessera::OpenVideo, tessera::ReadText,
                                                            tessera::DecodeVideo};
