// At most 256 colours for a picture, and the picture in them.
#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "media/picture.h"

namespace tessera {

struct IndexedPicture {
  std::vector<std::array<uint8_t, 3>> palette;  // 1..256 colours
  std::vector<uint8_t> pixels;                  // [height, width], places in the palette
};

// A picture of few colours comes back exactly. Otherwise the colours are the means of boxes in RGB space, split at the
// mean of the axis with the largest variance, the worst box first (after Wu, "Efficient Statistical Computations for
// Optimal Color Quantization", Graphics Gems II), and the error of each pixel goes on to its neighbours (Floyd and
// Steinberg, "An Adaptive Algorithm for Spatial Greyscale", 1976). `most_colours` is 2..256.
IndexedPicture ReduceColours(const Picture& picture, int most_colours);

}  // namespace tessera
