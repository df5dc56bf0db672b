// Pictures of a comparison made small for a sheet.
#pragma once
#include <vector>

#include "cli/compare/comparison.h"

namespace tessera {

inline constexpr int64_t kMostSheetPixels = int64_t{1} << 24;

// Indices of the columns that were made.
std::vector<size_t> MadeColumns(const Comparison& comparison);

// The size of the first column's first picture, its sides at most `largest_side`.
PictureSize ThumbnailSize(const Comparison& comparison, int64_t largest_side);
Picture Thumbnail(const Picture& picture, PictureSize size);

// How many blocks of a sheet's width fit on it: `all` of them or fewer, one at least.
size_t BlocksOnSheet(size_t all, int64_t width, int64_t height);

}  // namespace tessera
