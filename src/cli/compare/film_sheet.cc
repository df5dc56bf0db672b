#include "cli/compare/film_sheet.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/compare/contact_sheet.h"
#include "cli/compare/thumbnails.h"
#include "media/drawing.h"
#include "media/picture_metrics.h"

namespace tessera {
namespace {

constexpr int64_t kLargestSide = 192, kSmallestWidth = 72, kMargin = 12, kGap = 6, kLeastSheetWidth = 420;

class FilmSheet {
 public:
  FilmSheet(const Comparison& comparison, const std::vector<BackendScore>& scores)
      : comparison_(comparison), scores_(scores), rows_(MadeColumns(comparison)) {
    MeasureFrames();
    const auto rows = static_cast<int64_t>(rows_.size());
    block_height_ = 2 * TextHeight() + 2 * kGap + rows * (TextHeight() + kGap / 2) +
                    (2 * rows - 1) * (picture_.height + kGap) + kGap;
    width_ = std::max(kLeastSheetWidth, 2 * kMargin + static_cast<int64_t>(shown_most_) * frame_width_);
    blocks_ = BlocksOnSheet(comparison.columns.front().pictures.size(), width_, block_height_);
  }

  Picture Draw() const {
    const int64_t footer = TextHeight() + kMargin;
    Picture sheet = FilledPicture(kMargin + static_cast<int64_t>(blocks_) * block_height_ + footer, width_, kWhite);
    for (size_t block = 0; block < blocks_; ++block) {
      DrawBlock(sheet, kMargin + static_cast<int64_t>(block) * block_height_, block);
    }
    Write(sheet, sheet.height - footer + kGap / 2, Footer());
    return sheet;
  }

 private:
  void MeasureFrames() {
    const auto& films = comparison_.columns.front().pictures;
    picture_ = ThumbnailSize(comparison_, kLargestSide);
    frame_width_ = std::max(picture_.width, kSmallestWidth) + kGap;
    for (const MadePicture& film : films) shown_most_ = std::max(shown_most_, film.frames.size());
    shown_most_ = std::min(shown_most_, kSheetFrames);
  }

  void Write(Picture& sheet, int64_t top, const std::string& text) const {
    DrawText(sheet, {top, kMargin}, CutToWidth(text, width_ - 2 * kMargin));
  }

  void DrawBlock(Picture& sheet, int64_t top, size_t block) const {
    const MadePicture& first = comparison_.columns.front().pictures[block];
    const std::vector<size_t> shown = SpreadFrames(first.frames.size(), kSheetFrames);
    if (!comparison_.model.empty()) {
      Write(sheet, top, fmt::format("seed {}: {}", first.seed, comparison_.prompts[first.prompt]));
    }
    top += TextHeight() + kGap;
    for (size_t i = 0; i < shown.size(); ++i) {
      DrawText(sheet, {top, LeftOf(i)}, CutToWidth(fmt::format("frame {}", shown[i]), frame_width_ - kGap));
    }
    top += TextHeight() + kGap;
    for (const size_t row : rows_) top = DrawRow(sheet, top, {row, block}, shown);
  }

  struct Film {
    size_t column, index;
  };
  // Returns where the next row begins.
  int64_t DrawRow(Picture& sheet, int64_t top, Film film, const std::vector<size_t>& shown) const {
    const auto& made = comparison_.columns[film.column].pictures[film.index];
    const auto& reference = comparison_.columns.front().pictures[film.index];
    Write(sheet, top, Label(film));
    top += TextHeight() + kGap / 2;
    for (size_t i = 0; i < shown.size(); ++i)
      Paste(sheet, {top, LeftOf(i)}, Thumbnail(made.frames[shown[i]], picture_));
    top += picture_.height + kGap;
    if (film.column == 0) return top;
    for (size_t i = 0; i < shown.size(); ++i) {
      const size_t t = shown[i];
      Paste(sheet, {top, LeftOf(i)},
            Thumbnail(DifferencePicture(made.frames[t], reference.frames[t], kDifferenceGain), picture_));
    }
    return top + picture_.height + kGap;
  }

  std::string Label(Film film) const {
    const PictureScore& score = scores_[film.column].pictures[film.index];
    return fmt::format("{}: PSNR {} SSIM {:.4f} temporal {:.3f}", comparison_.columns[film.column].label,
                       FormatPsnr(score.psnr), score.ssim, score.temporal_difference);
  }

  std::string Footer() const {
    const size_t all = comparison_.columns.front().pictures.size();
    return fmt::format("below each film: |difference from {}| x {}{}", comparison_.columns.front().label,
                       kDifferenceGain, blocks_ < all ? fmt::format("; {} of {} films", blocks_, all) : "");
  }

  int64_t LeftOf(size_t frame) const { return kMargin + static_cast<int64_t>(frame) * frame_width_; }

  const Comparison& comparison_;
  const std::vector<BackendScore>& scores_;
  std::vector<size_t> rows_;  // into Comparison::columns
  PictureSize picture_;
  int64_t frame_width_ = 0;
  int64_t block_height_ = 0, width_ = 0;
  size_t shown_most_ = 0, blocks_ = 0;
};

}  // namespace

Picture DrawFilmSheet(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  return FilmSheet(comparison, scores).Draw();
}

}  // namespace tessera
