#include "models/wan_denoiser.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tessera {
namespace {

// latents [channels, frames, h, w] <- (1 - g) unconditional + g conditional, in place of the conditional.
void MixGuidance(const Tensor& unconditional, double guidance, Tensor& conditional) noexcept {
  const auto scale = static_cast<float>(guidance);
  const float* u = unconditional.data<float>();
  float* c = conditional.mutable_data<float>();
  for (int64_t i = 0; i < conditional.numel(); ++i) c[i] = u[i] + scale * (c[i] - u[i]);
}

class WanDenoiser final : public Denoiser {
 public:
  WanDenoiser(const WanExperts& experts, const ModelFolder& folder, DenoisingJob job, Conditioning conditioning,
              const Shape& latents)
      : experts_(experts),
        job_(std::move(job)),
        conditioning_(std::move(conditioning)),
        latents_(latents),
        expert_(experts, folder, job_.compute),
        rotary_(WanRotary(experts.first, WanSequenceOf(experts, 0, job_, latents))) {
    input_ = Tensor::Zeros({experts.first.in_channels, latents[1], latents[2], latents[3]}, DType::kF32);
    raw_ = Tensor::Empty(latents, DType::kF32);
    if (guided()) unconditional_ = Tensor::Empty(latents, DType::kF32);
    if (is_conditioned() && !experts_.expand_timesteps) FillCondition();
  }

  void BeginStep(int /*step*/, float timestep, ForwardContext& context) override {
    if (!expert_.Change(timestep, context.workspace.trace())) return;
    sequence_ = WanSequenceOf(experts_, expert_.index(), job_, latents_);
    prompt_ = Prepare(conditioning_.prompt, context);
    if (guided()) negative_ = Prepare(conditioning_.negative_prompt, context);
  }

  void Predict(const Tensor& latents, float timestep, ForwardContext& context, Tensor& prediction) noexcept override {
    std::memcpy(input_.mutable_raw(), latents.raw(), latents.bytes());
    if (holds_first_frame()) PutFirstFrame(input_);
    context.attention.BeginPass(0);
    RunPass(prompt_, timestep, context, raw_);
    std::memcpy(prediction.mutable_raw(), raw_.raw(), raw_.bytes());
    if (!guided()) return;
    context.attention.BeginPass(1);
    RunPass(negative_, timestep, context, unconditional_);
    MixGuidance(unconditional_, expert_.index() == 0 ? job_.guidance_scale : job_.guidance_scale_2, prediction);
  }

  Tensor RawPrediction() const override { return raw_.Clone(); }

  void Finish(Tensor& latents) noexcept override {
    if (holds_first_frame()) PutFirstFrame(latents);
  }

 private:
  bool guided() const noexcept { return conditioning_.negative_prompt.rows.defined(); }
  bool is_conditioned() const noexcept { return !conditioning_.references.empty(); }
  bool holds_first_frame() const noexcept { return is_conditioned() && experts_.expand_timesteps; }

  WanConditioning Prepare(const PromptEmbeds& prompt, ForwardContext& context) const {
    return expert_->Condition(prompt.rows, prompt.valid, conditioning_.image_embeds, sequence_, context);
  }

  void RunPass(const WanConditioning& conditioning, float timestep, ForwardContext& context,
               Tensor& prediction) const noexcept {
    const TraceScope trace(context.workspace.trace(), PassLabel(context.attention.pass()));
    const int64_t tokens = WanTokens(experts_.first, sequence_);
    const int64_t frame = tokens / (latents_[1] / experts_.first.patch_t);
    const WanTimestep whole[] = {{tokens, timestep}};
    const WanTimestep parts[] = {{frame, 0.0f}, {tokens - frame, timestep}};
    WanTransformer::Input input{input_, whole, &conditioning, &rotary_};
    if (holds_first_frame() && tokens > frame) input.timesteps = parts;
    expert_->Forward(input, sequence_, context, prediction);
  }

  void PutFirstFrame(Tensor& latents) const noexcept { CopyFrames(conditioning_.references.front(), {}, latents); }

  // Channels behind the latents: which frames are given (one channel per frame of a latent frame), then the encoded
  // film that has them.
  void FillCondition() noexcept {
    const int64_t plane = latents_[2] * latents_[3], frames = latents_[1];
    float* mask = input_.mutable_data<float>() + latents_[0] * frames * plane;
    const bool has_last = job_.references.size() > 1;
    for (int64_t c = 0; c < experts_.temporal_factor; ++c) {
      for (int64_t t = 0; t < frames; ++t) {
        const int64_t frame = std::max<int64_t>(0, t * experts_.temporal_factor + c - (experts_.temporal_factor - 1));
        const bool given = frame == 0 || (has_last && frame == job_.frames - 1);
        std::fill_n(mask + (c * frames + t) * plane, plane, given ? 1.0f : 0.0f);
      }
    }
    const Tensor& film = conditioning_.references.front();
    std::memcpy(mask + experts_.temporal_factor * frames * plane, film.raw(), film.bytes());
  }

  const WanExperts& experts_;
  const DenoisingJob job_;
  const Conditioning conditioning_;
  const Shape latents_;
  WanExpertInUse expert_;
  const RotaryTable rotary_;
  WanSequence sequence_;
  WanConditioning prompt_, negative_;
  Tensor input_, raw_, unconditional_;
};

}  // namespace

bool WanExpertInUse::Change(float timestep, TraceRecorder* recorder) {
  const int wanted = experts_.At(static_cast<double>(timestep));
  if (wanted == index_) return false;
  const TraceScope trace(recorder, LoadLabel(WanExperts::Component(wanted)));
  transformer_.reset();
  index_ = wanted;
  transformer_ =
      std::make_unique<WanTransformer>(experts_.Of(wanted), folder_.Weights(WanExperts::Component(wanted)), compute_);
  return true;
}

void CopyFrames(const Tensor& film, FrameRun run, Tensor& other) noexcept {
  const int64_t plane = film.dim(2) * film.dim(3);
  for (int64_t c = 0; c < film.dim(0); ++c) {
    std::memcpy(other.mutable_data<float>() + (c * other.dim(1) + run.to) * plane,
                film.data<float>() + (c * film.dim(1) + run.from) * plane,
                static_cast<size_t>(run.count * plane) * sizeof(float));
  }
}

WanSequence WanSequenceOf(const WanExperts& experts, int expert, const DenoisingJob& job, const Shape& latents) {
  const auto references = static_cast<int64_t>(job.references.size());
  return {WanExperts::Component(expert),     latents[1], latents[2], latents[3], job.text_tokens,
          experts.picture_rows * references, job.compute};
}

std::unique_ptr<Denoiser> MakeWanDenoiser(const WanExperts& experts, const ModelFolder& folder, const DenoisingJob& job,
                                          Conditioning conditioning, const Shape& latents) {
  return std::make_unique<WanDenoiser>(experts, folder, job, std::move(conditioning), latents);
}

}  // namespace tessera
