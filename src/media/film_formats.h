// What film.cc and the writers of the formats share.
#pragma once
#include <filesystem>
#include <functional>
#include <iosfwd>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "media/film.h"

namespace tessera {

using FilmText = std::map<std::string, std::string>;

// Text as two fields, for formats that have a comment and a description.
struct FilmComment {
  bool has_parameters = false;
  std::string parameters;   // under that key, as it is
  std::string description;  // everything else: a JSON object; empty when there is no text at all
};
FilmComment SplitFilmText(const FilmText& text);
FilmText JoinFilmText(const FilmComment& comment);

// When frame `index` is shown, in ticks of 1 / `ticks_per_second` seconds, rounded: durations as differences add up.
int64_t FrameTick(const FrameRate& rate, int64_t index, int64_t ticks_per_second);

std::unique_ptr<FilmWriter> OpenVideoFilm(const std::filesystem::path& path, const FilmEncoding& encoding);
std::unique_ptr<FilmWriter> OpenWebpFilm(const std::filesystem::path& path, const FilmEncoding& encoding);
std::unique_ptr<FilmWriter> OpenGifFilm(const std::filesystem::path& path, const FilmEncoding& encoding);
std::unique_ptr<FilmWriter> OpenFrameFolder(const std::filesystem::path& path, const FilmEncoding& encoding);

std::string LeadingBytes(std::istream& file);  // the first twelve, or as many as there are: what tells formats apart

std::string FrameFileName(int64_t index);  // "00000.png"

// Every frame in order. Throws Error{kIo, kFormat, kUnsupported} and what `take` throws.
void ReadVideoFrames(const std::filesystem::path& path, const std::function<void(Picture)>& take);
FilmText ReadVideoText(const std::filesystem::path& path);
FilmText ReadGifText(const std::filesystem::path& path);

}  // namespace tessera
