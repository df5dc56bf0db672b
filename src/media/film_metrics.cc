#include "media/film_metrics.h"

#include <algorithm>
#include <cstdlib>

#include "base/check.h"
#include "media/picture_metrics.h"

namespace tessera {
namespace {

double TemporalDifference(std::span<const Picture, 2> film, std::span<const Picture, 2> reference) {
  int64_t sum = 0;
  for (size_t i = 0; i < film[1].rgb.size(); ++i) {
    const int change = film[1].rgb[i] - film[0].rgb[i];
    const int wanted = reference[1].rgb[i] - reference[0].rgb[i];
    sum += std::abs(change - wanted);
  }
  return static_cast<double>(sum) / static_cast<double>(film[1].rgb.size());
}

}  // namespace

double FilmMetrics::MeanTemporalDifference() const noexcept {
  if (temporal_difference.size() < 2) return 0;
  double sum = 0;
  for (const double value : temporal_difference) sum += value;
  return sum / static_cast<double>(temporal_difference.size() - 1);
}

FilmMetrics CompareFilms(std::span<const Picture> film, std::span<const Picture> reference) {
  TESSERA_CHECK(film.size() == reference.size());
  FilmMetrics metrics;
  for (size_t t = 0; t < film.size(); ++t) {
    metrics.psnr.push_back(Psnr(film[t], reference[t]));
    metrics.ssim.push_back(Ssim(film[t], reference[t]));
    metrics.temporal_difference.push_back(
        t == 0 ? 0 : TemporalDifference(film.subspan(t - 1).first<2>(), reference.subspan(t - 1).first<2>()));
  }
  return metrics;
}

std::vector<size_t> SpreadFrames(size_t frames, size_t count) {
  std::vector<size_t> indices;
  const size_t shown = std::min(frames, count);
  for (size_t i = 0; i < shown; ++i) {
    indices.push_back(shown == 1 ? 0 : (i * (frames - 1) + (shown - 1) / 2) / (shown - 1));
  }
  return indices;
}

}  // namespace tessera
