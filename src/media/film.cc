#include "media/film.h"

#include <array>
#include <cmath>
#include <fstream>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/check.h"
#include "base/error.h"
#include "base/text.h"
#include "media/codecs.h"
#include "media/film_formats.h"

namespace tessera {
namespace {

constexpr double kSlowest = 0.01, kFastest = 1000;
constexpr int64_t kMostRateTerm = 1000000;

struct FormatLimits {
  std::string_view name, extension;
  int64_t most_side;
  int64_t most_rate;
  std::string_view rate_reason;
};

const FormatLimits& LimitsOf(FilmFormat format) {
  static constexpr std::array<FormatLimits, 5> kLimits = {{
      {"an MP4", "mp4", 16384, 1000, ""},
      {"a WebM", "webm", 16384, 1000, ""},
      {"an animated WebP", "webp", 16383, 90, "players show shorter frames ten times as long"},
      {"a GIF", "gif", 65535, 50, "its frames last whole hundredths of a second, two at least"},
      {"a folder of frames", "", std::numeric_limits<int32_t>::max(), 1000, ""},
  }};
  return kLimits[static_cast<size_t>(format)];
}

double Value(const FrameRate& rate) {
  return static_cast<double>(rate.numerator) / static_cast<double>(rate.denominator);
}

[[noreturn]] void RefuseRate(std::string_view rate) {
  throw Error(ErrorKind::kUsage,
              fmt::format("a film of {} frames per second cannot be made, {} to {} can", rate, kSlowest, kFastest));
}

void CheckRate(const FrameRate& rate) {
  const bool terms = rate.numerator > 0 && rate.denominator > 0 && rate.numerator <= kMostRateTerm &&
                     rate.denominator <= kMostRateTerm;
  if (!terms || Value(rate) < kSlowest || Value(rate) > kFastest) {
    RefuseRate(fmt::format("{}/{}", rate.numerator, rate.denominator));
  }
}

void CheckSize(const FilmEncoding& encoding) {
  const int64_t height = encoding.height, width = encoding.width;
  if (height <= 0 || width <= 0) {
    throw Error(ErrorKind::kUsage, fmt::format("a film of {} x {} pixels has none", width, height));
  }
  const FormatLimits& limits = LimitsOf(encoding.format);
  if (height > limits.most_side || width > limits.most_side || height > kMostPixels / width) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{} cannot hold frames of {} x {} pixels, at most {} each way and {} million in all",
                            limits.name, width, height, limits.most_side, kMostPixels / 1000000));
  }
}

void CheckEncoding(const FilmEncoding& encoding) {
  CheckSize(encoding);
  CheckRate(encoding.frame_rate);
  const FormatLimits& limits = LimitsOf(encoding.format);
  if (Value(encoding.frame_rate) > static_cast<double>(limits.most_rate)) {
    throw Error(ErrorKind::kUnsupported,
                fmt::format("{} cannot show {:g} frames per second, at most {}: {}; an mp4 can", limits.name,
                            Value(encoding.frame_rate), limits.most_rate, limits.rate_reason));
  }
  if (encoding.quality < 1 || encoding.quality > 100) {
    throw Error(ErrorKind::kUsage, fmt::format("a film's quality is 1 to 100, not {}", encoding.quality));
  }
  CheckPictureText(encoding.text);
}

std::string FirstBytes(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored)) {
    throw Error(ErrorKind::kIo, fmt::format("'{}' is neither a file nor a folder of frames", Printable(path.string())));
  }
  std::ifstream file(path, std::ios::binary);
  std::string bytes = LeadingBytes(file);
  if (!file.is_open()) {
    throw Error(ErrorKind::kIo, fmt::format("cannot open '{}' as a film", Printable(path.string())));
  }
  return bytes;
}

// Nothing when the description is not what SplitFilmText wrote.
nlohmann::json OwnDescription(const std::string& description) {
  nlohmann::json json = nlohmann::json::parse(description, nullptr, false);
  if (!json.is_object()) return {};
  for (const auto& [key, member] : json.items()) {
    if (!member.is_string()) return {};
  }
  return json;
}

// An MP4, WebM or GIF by its first bytes.
bool IsVideo(const std::filesystem::path& path) {
  const std::string first = FirstBytes(path);
  return first.starts_with("GIF8") || first.starts_with("\x1A\x45\xDF\xA3") ||
         (first.size() > 8 && first.substr(4, 4) == "ftyp");
}

}  // namespace

std::string LeadingBytes(std::istream& file) {
  std::string bytes(12, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  bytes.resize(static_cast<size_t>(file.gcount()));
  return bytes;
}

FilmFormat FilmFormatOf(const std::filesystem::path& path) {
  if (!path.empty() && !path.has_filename()) return FilmFormat::kFrames;
  const std::string extension = Lower(path.extension().string());
  for (const FilmFormat format : {FilmFormat::kMp4, FilmFormat::kWebm, FilmFormat::kWebp, FilmFormat::kGif}) {
    if (extension == fmt::format(".{}", LimitsOf(format).extension)) return format;
  }
  throw Error(ErrorKind::kUsage,
              fmt::format("'{}' is not the name of a film: .mp4 .webm .webp .gif work, and a name that ends in / for a "
                          "folder of PNG frames",
                          Printable(path.string())));
}

FrameRate MakeFrameRate(double rate) {
  if (!(rate >= kSlowest && rate <= kFastest)) RefuseRate(fmt::format("{:g}", rate));
  const double whole = std::round(rate);
  if (whole == rate) return {static_cast<int64_t>(whole), 1};
  // Television's rates, usually written with two or three decimals.
  const double television = std::ceil(rate) * 1000 / 1001;
  if (rate > 20 && std::abs(rate - television) < 0.006) return {static_cast<int64_t>(std::ceil(rate)) * 1000, 1001};
  // The fraction with the smallest denominator that gives the number back to six digits.
  for (int64_t denominator = 2; denominator < 1000; ++denominator) {
    const double numerator = std::round(rate * static_cast<double>(denominator));
    if (numerator > 0 && std::abs(numerator / static_cast<double>(denominator) - rate) < 1e-6 * rate) {
      return {static_cast<int64_t>(numerator), denominator};
    }
  }
  return {static_cast<int64_t>(std::round(rate * 1000)), 1000};
}

int64_t FrameTick(const FrameRate& rate, int64_t index, int64_t ticks_per_second) {
  return (index * rate.denominator * ticks_per_second * 2 + rate.numerator) / (2 * rate.numerator);
}

FilmComment SplitFilmText(const FilmText& text) {
  FilmComment comment;
  if (text.empty()) return comment;
  FilmText rest = text;
  if (const auto parameters = rest.extract("parameters"); !parameters.empty()) {
    comment.has_parameters = true;
    comment.parameters = parameters.mapped();
  }
  // An empty field would not come back from every container.
  if (comment.has_parameters && comment.parameters.empty()) rest["parameters"] = "";
  comment.description = nlohmann::json(rest).dump();
  return comment;
}

FilmText JoinFilmText(const FilmComment& comment) {
  FilmText text;
  const nlohmann::json own = OwnDescription(comment.description);
  for (const auto& [key, member] : own.items()) text[key] = member.get<std::string>();
  if (!own.is_object() && !comment.description.empty()) text["description"] = comment.description;
  if (!comment.parameters.empty()) text["parameters"] = comment.parameters;
  return text;
}

void FilmWriter::Add(const Picture& frame) {
  TESSERA_CHECK(!finished_ && frame.height == encoding_.height && frame.width == encoding_.width);
  TESSERA_CHECK(static_cast<int64_t>(frame.rgb.size()) == frame.height * frame.width * 3);
  AddFrame(frame);
  ++frames_;
}

void FilmWriter::Finish() {
  TESSERA_CHECK(!finished_);
  if (frames_ == 0) throw Error(ErrorKind::kUnsupported, "a film without frames cannot be written");
  finished_ = true;
  Complete();
}

std::unique_ptr<FilmWriter> OpenFilm(const std::filesystem::path& path, const FilmEncoding& encoding) {
  CheckEncoding(encoding);
  switch (encoding.format) {
    case FilmFormat::kMp4:
    case FilmFormat::kWebm:
      return OpenVideoFilm(path, encoding);
    case FilmFormat::kWebp:
      return OpenWebpFilm(path, encoding);
    case FilmFormat::kGif:
      return OpenGifFilm(path, encoding);
    case FilmFormat::kFrames:
      return OpenFrameFolder(path, encoding);
  }
  return nullptr;
}

std::map<std::string, std::string> ReadFilmText(const std::filesystem::path& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) return ReadPictureText(path / FrameFileName(0));
  const std::string first = FirstBytes(path);
  if (first.starts_with("GIF8")) return ReadGifText(path);
  if (first.starts_with("RIFF") && first.ends_with("WEBP")) return ReadPictureText(path);
  return ReadVideoText(path);
}

std::map<std::string, std::string> ReadMediaText(const std::filesystem::path& path) {
  std::error_code ignored;
  const bool is_film = std::filesystem::is_regular_file(path, ignored)
                           ? IsVideo(path)
                           : std::filesystem::exists(path / FrameFileName(0), ignored);
  return is_film ? ReadFilmText(path) : ReadPictureText(path);
}

}  // namespace tessera
