#include "pipeline/checkpoints.h"

#include <cstring>

#include <fmt/format.h>

#include "base/atomic_file.h"
#include "base/interrupt_advice.h"
#include "base/log.h"
#include "base/text.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

std::string Quoted(const std::string& path) { return Printable(path, 400); }

std::string Prompt(size_t index) { return fmt::format("prompt_{}", index); }

void SavePrompt(const std::string& name, const PromptEmbeds& prompt, TensorState& state) {
  state.Add(name, prompt.rows);
  state.AddNumber(name + "_valid", prompt.valid);
}

// Rows as the text encoder would give them.
PromptEmbeds LoadPrompt(const RunState& run, const TensorState& state, const std::string& name) {
  const TextTask task = run.family->TextTasks("", run.job.text_tokens).front();
  const int64_t width = run.family->text_encoder().hidden_size() * static_cast<int64_t>(task.job.taps.size());
  return {state.Get(name, {run.job.text_tokens, width}, run.job.compute).Clone(),
          state.Number(name + "_valid", 0, run.job.text_tokens)};
}

// The shape that PackReference gives to the latents of these frames.
Shape ReferenceShape(const RunState& run, const ModelFamily::EncodedFrames& frames) {
  const auto& spec = run.family->autoencoder();
  const Shape latents{spec.latent_channels(), (frames.frames - 1) / spec.temporal_factor() + 1,
                      frames.size.height / spec.spatial_factor(), frames.size.width / spec.spatial_factor()};
  return run.family->PackReference(Tensor::Zeros(latents, DType::kF32), run.statistics).shape();
}

std::string ReferenceName(size_t index) { return fmt::format("reference_{}", index); }

void LoadReferences(RunState& run, const TensorState& state) {
  const auto sizes = run.family->EncodedSizes(run.job);
  for (size_t i = 0; i < sizes.size(); ++i) {
    run.reference_rows.push_back(state.Get(ReferenceName(i), ReferenceShape(run, sizes[i]), DType::kF32).Clone());
  }
  if (run.family->vision_encoder() == nullptr || run.references.empty()) return;
  const auto& spec = *run.family->vision_encoder();
  const Shape shape{static_cast<int64_t>(run.references.size()) * spec.tokens(), spec.width()};
  run.image_embeds = state.Get("image_embeds", shape, DType::kF32).Clone();
}

bool IsThere(const OutputFile& file) {
  std::error_code ignored;
  return file.film == FilmFormat::kFrames ? fs::is_directory(file.path, ignored)
                                          : fs::is_regular_file(file.path, ignored);
}

}  // namespace

Checkpoints::Checkpoints(RunState& run, std::vector<OutputFile>& files) : run_(run) {
  const GenerateRequest& request = run.request;
  if (request.checkpoint.empty() && request.resume.empty()) return;
  RefuseReplacing();
  job_ = IdentityOf(run);
  steps_ = run.family->TotalSteps(run.job);
  if (!request.resume.empty()) Resume(files);
  for (const OutputFile& file : files) names_.push_back(file.path.filename().string());
  if (!request.checkpoint.empty()) AtomicFile attempt(request.checkpoint);
}

Checkpoints::~Checkpoints() { SetInterruptAdvice(""); }

// Hours of work may lie in it.
void Checkpoints::RefuseReplacing() const {
  const std::string &path = run_.request.checkpoint, &resume = run_.request.resume;
  std::error_code code;
  if (path.empty() || !fs::exists(fs::symlink_status(path, code))) return;
  if (!resume.empty() && fs::equivalent(path, resume, code)) return;
  throw Error(ErrorKind::kUsage, fmt::format("--checkpoint {}: a file of that name is there; --resume {} goes on with "
                                             "the run it holds, or give another name",
                                             Quoted(path), Quoted(path)));
}

void Checkpoints::Resume(std::vector<OutputFile>& files) {
  const std::string& path = run_.request.resume;
  SavedRun saved;
  try {
    saved = ReadCheckpoint(path);
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("--resume: {}", error.what()));
  }
  const auto refuse = [&](ErrorKind kind, const std::string& why) {
    throw Error(kind, fmt::format("--resume {}: {}", Quoted(path), why));
  };
  if (const std::string difference = FirstDifference(job_, saved.job); !difference.empty()) {
    refuse(ErrorKind::kUsage, fmt::format("is of another job: {}; the same settings as before would work", difference));
  }
  const auto pictures = static_cast<int64_t>(files.size());
  if (static_cast<int64_t>(saved.files.size()) != pictures || saved.picture >= pictures || saved.step > steps_) {
    refuse(ErrorKind::kFormat, fmt::format("is at step {} of picture {} of {}, but this job makes {} of {} steps",
                                           saved.step, saved.picture + 1, saved.files.size(), pictures, steps_));
  }
  for (size_t i = 0; i < files.size(); ++i) files[i].path.replace_filename(saved.files[i]);
  first_picture_ = static_cast<size_t>(saved.picture);
  first_step_ = saved.step;
  state_ = std::move(saved.state);
  resumes_ = true;
  RequireFinished(files);
}

void Checkpoints::RequireFinished(const std::vector<OutputFile>& files) const {
  for (size_t i = 0; i < first_picture_; ++i) {
    if (IsThere(files[i])) continue;
    throw Error(ErrorKind::kIo,
                fmt::format("--resume {}: {} of {} outputs were finished before, but '{}' is not there",
                            Quoted(run_.request.resume), first_picture_, files.size(), Quoted(files[i].path.string())));
  }
}

void Checkpoints::RestoreEncodings() {
  const TraceScope trace(run_.trace.get(), LoadLabel("checkpoint"));
  run_.statistics = run_.family->autoencoder().Statistics(run_.folder.Weights("vae"));
  try {
    for (size_t i = 0; i < run_.prompts.size(); ++i) run_.prompts[i].embeds = LoadPrompt(run_, state_, Prompt(i));
    if (run_.guided()) run_.negative_prompt = LoadPrompt(run_, state_, "negative_prompt");
    LoadReferences(run_, state_);
    run_.attention.RestoreCounts(state_.Part("counts"));
  } catch (const Error& error) {
    throw Error(error.kind(), fmt::format("--resume {}: {}", Quoted(run_.request.resume), error.what()));
  }
  Log(LogLevel::kInfo, fmt::format("going on with output {} of {} after step {} of {}", first_picture_ + 1,
                                   names_.size(), first_step_, steps_));
}

NamedTensors Checkpoints::FinishedLatents() const {
  if (run_.request.save_latents.empty()) return {};
  const TensorState finished = state_.Part("finished");
  return finished.tensors();
}

void Checkpoints::Attach(size_t index, PictureState& picture, const NamedTensors& finished) {
  if (resumes_ && index == first_picture_ && first_step_ > 0) {
    picture.resume = ResumePoint{static_cast<int>(first_step_), state_.Part("picture")};
  }
  if (run_.request.checkpoint.empty()) return;
  picture.take_state = [this, index, &finished](int steps_done, const TensorState& of_picture) {
    if (steps_done % run_.request.checkpoint_every != 0 && steps_done < steps_) return;
    TensorState state = StateOfRun(finished);
    state.AddPart("picture", of_picture);
    Save({static_cast<int64_t>(index), steps_done}, std::move(state));
  };
}

void Checkpoints::SaveBefore(size_t index, const NamedTensors& finished) {
  if (run_.request.checkpoint.empty()) return;
  if (resumes_ && index == first_picture_) return Tell({static_cast<int64_t>(index), first_step_});
  Save({static_cast<int64_t>(index), 0}, StateOfRun(finished));
}

TensorState Checkpoints::StateOfRun(const NamedTensors& finished) const {
  TensorState state;
  for (size_t i = 0; i < run_.prompts.size(); ++i) SavePrompt(Prompt(i), run_.prompts[i].embeds, state);
  if (run_.guided()) SavePrompt("negative_prompt", run_.negative_prompt, state);
  for (size_t i = 0; i < run_.reference_rows.size(); ++i) state.Add(ReferenceName(i), run_.reference_rows[i]);
  if (run_.image_embeds.defined()) state.Add("image_embeds", run_.image_embeds);
  state.AddPart("counts", run_.attention.Counts());
  state.AddPart("finished", TensorState(finished));
  return state;
}

// A run is not ended by a disk that is full for a while: the checkpoint before this one stays.
void Checkpoints::Save(Place place, TensorState state) {
  const TraceScope trace(run_.trace.get(), WriteLabel("checkpoint"));
  try {
    WriteCheckpoint(run_.request.checkpoint, {job_, names_, place.picture, place.step, std::move(state)});
  } catch (const Error& error) {
    if (!is_saved_) throw;
    if (!is_failing_) Log(LogLevel::kWarning, fmt::format("--checkpoint: {}; the one before stays", error.what()));
    is_failing_ = true;
    return;
  }
  is_failing_ = false;
  Tell(place);
}

void Checkpoints::Tell(Place place) {
  is_saved_ = true;
  const std::string of_picture =
      names_.size() == 1 ? "" : fmt::format(" of output {} of {}", place.picture + 1, names_.size());
  advice_ = fmt::format("; the same command with --resume {} goes on after step {} of {}{}",
                        Quoted(run_.request.checkpoint), place.step, steps_, of_picture);
  SetInterruptAdvice(advice_);
}

void Checkpoints::Remove() {
  if (run_.request.checkpoint.empty()) return;
  std::error_code code;
  fs::remove(run_.request.checkpoint, code);
  if (code) {
    Log(LogLevel::kWarning,
        fmt::format("--checkpoint {}: cannot be removed: {}", Quoted(run_.request.checkpoint), Lower(code.message())));
  }
  SetInterruptAdvice("");
}

Error Checkpoints::WithAdvice(const Error& error) const { return Error(error.kind(), error.what() + advice_); }

}  // namespace tessera
