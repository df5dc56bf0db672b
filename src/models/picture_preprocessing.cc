#include "models/picture_preprocessing.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/error.h"
#include "base/json.h"

namespace tessera {
namespace {

constexpr int64_t kMostEdge = 16384;

Resample ReadFilter(const Config& config) {
  // PIL's numbers.
  const int64_t filter = config.Int("resample", 3);
  if (filter == 1) return Resample::kLanczos;
  if (filter == 2) return Resample::kBilinear;
  if (filter == 3) return Resample::kBicubic;
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: resample {} is not supported; supported: 1 (lanczos), 2 (bilinear), 3 (bicubic)",
                          config.file(), filter));
}

// Older files write one number for both edges.
bool IsNumber(const Config& config, const std::string& key) {
  return config.Has(key) && config.json()[key].is_number();
}

PictureSize ReadBothEdges(const Config& config, const std::string& key) {
  if (IsNumber(config, key)) {
    const int64_t edge = config.Int(key, 224, 1, kMostEdge);
    return {edge, edge};
  }
  const Config object = config.Object(key);
  return {object.Int("height", 224, 1, kMostEdge), object.Int("width", 224, 1, kMostEdge)};
}

void ReadResizing(const Config& config, PicturePreprocessing& preprocessing) {
  using Resizing = PicturePreprocessing::Resizing;
  if (!config.Bool("do_resize", true)) {
    preprocessing.resizing = Resizing::kNone;
    return;
  }
  const Config size =
      IsNumber(config, "size") ? Config(nlohmann::json::object(), config.file()) : config.Object("size");
  if (size.Has("height") || size.Has("width")) {
    if (!size.Has("height") || !size.Has("width") || size.Has("shortest_edge")) {
      throw Error(ErrorKind::kFormat, fmt::format("{}: size needs shortest_edge, or height and width", config.file()));
    }
    preprocessing.resizing = Resizing::kExact;
    preprocessing.size = ReadBothEdges(config, "size");
    return;
  }
  const int64_t edge =
      IsNumber(config, "size") ? config.Int("size", 224, 1, kMostEdge) : size.Int("shortest_edge", 224, 1, kMostEdge);
  preprocessing.size = {edge, edge};
}

std::array<double, 3> ReadChannels(const Config& config, const std::string& key, const std::array<double, 3>& absent) {
  if (!config.Has(key)) return absent;
  const nlohmann::json& value = config.json()[key];
  if (value.is_number()) return {value.get<double>(), value.get<double>(), value.get<double>()};
  const bool is_three = value.is_array() && value.size() == 3 &&
                        std::ranges::all_of(value, [](const nlohmann::json& part) { return part.is_number(); });
  if (is_three) return {value[0].get<double>(), value[1].get<double>(), value[2].get<double>()};
  throw Error(ErrorKind::kFormat,
              fmt::format("{}: {} is {}; it must be 3 numbers", config.file(), key, DescribeJson(value)));
}

void CheckDeviation(const Config& config, const std::array<double, 3>& deviation) {
  for (const double value : deviation) {
    if (value > 0) continue;
    throw Error(ErrorKind::kFormat, fmt::format("{}: image_std {} must be above 0", config.file(), value));
  }
}

PictureSize ResizedSize(const Picture& picture, const PicturePreprocessing& preprocessing) {
  if (preprocessing.resizing == PicturePreprocessing::Resizing::kExact) return preprocessing.size;
  const int64_t shortest = std::min(picture.height, picture.width), edge = preprocessing.size.height;
  const auto scaled = [&](int64_t length) {
    if (length == shortest) return edge;
    return static_cast<int64_t>(static_cast<double>(edge * length) / static_cast<double>(shortest));
  };
  return {scaled(picture.height), scaled(picture.width)};
}

Picture Resized(const Picture& picture, const PicturePreprocessing& preprocessing) {
  if (preprocessing.resizing == PicturePreprocessing::Resizing::kNone) return picture;
  const PictureSize size = ResizedSize(picture, preprocessing);
  if (size.height > kMostPixels / size.width) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("a picture of {}x{} is too long for the vision encoder: resized it would be {}x{}",
                            picture.width, picture.height, size.width, size.height));
  }
  return Resize(picture, size.height, size.width, preprocessing.filter);
}

Picture Cropped(const Picture& picture, const PicturePreprocessing& preprocessing) {
  if (preprocessing.cropping == PicturePreprocessing::Cropping::kNone) return picture;
  const PictureSize& crop = preprocessing.crop;
  if (picture.height < crop.height || picture.width < crop.width) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("a picture of {}x{} is smaller than the crop of {}x{} the vision encoder needs",
                            picture.width, picture.height, crop.width, crop.height));
  }
  return Crop(picture, (picture.height - crop.height) / 2, (picture.width - crop.width) / 2, crop.height, crop.width);
}

}  // namespace

PicturePreprocessing ReadPicturePreprocessing(const Config& config) {
  PicturePreprocessing preprocessing;
  ReadResizing(config, preprocessing);
  preprocessing.filter = ReadFilter(config);
  preprocessing.crop = ReadBothEdges(config, "crop_size");
  if (!config.Bool("do_center_crop", true)) preprocessing.cropping = PicturePreprocessing::Cropping::kNone;
  preprocessing.factor = config.Bool("do_rescale", true) ? config.Float("rescale_factor", preprocessing.factor) : 1.0;
  if (!config.Bool("do_normalize", true)) {
    preprocessing.mean = {0, 0, 0};
    preprocessing.deviation = {1, 1, 1};
    return preprocessing;
  }
  preprocessing.mean = ReadChannels(config, "image_mean", preprocessing.mean);
  preprocessing.deviation = ReadChannels(config, "image_std", preprocessing.deviation);
  CheckDeviation(config, preprocessing.deviation);
  return preprocessing;
}

Tensor ToPixels(const Picture& picture, const PicturePreprocessing& preprocessing) {
  const Picture part = Cropped(Resized(picture, preprocessing), preprocessing);
  Tensor pixels = Tensor::Empty({3, part.height, part.width}, DType::kF32);
  auto* value = pixels.mutable_data<float>();
  const int64_t area = part.height * part.width;
  for (int64_t channel = 0; channel < 3; ++channel) {
    const auto place = static_cast<size_t>(channel);
    for (int64_t i = 0; i < area; ++i) {
      const double scaled = part.rgb[static_cast<size_t>(i * 3 + channel)] * preprocessing.factor;
      value[channel * area + i] =
          static_cast<float>((scaled - preprocessing.mean[place]) / preprocessing.deviation[place]);
    }
  }
  return pixels;
}

}  // namespace tessera
