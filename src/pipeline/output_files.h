// Names of the files a run writes.
#pragma once
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "media/film.h"
#include "pipeline/run_state.h"

namespace tessera {

// ASCII letters, digits, '.', '_' and '-' only, at most 150 characters, never empty.
std::string SafeFileName(std::string_view text);

enum class OutputKind { kPicture, kFilm };

struct OutputFile {
  std::filesystem::path path;  // of a folder for FilmFormat::kFrames
  PictureFormat format = PictureFormat::kPng;
  std::optional<FilmFormat> film = std::nullopt;
};

// A film for more than one frame; of a model that makes films also where a film's extension, format or --frames-as is
// asked for. Throws Error{kUsage} for --frames-as with a model that makes pictures.
enum class Makes { kPictures, kFilms };
OutputKind OutputKindOf(const GenerateRequest& request, Makes makes, int64_t frames);

// Where each picture of the run goes and in which format. Throws Error{kUsage} for an extension that is no picture
// format or that contradicts --output-format.
std::vector<OutputFile> OutputFiles(const GenerateRequest& request, OutputKind kind = OutputKind::kPicture);

// Checks, without making anything, that files can be made in this folder (or in a new folder of that name). Throws
// Error{kIo}.
void CheckOutputFolder(const std::filesystem::path& folder);

}  // namespace tessera
