#include "films/decode_film.h"

#include <webp/demux.h>

#include <cmath>
#include <memory>

#include <gtest/gtest.h>

#include "base/read_file.h"
#include "media/video/libav.h"

extern "C" {
#include <libavutil/pixdesc.h>
}

namespace tessera {
namespace {

struct CloseInput {
  void operator()(AVFormatContext* context) const { avformat_close_input(&context); }
};
using Input = std::unique_ptr<AVFormatContext, CloseInput>;

Picture ToRgb(const AVFrame& frame) {
  Picture picture{frame.height, frame.width, std::vector<uint8_t>(static_cast<size_t>(frame.height * frame.width * 3))};
  const auto format = static_cast<AVPixelFormat>(frame.format);
  const Libav<SwsContext> scaler(sws_getContext(frame.width, frame.height, format, frame.width, frame.height,
                                                AV_PIX_FMT_RGB24, SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT,
                                                nullptr, nullptr, nullptr));
  const int* matrix = sws_getCoefficients(frame.colorspace == AVCOL_SPC_BT709 ? SWS_CS_ITU709 : SWS_CS_DEFAULT);
  sws_setColorspaceDetails(scaler.get(), matrix, frame.color_range == AVCOL_RANGE_JPEG ? 1 : 0, matrix, 1, 0, 1 << 16,
                           1 << 16);
  uint8_t* const rows[] = {picture.rgb.data()};
  const int row_bytes[] = {frame.width * 3};
  EXPECT_EQ(sws_scale(scaler.get(), frame.data, frame.linesize, 0, frame.height, rows, row_bytes), frame.height);
  return picture;
}

void TakeFrames(AVCodecContext& decoder, AVRational time_base, DecodedFilm& film) {
  const Libav<AVFrame> frame(av_frame_alloc());
  while (avcodec_receive_frame(&decoder, frame.get()) == 0) {
    film.frames.push_back(ToRgb(*frame));
    film.begins.push_back(static_cast<double>(frame->best_effort_timestamp) * av_q2d(time_base));
    film.matrix = av_color_space_name(frame->colorspace);
  }
}

DecodedFilm DecodeByLibav(const std::filesystem::path& path) {
  SilenceLibav();
  DecodedFilm film;
  AVFormatContext* context = nullptr;
  if (avformat_open_input(&context, path.c_str(), nullptr, nullptr) < 0) return film;
  const Input input(context);
  EXPECT_GE(avformat_find_stream_info(context, nullptr), 0);
  EXPECT_EQ(context->nb_streams, 1u);
  const AVStream& stream = *context->streams[0];
  const Libav<AVCodecContext> decoder(avcodec_alloc_context3(nullptr));
  avcodec_parameters_to_context(decoder.get(), stream.codecpar);
  EXPECT_EQ(avcodec_open2(decoder.get(), avcodec_find_decoder(stream.codecpar->codec_id), nullptr), 0);
  film.codec = avcodec_get_name(stream.codecpar->codec_id);
  const Libav<AVPacket> packet(av_packet_alloc());
  while (av_read_frame(context, packet.get()) == 0) {
    EXPECT_EQ(avcodec_send_packet(decoder.get(), packet.get()), 0);
    av_packet_unref(packet.get());
    TakeFrames(*decoder, stream.time_base, film);
  }
  avcodec_send_packet(decoder.get(), nullptr);
  TakeFrames(*decoder, stream.time_base, film);
  film.pixel_format = av_get_pix_fmt_name(decoder->pix_fmt);
  return film;
}

// Times of WebP are the ends of the frames.
DecodedFilm DecodeWebpFilm(const std::filesystem::path& path) {
  DecodedFilm film;
  film.codec = "webp";
  const std::string bytes = ReadWholeFile(path, 1 << 26);
  const WebPData webp{reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
  const std::unique_ptr<WebPAnimDecoder, void (*)(WebPAnimDecoder*)> decoder(WebPAnimDecoderNew(&webp, nullptr),
                                                                             WebPAnimDecoderDelete);
  WebPAnimInfo shape;
  if (decoder == nullptr || !WebPAnimDecoderGetInfo(decoder.get(), &shape)) return film;
  uint8_t* rgba = nullptr;
  int end = 0;
  while (WebPAnimDecoderGetNext(decoder.get(), &rgba, &end)) {
    Picture& picture = film.frames.emplace_back(Picture{shape.canvas_height, shape.canvas_width, {}});
    for (int64_t pixel = 0; pixel < picture.height * picture.width; ++pixel) {
      picture.rgb.insert(picture.rgb.end(), rgba + pixel * 4, rgba + pixel * 4 + 3);
    }
    if (film.begins.empty()) film.begins.push_back(0);
    film.begins.push_back(end / 1000.0);
  }
  if (!film.begins.empty()) film.begins.pop_back();
  return film;
}

DecodedFilm DecodeFolder(const std::filesystem::path& path) {
  DecodedFilm film;
  film.codec = "png";
  for (int64_t i = 0;; ++i) {
    std::string name = std::to_string(i);
    name = std::string(5 - name.size(), '0') + name + ".png";
    if (!std::filesystem::exists(path / name)) break;
    film.frames.push_back(ReadPicture(path / name));
  }
  const auto entries = std::distance(std::filesystem::directory_iterator(path), {});
  EXPECT_EQ(static_cast<size_t>(entries), film.frames.size());
  return film;
}

}  // namespace

DecodedFilm DecodeFilm(const std::filesystem::path& path) {
  if (std::filesystem::is_directory(path)) return DecodeFolder(path);
  return path.extension() == ".webp" ? DecodeWebpFilm(path) : DecodeByLibav(path);
}

Picture PatternFrame(int64_t height, int64_t width, int64_t index) {
  Picture picture{height, width, {}};
  picture.rgb.reserve(static_cast<size_t>(height * width * 3));
  const double t = static_cast<double>(index);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const double u = static_cast<double>(x), v = static_cast<double>(y);
      const double disc = std::hypot(u - 10 - 3 * t, v - 20) < 9 ? 40 : 0;
      picture.rgb.push_back(static_cast<uint8_t>(110 + disc + 60 * std::sin(0.11 * u + 0.3 * t)));
      picture.rgb.push_back(static_cast<uint8_t>(110 + disc + 60 * std::sin(0.09 * v - 0.2 * t)));
      picture.rgb.push_back(static_cast<uint8_t>(110 + disc + 60 * std::cos(0.06 * (u + v) + 0.1 * t)));
    }
  }
  return picture;
}

std::filesystem::path WritePattern(const std::filesystem::path& path, const FilmEncoding& encoding, int64_t frames) {
  const auto film = OpenFilm(path, encoding);
  for (int64_t i = 0; i < frames; ++i) film->Add(PatternFrame(encoding.height, encoding.width, i));
  film->Finish();
  return path;
}

double Psnr(const Picture& a, const Picture& b) {
  EXPECT_EQ(a.height, b.height);
  EXPECT_EQ(a.width, b.width);
  if (a.rgb.size() != b.rgb.size()) return 0;
  double error = 0;
  for (size_t i = 0; i < a.rgb.size(); ++i) error += std::pow(a.rgb[i] - b.rgb[i], 2);
  return error == 0 ? 100 : 10 * std::log10(255.0 * 255.0 * static_cast<double>(a.rgb.size()) / error);
}

std::string FilmName(FilmFormat format) {
  constexpr const char* kNames[] = {"film.mp4", "film.webm", "film.webp", "film.gif", "film"};
  return kNames[static_cast<size_t>(format)];
}

}  // namespace tessera
