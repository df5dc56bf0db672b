// CausalWan: films made block after block of frames, each block seeing the finished ones through a cache of keys and
// values (specification section 3.7; Self-Forcing, FastVideo's WanCausalDMDPipeline).
#include <algorithm>
#include <array>
#include <cstring>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "models/transformers/wan_key_cache.h"
#include "models/wan_family.h"
#include "schedulers/dmd.h"

namespace tessera {
namespace {

constexpr double kShift = 5.0, kShiftOfTwo = 12.0;  // of one and of two experts
constexpr float kContextTimestep = 0;               // finished frames are clean

// Frames are latent frames.
struct RolloutConfig {
  int64_t frames_per_block = 3;
  int64_t window = 21;  // frames that the cache holds, the block in work included
  int64_t sink = 0;     // first frames that stay in it
  bool lone_first_frame = false;

  static RolloutConfig From(const Config& config) {
    RolloutConfig rollout;
    rollout.frames_per_block = config.Int("num_frames_per_block", rollout.frames_per_block, 1, 1024);
    rollout.window = config.Int("sliding_window_num_frames", rollout.window, 1, 1 << 16);
    const int64_t local = config.Int("local_attn_size", -1, -1, 1 << 16);
    if (local > 0) rollout.window = local;
    rollout.sink = config.Int("sink_size", rollout.sink, 0, 1 << 16);
    rollout.lone_first_frame = config.Bool("independent_first_frame", rollout.lone_first_frame);
    if (rollout.sink + rollout.frames_per_block > rollout.window) {
      throw Error(ErrorKind::kFormat,
                  fmt::format("{}: a window of {} frames (sliding_window_num_frames, local_attn_size) has no room for "
                              "{} sink frames (sink_size) and a block of {} (num_frames_per_block)",
                              config.file(), rollout.window, rollout.sink, rollout.frames_per_block));
    }
    return rollout;
  }

  int64_t first_block() const noexcept { return lone_first_frame ? 1 : frames_per_block; }
  // The largest number of frames up to `frames` that whole blocks make.
  int64_t Round(int64_t frames) const noexcept {
    if (frames < first_block()) return first_block();
    return first_block() + (frames - first_block()) / frames_per_block * frames_per_block;
  }
  std::vector<int64_t> Blocks(int64_t frames) const {
    std::vector<int64_t> blocks = {first_block()};
    for (int64_t done = blocks[0]; done < frames; done += frames_per_block) blocks.push_back(frames_per_block);
    return blocks;
  }
  int64_t Capacity(int64_t frames) const noexcept { return std::min(window, frames); }
  int64_t SinkOf(int64_t frames) const noexcept { return frames <= window ? 0 : sink; }
};

WanSequence BlockSequence(const WanSequence& film, int64_t frames, int64_t cached_frames) {
  WanSequence block = film;
  block.frames = frames;
  block.cached_frames = cached_frames;
  return block;
}

// The pass in which an expert reads a finished block of frames.
TraceLabel FinishedLabel(size_t block) noexcept {
  return {.kind = TraceKind::kPass, .name = "finished block", .index = static_cast<int64_t>(block)};
}

struct Rollout {
  RolloutConfig config;
  std::vector<int64_t> blocks;
  int steps_per_block = 0;
};

class CausalDenoiser final : public Denoiser {
 public:
  CausalDenoiser(const WanFamily& family, const ModelFolder& folder, DenoisingJob job, Conditioning conditioning,
                 Rollout rollout)
      : experts_(family.experts()),
        job_(std::move(job)),
        conditioning_(std::move(conditioning)),
        rollout_(std::move(rollout)),
        latents_(family.LatentShape(job_)),
        expert_(experts_, folder, job_.compute) {
    sequence_ = WanSequenceOf(experts_, 0, job_, latents_);
    rotary_ = WanRotary(experts_.first, sequence_);
    frame_tokens_ = WanTokens(experts_.first, sequence_) / latents_[1];
    for (const int64_t frames : rollout_.blocks) first_frames_.push_back(first_frames_.back() + frames);
    block_ = Tensor::Empty({latents_[0], LargestBlock(), latents_[2], latents_[3]}, DType::kF32);
    raw_ = Tensor::Empty(block_.shape(), DType::kF32);
  }

  void BeginStep(int step, float timestep, ForwardContext& context) override {
    step_ = step;
    if (!expert_.Change(timestep, context.workspace.trace())) return;
    sequence_.component = WanExperts::Component(expert_.index());
    prompt_ = expert_->Condition(conditioning_.prompt.rows, conditioning_.prompt.valid, {}, sequence_, context);
    if (Seen().cache == nullptr) Seen().cache = MakeCache();
    if (Seen().finished < Seen().known) ReadAgain(context);
  }

  TensorState State() const override {
    TensorState state;
    for (const Expert& expert : seen_) state.AddNumber(NameOf(expert), static_cast<int64_t>(expert.finished));
    return state;
  }

  void Restore(int step, const Tensor& latents, const TensorState& state, ForwardContext& /*context*/) override {
    for (Expert& expert : seen_) {
      expert.known = static_cast<size_t>(state.Number(NameOf(expert), 0, step / rollout_.steps_per_block));
    }
    known_frames_ = latents.Clone();
  }

  // An expert that has not seen all finished blocks yet reads them first, as they are.
  void Predict(const Tensor& latents, float timestep, ForwardContext& context, Tensor& prediction) noexcept override {
    context.attention.BeginPass(0);
    const size_t block = static_cast<size_t>(step_ / rollout_.steps_per_block);
    for (; Seen().finished < block; ++Seen().finished) ReadFinished(latents, Seen().finished, context);
    BeginBlock(block);
    const TraceScope trace(context.workspace.trace(), PassLabel(context.attention.pass()));
    predicted_ = RunBlock(latents, block, timestep, context);
    std::memset(prediction.mutable_raw(), 0, prediction.bytes());
    CopyFrames(predicted_, {0, first_frames_[block], rollout_.blocks[block]}, prediction);
  }

  Tensor RawPrediction() const override { return predicted_.Clone(); }

 private:
  // What an expert knows of the film.
  struct Expert {
    std::unique_ptr<WanKeyCache> cache;
    size_t finished = 0;  // blocks whose clean frames are in the cache
    bool begun = false;   // the block behind them has its places
    size_t known = 0;     // blocks that were in the cache when the film was left
  };

  std::string NameOf(const Expert& expert) const { return fmt::format("finished_{}", &expert - seen_.data()); }

  // Fills the cache of a film that was left. The calls were counted when they were made first.
  void ReadAgain(ForwardContext& context) {
    const TensorState counts = context.attention.Counts();
    context.attention.BeginPass(0);
    for (; Seen().finished < Seen().known; ++Seen().finished) ReadFinished(known_frames_, Seen().finished, context);
    context.attention.CheckRuns();
    context.attention.RestoreCounts(counts);
  }

  Expert& Seen() noexcept { return seen_[static_cast<size_t>(expert_.index())]; }
  int64_t LargestBlock() const { return *std::max_element(rollout_.blocks.begin(), rollout_.blocks.end()); }

  std::unique_ptr<WanKeyCache> MakeCache() const {
    return std::make_unique<WanKeyCache>(experts_.Of(expert_.index()),
                                         rollout_.config.Capacity(latents_[1]) * frame_tokens_,
                                         rollout_.config.SinkOf(latents_[1]) * frame_tokens_, job_.compute);
  }

  void BeginBlock(size_t block) noexcept {
    if (Seen().begun) return;
    Seen().cache->Begin(rollout_.blocks[block] * frame_tokens_);
    Seen().begun = true;
  }

  void ReadFinished(const Tensor& latents, size_t block, ForwardContext& context) noexcept {
    const TraceScope trace(context.workspace.trace(), FinishedLabel(block));
    BeginBlock(block);
    RunBlock(latents, block, kContextTimestep, context);
    Seen().begun = false;
  }

  // The prediction for the block's frames, [channels, frames, height, width].
  Tensor RunBlock(const Tensor& latents, size_t block, float timestep, ForwardContext& context) noexcept {
    const int64_t frames = rollout_.blocks[block], first = first_frames_[block];
    Tensor input = FirstFrames(block_, frames), output = FirstFrames(raw_, frames);
    CopyFrames(latents, {first, 0, frames}, input);
    const WanSequence sequence = BlockSequence(sequence_, frames, rollout_.config.Capacity(latents_[1]));
    const RotaryTable rotary = {rotary_.cos.Narrow(0, first * frame_tokens_, frames * frame_tokens_),
                                rotary_.sin.Narrow(0, first * frame_tokens_, frames * frame_tokens_)};
    const WanTimestep timesteps[] = {{frames * frame_tokens_, timestep}};
    expert_->Forward({input, timesteps, &prompt_, &rotary, Seen().cache.get()}, sequence, context, output);
    return output;
  }

  // The memory of a block's tensor as one with fewer frames.
  static Tensor FirstFrames(Tensor& whole, int64_t frames) noexcept {
    return Tensor::Borrow(whole.mutable_raw(), {whole.dim(0), frames, whole.dim(2), whole.dim(3)}, whole.dtype());
  }

  const WanExperts& experts_;
  const DenoisingJob job_;
  const Conditioning conditioning_;
  const Rollout rollout_;
  const Shape latents_;
  WanSequence sequence_;  // of the whole film
  RotaryTable rotary_;    // likewise
  int64_t frame_tokens_ = 0;
  std::vector<int64_t> first_frames_ = {0};
  int step_ = 0;
  WanExpertInUse expert_;
  WanConditioning prompt_;
  std::array<Expert, 2> seen_;
  Tensor known_frames_;             // latents of the film that was left
  Tensor block_, raw_, predicted_;  // the last: the block in work within raw_
};

class WanCausalFamily final : public WanFamily {
 public:
  explicit WanCausalFamily(const ModelFolder& folder)
      : WanFamily(folder, Reads::kPrompts, Guidance::kDistilled, kDmdTrainTimesteps),
        rollout_(RolloutConfig::From(folder.ComponentConfig("transformer"))),
        scheduler_(DmdConfig::From(folder.SchedulerConfig(), experts().second ? kShiftOfTwo : kShift)) {
    scheduler_.steps = DmdConfig::Steps::kPlaces;
    if (experts().second) scheduler_.boundary = experts().boundary;
    const auto refuse = [&](const char* why) {
      throw Error(ErrorKind::kUnsupported, fmt::format("model '{}': {}", Printable(folder.name()), why));
    };
    if (experts().first.to_gate_compress) refuse("gates of video sparse attention do not work in blocks of frames");
    if (experts().expand_timesteps) refuse("expand_timesteps does not work in blocks of frames");
  }

  int64_t RoundFrames(int64_t asked) const override {
    const int64_t factor = experts().temporal_factor;
    const int64_t latent_frames = (WanFamily::RoundFrames(asked) - 1) / factor + 1;
    return (rollout_.Round(latent_frames) - 1) * factor + 1;
  }

  std::string_view DenoisingStageName() const noexcept override { return "CausalDMDDenoisingStage"; }
  std::vector<int64_t> DistilledTimesteps() const override {
    if (experts().second) return {1000, 850, 700, 550, 350, 275, 200, 125};
    return {1000, 750, 500, 250};
  }
  int TotalSteps(const DenoisingJob& job) const override {
    return job.steps * static_cast<int>(rollout_.Blocks(LatentShape(job)[1]).size());
  }
  std::unique_ptr<Scheduler> MakeScheduler(const DenoisingJob& job, const TorchGenerator& generator) const override {
    return MakeDmd(
        {MakeDmdTable(scheduler_, job.timesteps), rollout_.Blocks(LatentShape(job)[1]), generator, job.compute});
  }

  std::vector<SiteProblem> DenoiserSites(const DenoisingJob& job) const override {
    const Shape latents = LatentShape(job);
    std::vector<SiteProblem> sites;
    for (int expert = 0; expert < experts().count(); ++expert) {
      const WanSequence film = WanSequenceOf(experts(), expert, job, latents);
      for (const int64_t frames : BlockSizes(latents[1])) {
        const auto more = WanSites(experts().Of(expert), BlockSequence(film, frames, rollout_.Capacity(latents[1])));
        sites.insert(sites.end(), more.begin(), more.end());
      }
    }
    return sites;
  }

  // The mean over all steps, with the passes that read finished blocks.
  Cost StepCost(const DenoisingJob& job) const override {
    const Shape latents = LatentShape(job);
    const WanSequence film = WanSequenceOf(experts(), 0, job, latents);
    const int64_t capacity = rollout_.Capacity(latents[1]);
    const std::vector<int64_t> blocks = rollout_.Blocks(latents[1]);
    Cost cost =
        WanCost(experts().first, BlockSequence(film, *std::max_element(blocks.begin(), blocks.end()), capacity));
    cost.workspace_bytes = std::max(cost.workspace_bytes, WanConditioningCost(experts().first, film).workspace_bytes);
    cost.linear_flops = cost.attention_flops = 0;
    int64_t done = 0;
    for (size_t i = 0; i < blocks.size(); ++i) {
      done += blocks[i];
      const Cost pass = WanCost(experts().first, BlockSequence(film, blocks[i], std::min(done, capacity)));
      const double passes = job.steps + (i + 1 < blocks.size() ? experts().count() : 0);
      cost.linear_flops += pass.linear_flops * passes / TotalSteps(job);
      cost.attention_flops += pass.attention_flops * passes / TotalSteps(job);
    }
    const int64_t tokens = WanTokens(experts().first, film) / latents[1] * capacity;
    for (int expert = 0; expert < experts().count(); ++expert) {
      cost.state_bytes += WanKeyCache::Bytes(experts().Of(expert), tokens, job.compute);
    }
    return cost;
  }

  std::unique_ptr<Denoiser> MakeDenoiser(const ModelFolder& folder, const DenoisingJob& job,
                                         Conditioning conditioning) const override {
    const Rollout rollout = {rollout_, rollout_.Blocks(LatentShape(job)[1]), job.steps};
    return std::make_unique<CausalDenoiser>(*this, folder, job, std::move(conditioning), rollout);
  }

 private:
  std::vector<int64_t> BlockSizes(int64_t frames) const {
    std::vector<int64_t> sizes = rollout_.Blocks(frames);
    std::sort(sizes.begin(), sizes.end());
    sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
    return sizes;
  }

  RolloutConfig rollout_;
  DmdConfig scheduler_;
};

std::unique_ptr<ModelFamily> Open(const ModelFolder& folder) { return std::make_unique<WanCausalFamily>(folder); }

}  // namespace

extern const ModelFamilyEntry wan_causal_family;
const ModelFamilyEntry wan_causal_family = {"WanCausalDMDPipeline", Open};

}  // namespace tessera
