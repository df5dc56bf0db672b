#include "cli/compare/contact_sheet.h"

#include <algorithm>

#include <fmt/format.h>

#include "cli/compare/film_sheet.h"
#include "cli/compare/thumbnails.h"
#include "media/drawing.h"
#include "media/picture_metrics.h"

namespace tessera {
namespace {

constexpr int64_t kLargestSide = 256, kSmallestWidth = 150, kMargin = 12, kGap = 6;

struct Layout {
  std::vector<size_t> columns;  // into Comparison::columns
  PictureSize picture;
  int64_t column_width, row_height, header_height;
  size_t rows, all_rows;
};

Layout LayoutOf(const Comparison& comparison) {
  Layout layout{};
  layout.columns = MadeColumns(comparison);
  layout.picture = ThumbnailSize(comparison, kLargestSide);
  layout.column_width = std::max(layout.picture.width, kSmallestWidth) + kGap;
  layout.header_height = kMargin + TextHeight(2) + kGap;
  layout.row_height = 2 * layout.picture.height + 2 * TextHeight() + 4 * kGap;
  layout.all_rows = comparison.columns.front().pictures.size();
  const int64_t width = 2 * kMargin + static_cast<int64_t>(layout.columns.size()) * layout.column_width;
  layout.rows = BlocksOnSheet(layout.all_rows, width, layout.row_height);
  return layout;
}

void DrawCell(Picture& sheet, Place place, const Comparison& comparison, const BackendScore& score,
              const Layout& layout, size_t column, size_t row) {
  const MadePicture& made = comparison.columns[column].pictures[row];
  const MadePicture& reference = comparison.columns.front().pictures[row];
  Paste(sheet, place, Thumbnail(made.frames.front(), layout.picture));
  place.top += layout.picture.height + kGap;
  Paste(sheet, place,
        Thumbnail(DifferencePicture(made.frames.front(), reference.frames.front(), kDifferenceGain), layout.picture));
  place.top += layout.picture.height + kGap / 2;
  const PictureScore& figures = score.pictures[row];
  DrawText(sheet, place,
           CutToWidth(fmt::format("PSNR {} SSIM {:.4f}", FormatPsnr(figures.psnr), figures.ssim),
                      layout.column_width - kGap));
}

}  // namespace

Picture DrawContactSheet(const Comparison& comparison, const std::vector<BackendScore>& scores) {
  if (HasFilms(comparison)) return DrawFilmSheet(comparison, scores);
  const Layout layout = LayoutOf(comparison);
  const auto columns = static_cast<int64_t>(layout.columns.size());
  const int64_t footer = TextHeight() + kMargin;
  Picture sheet = FilledPicture(layout.header_height + static_cast<int64_t>(layout.rows) * layout.row_height + footer,
                                2 * kMargin + columns * layout.column_width, kWhite);
  const auto left_of = [&](int64_t column) { return kMargin + column * layout.column_width; };
  for (int64_t c = 0; c < columns; ++c) {
    const std::string& label = comparison.columns[layout.columns[static_cast<size_t>(c)]].label;
    const int scale = TextWidth(label, 2) <= layout.column_width - kGap ? 2 : 1;
    DrawText(sheet, {kMargin, left_of(c)}, CutToWidth(label, layout.column_width - kGap, scale), {kBlack, scale});
  }
  for (size_t row = 0; row < layout.rows; ++row) {
    const int64_t top = layout.header_height + static_cast<int64_t>(row) * layout.row_height;
    const MadePicture& first = comparison.columns.front().pictures[row];
    DrawText(sheet, {top, kMargin},
             CutToWidth(fmt::format("seed {}: {}", first.seed, comparison.prompts[first.prompt]),
                        sheet.width - 2 * kMargin));
    for (int64_t c = 0; c < columns; ++c) {
      const size_t column = layout.columns[static_cast<size_t>(c)];
      DrawCell(sheet, {top + TextHeight() + kGap / 2, left_of(c)}, comparison, scores[column], layout, column, row);
    }
  }
  const std::string cut =
      layout.rows < layout.all_rows ? fmt::format("; {} of {} rows", layout.rows, layout.all_rows) : "";
  DrawText(sheet, {sheet.height - footer + kGap / 2, kMargin},
           CutToWidth(fmt::format("below each picture: |difference from {}| x {}{}", comparison.columns.front().label,
                                  kDifferenceGain, cut),
                      sheet.width - 2 * kMargin));
  return sheet;
}

}  // namespace tessera
