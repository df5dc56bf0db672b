// How alike two films are, frame by frame and in how they move.
#pragma once
#include <span>
#include <vector>

#include "media/picture.h"

namespace tessera {

// One value per frame.
struct FilmMetrics {
  std::vector<double> psnr;  // dB, infinite where the frames are equal
  std::vector<double> ssim;
  // Mean over pixels and channels of |(x[t] - x[t-1]) - (r[t] - r[t-1])| in grey levels of 255, x the film and r the
  // reference: 0 where both change alike, whatever they show; large where one flickers or moves otherwise. The first
  // frame's is 0.
  std::vector<double> temporal_difference;

  // Over the frames that have a predecessor; 0 when there is none.
  double MeanTemporalDifference() const noexcept;
};

// As many frames of the same size in both.
FilmMetrics CompareFilms(std::span<const Picture> film, std::span<const Picture> reference);

// Indices of up to `count` frames spread evenly over `frames`, the first and the last among them.
std::vector<size_t> SpreadFrames(size_t frames, size_t count);

}  // namespace tessera
