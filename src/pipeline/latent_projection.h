// A linear guess of what the autoencoder decodes: colours of latent pixels, good enough to see what a picture becomes.
#pragma once
#include <vector>

#include "media/picture.h"
#include "pipeline/run_state.h"

namespace tessera {

class LatentProjection {
 public:
  // `weights` [channels + 1, 3]: red, green, blue in -1..1 per unit of every channel, then what is added.
  explicit LatentProjection(std::vector<double> weights) : weights_(std::move(weights)) {}

  // One frame of latents [channels, frames, h, w] f32 as the autoencoder takes them: a picture of h x w pixels.
  Picture Draw(const Tensor& latents, int64_t frame) const;

 private:
  std::vector<double> weights_;
};

// Decodes some tiny latents with the run's own autoencoder and fits colours to them by least squares: works for every
// checkpoint and leaves nothing of it in `run`, whose statistics must be read. Throws Error.
LatentProjection FitLatentProjection(const RunState& run);

// Least squares: x [rows, width], y [rows, 3] -> weights [width, 3] with the smallest |x w - y|^2 + ridge |w|^2.
std::vector<double> SolveLeastSquares(const std::vector<double>& x, const std::vector<double>& y, int64_t width,
                                      double ridge);

}  // namespace tessera
