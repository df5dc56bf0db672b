#include "pipeline/latent_projection.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "pipeline/resource_plan.h"
#include "platform/cpu/cpu.h"
#include "tensor/random.h"

namespace tessera {
namespace {

constexpr int64_t kCells = 8;    // latent pixels per side of a sample
constexpr int64_t kBlock = 4;    // of them, side of a block of one colour
constexpr float kDetail = 0.3f;  // how far pixels of a block differ, in standard deviations
constexpr double kRidge = 1e-3;  // per row
constexpr uint64_t kSeed = 1;

// Mean and deviation of every latent channel, for noise as the denoiser has it.
struct ChannelScales {
  std::vector<double> mean, deviation;
};

DenoisingJob SampleJob(const RunState& run) {
  const int64_t side = kCells * run.family->autoencoder().spatial_factor();
  DenoisingJob job = run.job;
  job.size = {side, side};
  job.frames = 1;
  job.references.clear();
  return job;
}

Tensor Unpacked(const RunState& run, const DenoisingJob& job, float everywhere) {
  Tensor noise = Tensor::Empty(run.family->NoiseShape(job), DType::kF32);
  std::fill_n(noise.mutable_data<float>(), noise.numel(), everywhere);
  return run.family->Unpack(run.family->PackNoise(noise), job, run.statistics);
}

// Unpacking is affine in every element, so two points tell it.
ChannelScales ScalesOf(const RunState& run, const DenoisingJob& job) {
  const Tensor zero = Unpacked(run, job, 0), one = Unpacked(run, job, 1);
  const int64_t channels = zero.dim(0), plane = zero.numel() / channels;
  ChannelScales scales;
  for (int64_t c = 0; c < channels; ++c) {
    double mean = 0, square = 0;
    for (int64_t i = c * plane; i < (c + 1) * plane; ++i) {
      const double base = zero.data<float>()[i], step = one.data<float>()[i] - base;
      mean += base / static_cast<double>(plane);
      square += step * step / static_cast<double>(plane);
    }
    scales.mean.push_back(mean);
    scales.deviation.push_back(std::sqrt(square));
  }
  return scales;
}

// Blocks of like latents with some detail, [channels, kCells, kCells], in standard deviations.
Tensor DrawSample(TorchGenerator& generator, int64_t channels) {
  constexpr int64_t kBlocks = kCells / kBlock;
  const Tensor blocks = generator.Randn({channels, kBlocks, kBlocks}, DType::kF32);
  Tensor sample = generator.Randn({channels, kCells, kCells}, DType::kF32);
  for (int64_t i = 0; i < sample.numel(); ++i) {
    const int64_t c = i / (kCells * kCells), y = i / kCells % kCells, x = i % kCells;
    float& value = sample.mutable_data<float>()[i];
    value = blocks.data<float>()[(c * kBlocks + y / kBlock) * kBlocks + x / kBlock] + kDetail * value;
  }
  return sample;
}

Tensor Scaled(const Tensor& sample, const ChannelScales& scales) {
  const int64_t channels = sample.dim(0), plane = kCells * kCells;
  Tensor latents = Tensor::Empty({channels, 1, kCells, kCells}, DType::kF32);
  for (int64_t i = 0; i < latents.numel(); ++i) {
    const auto c = static_cast<size_t>(i / plane);
    latents.mutable_data<float>()[i] =
        static_cast<float>(scales.mean[c] + scales.deviation[c] * static_cast<double>(sample.data<float>()[i]));
  }
  return latents;
}

// Mean colour of the pixels of one latent pixel; frame [height, width, 3].
std::array<double, 3> MeanColour(const Tensor& frame, int64_t cell_y, int64_t cell_x) {
  const int64_t side = frame.dim(0) / kCells;
  std::array<double, 3> mean{};
  for (int64_t y = cell_y * side; y < (cell_y + 1) * side; ++y) {
    for (int64_t i = 0; i < side * 3; ++i) {
      const double value = std::clamp(frame.data<float>()[(y * frame.dim(1) + cell_x * side) * 3 + i], -1.0f, 1.0f);
      mean[static_cast<size_t>(i % 3)] += value / static_cast<double>(side * side);
    }
  }
  return mean;
}

// The decoder with attention and memory of its own: the run's records stay as they are.
class SampleDecoder {
 public:
  SampleDecoder(const RunState& run, PictureSize size) : attention_(CpuDevice(), AttentionSchedule()) {
    const auto& spec = run.family->autoencoder();
    const AutoencoderJob job{.height = size.height, .width = size.width, .compute = run.precisions.vae};
    const auto sites = spec.Sites(job);
    attention_.Prepare(sites);
    workspace_.Reserve(spec.CostOf(job).workspace_bytes + attention_.WorkspaceBytes(sites));
    decoder_ = spec.Load(run.folder.Weights("vae"), job);
  }

  Tensor Decode(const Tensor& latents) {
    ForwardContext context{workspace_, attention_};
    Tensor decoded;
    decoder_->Decode(latents, context, [&](const Tensor& frame) { decoded = frame.Clone(); });
    attention_.CheckRuns();
    TESSERA_CHECK(decoded.defined());
    return decoded;
  }

 private:
  AttentionContext attention_;
  Workspace workspace_;
  std::unique_ptr<Autoencoder> decoder_;
};

// From weights of standardised channels to those of latents.
std::vector<double> Unscaled(std::vector<double> weights, const ChannelScales& scales) {
  const size_t channels = scales.mean.size();
  for (size_t c = 0; c < channels; ++c) {
    for (size_t colour = 0; colour < 3; ++colour) {
      double& weight = weights[c * 3 + colour];
      weight = scales.deviation[c] > 0 ? weight / scales.deviation[c] : 0;
      weights[channels * 3 + colour] -= weight * scales.mean[c];
    }
  }
  return weights;
}

void AddRows(const Tensor& sample, const Tensor& frame, std::vector<double>& x, std::vector<double>& y) {
  for (int64_t cell = 0; cell < kCells * kCells; ++cell) {
    for (int64_t c = 0; c < sample.dim(0); ++c) x.push_back(sample.data<float>()[c * kCells * kCells + cell]);
    x.push_back(1);
    const auto colour = MeanColour(frame, cell / kCells, cell % kCells);
    y.insert(y.end(), colour.begin(), colour.end());
  }
}

}  // namespace

Picture LatentProjection::Draw(const Tensor& latents, int64_t frame) const {
  const int64_t channels = latents.dim(0), plane = latents.dim(2) * latents.dim(3);
  TESSERA_CHECK(static_cast<int64_t>(weights_.size()) == (channels + 1) * 3);
  Picture picture{latents.dim(2), latents.dim(3), {}};
  for (int64_t i = 0; i < plane; ++i) {
    for (int64_t colour = 0; colour < 3; ++colour) {
      double value = weights_[static_cast<size_t>(channels * 3 + colour)];
      for (int64_t c = 0; c < channels; ++c) {
        value += weights_[static_cast<size_t>(c * 3 + colour)] *
                 static_cast<double>(latents.data<float>()[(c * latents.dim(1) + frame) * plane + i]);
      }
      picture.rgb.push_back(static_cast<uint8_t>(std::nearbyint(std::clamp(value * 0.5 + 0.5, 0.0, 1.0) * 255)));
    }
  }
  return picture;
}

LatentProjection FitLatentProjection(const RunState& run) {
  const DenoisingJob job = SampleJob(run);
  const ChannelScales scales = ScalesOf(run, job);
  const auto channels = static_cast<int64_t>(scales.mean.size());
  SampleDecoder decoder(run, job.size);
  TorchGenerator generator(kSeed);
  std::vector<double> x, y;
  for (int64_t n = 0; n < channels / 2 + 4; ++n) {  // at least twice as many blocks as unknowns
    const Tensor sample = DrawSample(generator, channels);
    AddRows(sample, decoder.Decode(Scaled(sample, scales)), x, y);
  }
  const double rows = static_cast<double>(y.size()) / 3;
  return LatentProjection(Unscaled(SolveLeastSquares(x, y, channels + 1, kRidge * rows), scales));
}

// Normal equations by elimination; the ridge makes them definite, so no pivots are needed.
std::vector<double> SolveLeastSquares(const std::vector<double>& x, const std::vector<double>& y, int64_t width,
                                      double ridge) {
  const auto n = static_cast<size_t>(width), row = n + 3, rows = x.size() / n;
  std::vector<double> system(n * row);
  for (size_t r = 0; r < rows; ++r) {
    for (size_t i = 0; i < n; ++i) {
      for (size_t j = 0; j < n; ++j) system[i * row + j] += x[r * n + i] * x[r * n + j];
      for (size_t k = 0; k < 3; ++k) system[i * row + n + k] += x[r * n + i] * y[r * 3 + k];
    }
  }
  for (size_t i = 0; i < n; ++i) system[i * row + i] += ridge;
  for (size_t pivot = 0; pivot < n; ++pivot) {
    for (size_t i = 0; i < n; ++i) {
      if (i == pivot) continue;
      const double factor = system[i * row + pivot] / system[pivot * row + pivot];
      for (size_t j = pivot; j < row; ++j) system[i * row + j] -= factor * system[pivot * row + j];
    }
  }
  std::vector<double> weights(n * 3);
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < 3; ++k) weights[i * 3 + k] = system[i * row + n + k] / system[i * row + i];
  }
  return weights;
}

}  // namespace tessera
