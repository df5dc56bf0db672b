#include "pipeline/previews.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

constexpr int kFilmQuality = 75;
constexpr double kSlowest = 0.01;  // frames per second that a film may have

}  // namespace

fs::path PreviewPath(const OutputFile& file, int64_t latent_frames) {
  const bool is_folder = file.film == FilmFormat::kFrames;
  const std::string name = (is_folder ? file.path.filename() : file.path.stem()).string();
  return file.path.parent_path() / (name + (latent_frames > 1 ? ".preview.webp" : ".preview.png"));
}

Previews::Previews(RunState& run) : run_(run) {
  if (run.request.preview_every == 0) return;
  constexpr std::string_view kStage = "PreviewFittingStage";
  const TraceScope trace(run.trace.get(), StageLabel(kStage));
  const double begin = SecondsNow();
  projection_ = FitLatentProjection(run);
  run.report.AddStage(std::string(kStage), SecondsNow() - begin);
}

void Previews::Attach(const OutputFile& file, PictureState& picture) {
  if (!projection_) return;
  picture.take_estimate = [this, &file](int, const Tensor& clean) { Write(file, clean); };
}

// A run is not ended by a preview that cannot be written.
void Previews::Write(const OutputFile& file, const Tensor& clean) {
  const TraceScope trace(run_.trace.get(), WriteLabel("preview"));
  const Tensor latents = run_.family->Unpack(clean, run_.job, run_.statistics);
  try {
    WriteFrames(PreviewPath(file, latents.dim(1)), latents);
    is_failing_ = false;
  } catch (const Error& error) {
    if (!is_failing_) Log(LogLevel::kWarning, fmt::format("--preview-every: {}", error.what()));
    is_failing_ = true;
  }
}

void Previews::WriteFrames(const fs::path& path, const Tensor& latents) const {
  const Picture first = Frame(latents, 0);
  if (latents.dim(1) == 1) {
    const std::vector<uint8_t> bytes = EncodePicture(first, {});
    return WriteFileAtomically(path, std::as_bytes(std::span(bytes)));
  }
  const double fps = run_.request.fps.value_or(run_.family->Defaults().fps);
  const double of_latents = fps / static_cast<double>(run_.family->autoencoder().temporal_factor());
  const auto film = OpenFilm(path, {.format = FilmFormat::kWebp,
                                    .height = first.height,
                                    .width = first.width,
                                    .frame_rate = MakeFrameRate(std::max(of_latents, kSlowest)),
                                    .quality = kFilmQuality});
  film->Add(first);
  for (int64_t frame = 1; frame < latents.dim(1); ++frame) film->Add(Frame(latents, frame));
  film->Finish();
}

// Half the size of what will be decoded.
Picture Previews::Frame(const Tensor& latents, int64_t frame) const {
  const int64_t scale = std::max<int64_t>(run_.family->autoencoder().spatial_factor() / 2, 1);
  const Picture small = projection_->Draw(latents, frame);
  return Resize(small, small.height * scale, small.width * scale, Resample::kBicubic);
}

void Previews::Remove(const OutputFile& file) const {
  if (!projection_) return;
  std::error_code ignored;
  for (const int64_t frames : {1, 2}) fs::remove(PreviewPath(file, frames), ignored);
}

}  // namespace tessera
