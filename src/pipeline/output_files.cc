#include "pipeline/output_files.h"

#include <unistd.h>

#include <cctype>
#include <ctime>
#include <span>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "base/error.h"
#include "base/fnv_hash.h"
#include "base/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;
constexpr size_t kLongestName = 150;
constexpr size_t kPromptPart = 100;

// Over what distinguishes two requests with the same prompt in the same second.
uint32_t HashOf(const GenerateRequest& request) {
  const std::string text =
      fmt::format("{}|{}|{}|{}|{}|{}", Join(request.prompts, "|"), request.seed, request.model_path,
                  request.height.value_or(0), request.width.value_or(0), request.num_inference_steps.value_or(0));
  FnvHash hash;
  hash.Add(std::as_bytes(std::span(text)));
  return static_cast<uint32_t>(hash.value() ^ (hash.value() >> 32));
}

std::string DefaultName(const GenerateRequest& request, const std::string& prompt) {
  const std::string start = prompt.substr(0, kPromptPart);
  const std::string stamp = fmt::format("{:%Y%m%d-%H%M%S}", fmt::localtime(std::time(nullptr)));
  return fmt::format("{}_{}_{:08x}", SafeFileName(start), stamp, HashOf(request));
}

struct NamedFormat {
  std::string stem;
  PictureFormat format;
};

// Splits a known extension off the given name and brings it together with --output-format.
NamedFormat FormatOf(const GenerateRequest& request) {
  const std::string& name = request.output_file_name;
  std::optional<PictureFormat> asked;
  if (!request.output_format.empty()) {
    asked = PictureFormatOf(request.output_format);
    if (!asked) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("--output-format {}: unknown; png, jpg and webp work", Printable(request.output_format)));
    }
  }
  const std::string extension = fs::path(name).extension().string();
  const auto named = extension.empty() ? std::nullopt : PictureFormatOf(extension.substr(1));
  if (named && asked && *named != *asked) {
    throw Error(ErrorKind::kUsage, fmt::format("--output-file-name {}: its extension contradicts --output-format {}",
                                               Printable(name), request.output_format));
  }
  if (named) return {name.substr(0, name.size() - extension.size()), *named};
  if (const std::string word = Lower(extension);
      word == ".mp4" || word == ".gif" || word == ".bmp" || word == ".tiff") {
    throw Error(ErrorKind::kUsage,
                fmt::format("--output-file-name {}: pictures are written as png, jpg or webp", Printable(name)));
  }
  return {name, asked.value_or(PictureFormat::kPng)};
}

struct NamedFilm {
  std::string stem, extension;  // extension empty: a folder of frames
  FilmFormat format = FilmFormat::kMp4;
};

// A word that only films have.
std::optional<FilmFormat> FilmWord(const std::string& word) {
  if (word == "mp4") return FilmFormat::kMp4;
  if (word == "webm") return FilmFormat::kWebm;
  if (word == "gif") return FilmFormat::kGif;
  return std::nullopt;
}

NamedFilm NamedFilmOf(const GenerateRequest& request) {
  std::string stem = request.output_file_name, word = Lower(request.output_format);
  const std::string extension = fs::path(stem).extension().string();
  const std::string named = extension.empty() ? "" : Lower(extension.substr(1));
  if (FilmWord(named) || named == "webp" || PictureFormatOf(named)) {
    stem.resize(stem.size() - extension.size());
    if (!word.empty() && word != named) {
      throw Error(ErrorKind::kUsage, fmt::format("--output-file-name {}: its extension contradicts --output-format {}",
                                                 Printable(request.output_file_name), request.output_format));
    }
    word = named;
  }
  if (!request.frames_as.empty()) return {stem, "", FilmFormat::kFrames};
  if (word.empty()) word = "mp4";
  if (word == "webp") return {stem, "webp", FilmFormat::kWebp};
  if (const auto format = FilmWord(word)) return {stem, word, *format};
  throw Error(ErrorKind::kUsage, fmt::format("a film cannot be written as {}; mp4, webm, webp and gif work, and "
                                             "--frames-as png for a folder of pictures",
                                             Printable(word)));
}

}  // namespace

OutputKind OutputKindOf(const GenerateRequest& request, Makes makes, int64_t frames) {
  if (makes == Makes::kPictures) {
    if (request.frames_as.empty()) return OutputKind::kPicture;
    throw Error(ErrorKind::kUsage, fmt::format("--frames-as {}: this model makes single pictures, not films",
                                               Printable(request.frames_as)));
  }
  const std::string extension = fs::path(request.output_file_name).extension().string();
  const bool asked = !request.frames_as.empty() || FilmWord(Lower(request.output_format)) ||
                     (!extension.empty() && FilmWord(Lower(extension.substr(1))));
  return frames > 1 || asked ? OutputKind::kFilm : OutputKind::kPicture;
}

std::string SafeFileName(std::string_view text) {
  std::string name;
  for (const char c : text) {
    const bool keep = std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-';
    if (keep && static_cast<unsigned char>(c) < 0x80) {
      name += c;
    } else if (name.empty() || name.back() != '_') {
      name += '_';
    }
  }
  const size_t begin = name.find_first_not_of("._");
  if (begin == std::string::npos) return "output";
  name = name.substr(begin, kLongestName);
  name.erase(name.find_last_not_of("._") + 1);
  return name.empty() ? "output" : name;
}

std::vector<OutputFile> OutputFiles(const GenerateRequest& request, OutputKind kind) {
  const bool is_film = kind == OutputKind::kFilm;
  const NamedFilm film = is_film ? NamedFilmOf(request) : NamedFilm{};
  const NamedFormat named = is_film ? NamedFormat{film.stem, PictureFormat::kPng} : FormatOf(request);
  const std::string extension = is_film ? film.extension : std::string(Extension(named.format));
  const auto outputs = static_cast<size_t>(request.num_outputs_per_prompt);
  const size_t total = request.prompts.size() * outputs;
  std::vector<OutputFile> files;
  for (size_t i = 0; i < total; ++i) {
    const bool given = !request.output_file_name.empty();
    std::string stem = given ? SafeFileName(named.stem) : DefaultName(request, request.prompts[i / outputs]);
    if (total > 1) stem += fmt::format("_{}", i);
    if (!extension.empty()) stem += "." + extension;
    files.push_back(
        {fs::path(request.output_path) / stem, named.format, is_film ? std::optional(film.format) : std::nullopt});
  }
  return files;
}

void CheckOutputFolder(const fs::path& folder) {
  const auto fail = [&](const std::string& reason) {
    throw Error(ErrorKind::kIo, fmt::format("--output-path '{}': {}", Printable(folder.string()), reason));
  };
  std::error_code code;
  fs::path existing = fs::absolute(folder, code);
  while (!code && !fs::exists(existing, code) && existing.has_relative_path()) existing = existing.parent_path();
  if (code) fail(code.message());
  if (!fs::is_directory(existing, code))
    fail(fmt::format("'{}' is a file, not a folder", Printable(existing.string())));
  if (::access(existing.c_str(), W_OK | X_OK) != 0)
    fail(fmt::format("no permission to write in '{}'", Printable(existing.string())));
}

}  // namespace tessera
