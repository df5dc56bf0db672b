#include "cli/compare/existing_films.h"

#include <set>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "media/read_film.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::string FileName(const std::string& path) {
  const fs::path whole(path);
  return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
}

std::vector<std::string> LabelsOf(const std::vector<std::string>& paths) {
  std::vector<std::string> labels;
  for (const std::string& path : paths) labels.push_back(FileName(path));
  if (std::set<std::string>(labels.begin(), labels.end()).size() != paths.size()) labels = paths;
  if (std::set<std::string>(labels.begin(), labels.end()).size() != paths.size()) {
    throw Error(ErrorKind::kUsage, "compare: the same film is named twice");
  }
  for (std::string& label : labels) label = Printable(label);
  return labels;
}

std::string Describe(const std::vector<Picture>& frames) {
  return fmt::format("{} frames of {} x {} pixels", frames.size(), frames.front().width, frames.front().height);
}

void CheckAlike(const ComparedBackend& column, const ComparedBackend& reference) {
  const auto& frames = column.pictures.front().frames;
  const auto& wanted = reference.pictures.front().frames;
  const bool alike = frames.size() == wanted.size() && frames.front().height == wanted.front().height &&
                     frames.front().width == wanted.front().width;
  if (alike) return;
  throw Error(ErrorKind::kUsage,
              fmt::format("compare: '{}' has {}, but '{}' {}; films of the same size and length can be compared",
                          column.label, Describe(frames), reference.label, Describe(wanted)));
}

}  // namespace

Comparison ReadExistingFilms(const std::vector<std::string>& paths) {
  if (paths.size() < 2) {
    throw Error(ErrorKind::kUsage,
                "compare: one film is named, at least two can be compared; with --backends it makes "
                "them");
  }
  const std::vector<std::string> labels = LabelsOf(paths);
  Comparison comparison{.model = "", .prompts = {}, .seeds = {}, .columns = {}};
  for (size_t i = 0; i < paths.size(); ++i) {
    ComparedBackend& column = comparison.columns.emplace_back();
    column.label = labels[i];
    column.pictures.emplace_back();
    column.pictures.back().frames = ReadFilm(paths[i]);
    CheckAlike(column, comparison.columns.front());
  }
  return comparison;
}

}  // namespace tessera
