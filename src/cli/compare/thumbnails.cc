#include "cli/compare/thumbnails.h"

#include <algorithm>

namespace tessera {

std::vector<size_t> MadeColumns(const Comparison& comparison) {
  std::vector<size_t> columns;
  for (size_t i = 0; i < comparison.columns.size(); ++i) {
    if (!comparison.columns[i].pictures.empty()) columns.push_back(i);
  }
  return columns;
}

PictureSize ThumbnailSize(const Comparison& comparison, int64_t largest_side) {
  const Picture& first = comparison.columns.front().pictures.front().frames.front();
  const double scale =
      std::min(1.0, static_cast<double>(largest_side) / static_cast<double>(std::max(first.height, first.width)));
  const auto scaled = [&](int64_t side) {
    return std::max<int64_t>(static_cast<int64_t>(static_cast<double>(side) * scale), 1);
  };
  return {scaled(first.height), scaled(first.width)};
}

Picture Thumbnail(const Picture& picture, PictureSize size) {
  if (picture.height == size.height && picture.width == size.width) return picture;
  return Resize(picture, size.height, size.width, Resample::kLanczos);
}

size_t BlocksOnSheet(size_t all, int64_t width, int64_t height) {
  return std::min(all, static_cast<size_t>(std::max<int64_t>(kMostSheetPixels / (width * height), 1)));
}

}  // namespace tessera
