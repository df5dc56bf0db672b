// Small pictures of what is being made (--preview-every): the estimate of the finished latents, without the decoder.
#pragma once
#include <filesystem>
#include <optional>

#include "pipeline/latent_projection.h"
#include "pipeline/output_files.h"
#include "pipeline/run_state.h"

namespace tessera {

// "out/fox.mp4" -> "out/fox.preview.webp", an animation for latents of several frames, else ".preview.png".
std::filesystem::path PreviewPath(const OutputFile& file, int64_t latent_frames);

class Previews {
 public:
  // Fits the colours when the run asks for previews: after its encodings, before its first step. Throws Error.
  explicit Previews(RunState& run);

  // Has the picture write previews beside `file`, which stays where it is until the picture is done.
  void Attach(const OutputFile& file, PictureState& picture);
  // Once `file` is written: its preview has served.
  void Remove(const OutputFile& file) const;

 private:
  void Write(const OutputFile& file, const Tensor& clean);
  void WriteFrames(const std::filesystem::path& path, const Tensor& latents) const;
  Picture Frame(const Tensor& latents, int64_t frame) const;

  RunState& run_;
  std::optional<LatentProjection> projection_;
  bool is_failing_ = false;  // and it was said
};

}  // namespace tessera
