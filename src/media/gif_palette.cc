#include "media/gif_palette.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <unordered_map>

#include "base/check.h"

namespace tessera {
namespace {

using Colour = std::array<uint8_t, 3>;

// Colours closer than this share a bin of the histogram, and a cell of the search.
constexpr int kBinBits = 5, kCellBits = 6;

int Place(const uint8_t* rgb, int bits) {
  const int shift = 8 - bits;
  return (rgb[0] >> shift) << 2 * bits | (rgb[1] >> shift) << bits | rgb[2] >> shift;
}

// Nothing when there are more colours than that.
std::optional<IndexedPicture> KeepColours(const Picture& picture, size_t most_colours) {
  IndexedPicture indexed;
  indexed.pixels.reserve(picture.rgb.size() / 3);
  std::unordered_map<uint32_t, uint8_t> places;
  for (size_t at = 0; at < picture.rgb.size(); at += 3) {
    const uint8_t* rgb = picture.rgb.data() + at;
    const uint32_t key = uint32_t{rgb[0]} << 16 | uint32_t{rgb[1]} << 8 | rgb[2];
    const auto [found, added] = places.try_emplace(key, static_cast<uint8_t>(indexed.palette.size()));
    if (added) {
      if (indexed.palette.size() == most_colours) return std::nullopt;
      indexed.palette.push_back({rgb[0], rgb[1], rgb[2]});
    }
    indexed.pixels.push_back(found->second);
  }
  return indexed;
}

struct Bin {
  double weight = 0;
  std::array<double, 3> colour{};  // sum of its pixels, then their mean
};

std::vector<Bin> Histogram(const Picture& picture) {
  std::vector<Bin> bins(size_t{1} << 3 * kBinBits);
  for (size_t at = 0; at < picture.rgb.size(); at += 3) {
    const uint8_t* rgb = picture.rgb.data() + at;
    Bin& bin = bins[static_cast<size_t>(Place(rgb, kBinBits))];
    bin.weight += 1;
    for (size_t axis = 0; axis < 3; ++axis) bin.colour[axis] += rgb[axis];
  }
  std::erase_if(bins, [](const Bin& bin) { return bin.weight == 0; });
  for (Bin& bin : bins) {
    for (double& sum : bin.colour) sum /= bin.weight;
  }
  return bins;
}

// Bins that become one colour.
struct Box {
  size_t begin = 0, end = 0;
  std::array<double, 3> mean{};
  size_t axis = 0;   // the one with the largest squared error,
  double error = 0;  // and how much that is
};

Box MakeBox(const std::vector<Bin>& bins, size_t begin, size_t end) {
  Box box{begin, end};
  double weight = 0;
  for (size_t i = begin; i < end; ++i) {
    weight += bins[i].weight;
    for (size_t axis = 0; axis < 3; ++axis) box.mean[axis] += bins[i].weight * bins[i].colour[axis];
  }
  for (double& sum : box.mean) sum /= weight;
  std::array<double, 3> errors{};
  for (size_t i = begin; i < end; ++i) {
    for (size_t axis = 0; axis < 3; ++axis) {
      const double difference = bins[i].colour[axis] - box.mean[axis];
      errors[axis] += bins[i].weight * difference * difference;
    }
  }
  box.axis = static_cast<size_t>(std::max_element(errors.begin(), errors.end()) - errors.begin());
  box.error = end - begin > 1 ? errors[box.axis] : 0;
  return box;
}

std::vector<Colour> ChoosePalette(std::vector<Bin> bins, size_t colours) {
  std::vector<Box> boxes{MakeBox(bins, 0, bins.size())};
  while (boxes.size() < colours) {
    const auto worst =
        std::max_element(boxes.begin(), boxes.end(), [](const Box& a, const Box& b) { return a.error < b.error; });
    const Box box = *worst;
    if (box.error <= 0) break;
    const auto first = bins.begin() + static_cast<std::ptrdiff_t>(box.begin);
    const auto last = bins.begin() + static_cast<std::ptrdiff_t>(box.end);
    const auto middle =
        std::stable_partition(first, last, [&](const Bin& bin) { return bin.colour[box.axis] <= box.mean[box.axis]; });
    // Rounding can put every bin on one side of the mean.
    if (middle == first || middle == last) {
      worst->error = 0;
      continue;
    }
    const auto split = static_cast<size_t>(middle - bins.begin());
    *worst = MakeBox(bins, box.begin, split);
    boxes.push_back(MakeBox(bins, split, box.end));
  }
  std::vector<Colour> palette;
  for (const Box& box : boxes) {
    Colour& colour = palette.emplace_back();
    for (size_t axis = 0; axis < 3; ++axis) colour[axis] = static_cast<uint8_t>(std::lround(box.mean[axis]));
  }
  return palette;
}

// The nearest colour of the palette, searched once for each cell of colours.
class NearestColour {
 public:
  explicit NearestColour(const std::vector<Colour>& palette)
      : palette_(palette), cells_(size_t{1} << 3 * kCellBits, -1) {}

  uint8_t Find(const Colour& colour) {
    int16_t& cell = cells_[static_cast<size_t>(Place(colour.data(), kCellBits))];
    if (cell < 0) cell = Search(colour);
    return static_cast<uint8_t>(cell);
  }

 private:
  int16_t Search(const Colour& colour) const {
    constexpr int kMask = 0xFF << (8 - kCellBits) & 0xFF, kHalf = 1 << (7 - kCellBits);
    int best_distance = std::numeric_limits<int>::max();
    size_t best = 0;
    for (size_t i = 0; i < palette_.size(); ++i) {
      int distance = 0;
      for (size_t axis = 0; axis < 3; ++axis) {
        const int difference = (colour[axis] & kMask) + kHalf - palette_[i][axis];
        distance += difference * difference;
      }
      if (distance < best_distance) {
        best_distance = distance;
        best = i;
      }
    }
    return static_cast<int16_t>(best);
  }

  const std::vector<Colour>& palette_;
  std::vector<int16_t> cells_;
};

// Errors are kept in sixteenths, one row ahead: [width + 2, 3] with a column more on each side.
std::vector<uint8_t> Dither(const Picture& picture, const std::vector<Colour>& palette) {
  std::vector<uint8_t> pixels(picture.rgb.size() / 3);
  NearestColour nearest(palette);
  const auto width = static_cast<size_t>(picture.width);
  std::vector<int> above((width + 2) * 3), below;
  for (size_t y = 0; y < static_cast<size_t>(picture.height); ++y) {
    below.assign(above.size(), 0);
    for (size_t x = 0; x < width; ++x) {
      const size_t pixel = y * width + x;
      Colour wanted;
      for (size_t axis = 0; axis < 3; ++axis) {
        const int error = above[(x + 1) * 3 + axis];
        wanted[axis] = static_cast<uint8_t>(std::clamp(picture.rgb[pixel * 3 + axis] + ((error + 8) >> 4), 0, 255));
      }
      pixels[pixel] = nearest.Find(wanted);
      for (size_t axis = 0; axis < 3; ++axis) {
        const int error = wanted[axis] - palette[pixels[pixel]][axis];
        above[(x + 2) * 3 + axis] += 7 * error;
        below[x * 3 + axis] += 3 * error;
        below[(x + 1) * 3 + axis] += 5 * error;
        below[(x + 2) * 3 + axis] += error;
      }
    }
    above.swap(below);
  }
  return pixels;
}

}  // namespace

IndexedPicture ReduceColours(const Picture& picture, int most_colours) {
  TESSERA_CHECK(most_colours >= 2 && most_colours <= 256 && !picture.rgb.empty());
  const auto colours = static_cast<size_t>(most_colours);
  if (auto exact = KeepColours(picture, colours)) return std::move(*exact);
  IndexedPicture indexed;
  indexed.palette = ChoosePalette(Histogram(picture), colours);
  indexed.pixels = Dither(picture, indexed.palette);
  return indexed;
}

}  // namespace tessera
