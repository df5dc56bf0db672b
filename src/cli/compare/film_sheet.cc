#include "cli/compare/film_sheet.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/compare/contact_sheet.h"
#include "media/drawing.h"
#include "media/picture_metrics.h"

namespace tessera {
namespace {

constexpr int64_t kLargestSide = 192, kSmallestWidth = 72, kMargin = 12, kGap = 6, kLeastSheetWidth = 420;
constexpr int64_t kMostSheetPixels = int64_t{1} << 24;

class FilmSheet {
 public:
  FilmSheet(const Comparison& comparison, const std::vector<BackendScore>& scores)
      : comparison_(comparison), scores_(scores) {
    for (size_t i = 0; i < comparison.columns.size(); ++i) {
      if (!comparison.columns[i].pictures.empty()) rows_.push_back(i);
    }
    MeasureFrames();
    const auto rows = static_cast<int64_t>(rows_.size());
    block_height_ = 2 * TextHeight() + 2 * kGap + rows * (TextHeight() + kGap / 2) +
                    (2 * rows - 1) * (picture_height_ + kGap) + kGap;
    width_ = std::max(kLeastSheetWidth, 2 * kMargin + static_cast<int64_t>(shown_most_) * frame_width_);
    const size_t all = comparison.columns.front().pictures.size();
    blocks_ = std::min(all, static_cast<size_t>(std::max<int64_t>(kMostSheetPixels / (width_ * block_height_), 1)));
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
    const Picture& first = films.front().frames.front();
    const double scale =
        std::min(1.0, static_cast<double>(kLargestSide) / static_cast<double>(std::max(first.height, first.width)));
    picture_height_ = std::max<int64_t>(static_cast<int64_t>(static_cast<double>(first.height) * scale), 1);
    picture_width_ = std::max<int64_t>(static_cast<int64_t>(static_cast<double>(first.width) * scale), 1);
    frame_width_ = std::max(picture_width_, kSmallestWidth) + kGap;
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
    for (size_t i = 0; i < shown.size(); ++i) Paste(sheet, {top, LeftOf(i)}, Thumbnail(made.frames[shown[i]]));
    top += picture_height_ + kGap;
    if (film.column == 0) return top;
    for (size_t i = 0; i < shown.size(); ++i) {
      const size_t t = shown[i];
      Paste(sheet, {top, LeftOf(i)},
            Thumbnail(DifferencePicture(made.frames[t], reference.frames[t], kDifferenceGain)));
    }
    return top + picture_height_ + kGap;
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

  Picture Thumbnail(const Picture& picture) const {
    if (picture.height == picture_height_ && picture.width == picture_width_) return picture;
    return Resize(picture, picture_height_, picture_width_, Resample::kLanczos);
  }
  int64_t LeftOf(size_t frame) const { return kMargin + static_cast<int64_t>(frame) * frame_width_; }

  const Comparison& comparison_;
  const std::vector<BackendScore>& scores_;
  std::vector<size_t> rows_;  // into Comparison::columns
  int64_t picture_height_ = 0, picture_width_ = 0, frame_width_ = 0;
  int64_t block_height_ = 0, width_ = 0;
  size_t shown_most_ = 0, blocks_ = 0;
};

}  // namespace

Picture DrawFilmSheet(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  return FilmSheet(comparison, scores).Draw();
}

}  // namespace tessera
