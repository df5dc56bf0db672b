#include "pipeline/pipeline.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "attention/report.h"
#include "attention/request_options.h"
#include "attention/schedule_file.h"
#include "base/atomic_file.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/text.h"
#include "media/generation_text.h"
#include "pipeline/checkpoints.h"
#include "pipeline/job_settings.h"
#include "pipeline/output_files.h"
#include "pipeline/previews.h"
#include "pipeline/resource_plan.h"
#include "pipeline/stage.h"
#include "pipeline/trace_file.h"
#include "platform/cpu/cpu.h"
#include "weights/safetensors.h"

namespace tessera {
namespace {

namespace fs = std::filesystem;

// Runs a stage's body where traces and reports see it.
template <class Body>
void RunAs(std::string_view name, RunState& run, const Body& body) {
  const TraceScope trace(run.trace.get(), StageLabel(name));
  const double begin = SecondsNow();
  body();
  run.report.AddStage(std::string(name), SecondsNow() - begin);
}

void RunStage(RunState& run, Stage& stage) {
  RunAs(stage.name(), run, [&] { stage.Run(run); });
}

void RunPictureStage(RunState& run, PictureState& picture, PictureStage& stage) {
  RunAs(stage.name(), run, [&] { stage.Run(run, picture); });
}

// Models that work from prompts alone have no stage for pictures.
void RunEncodingStages(RunState& run) {
  run.statistics = run.family->autoencoder().Statistics(run.folder.Weights("vae"));
  RunStage(run, *TextEncodingStage());
  if (ReadsPictures(run)) RunStage(run, *ImageEncodingStage());
  if (!run.family->WhyNoReferences()) RunStage(run, *ImageVAEEncodingStage());
}

void DenoisePicture(RunState& run, PictureState& picture) {
  RunPictureStage(run, picture, *LatentPreparationStage());
  RunPictureStage(run, picture, *TimestepPreparationStage());
  RunPictureStage(run, picture, *DenoisingStage(*run.family));
}

void RunPictureStages(RunState& run, PictureState& picture) {
  DenoisePicture(run, picture);
  RunPictureStage(run, picture, *DecodingStage());
}

// Everything but the prompt and numbers that every picture has, by flag name: what --from-image reads back.
std::map<std::string, std::string> FurtherSettings(const RunState& run) {
  std::map<std::string, std::string> settings = JobSettings(run);
  settings["attention"] = run.report.AttentionSummary();
  settings["attention-ran"] = RecordsToTimelessJson(run.report.attention()).dump();
  return settings;
}

GenerationText DescribePicture(const RunState& run, const PictureState& picture) {
  GenerationText text;
  text.prompt = run.prompts[picture.prompt].prompt;
  text.negative_prompt = run.guided() ? run.request.negative_prompt.value_or("") : "";
  text.model = run.folder.name();
  text.sampler = std::string(picture.scheduler->name());
  text.steps = run.job.steps;
  text.seed = static_cast<int64_t>(picture.seed);
  text.height = run.job.size.height;
  text.width = run.job.size.width;
  text.guidance_scale = run.job.guidance_scale;
  text.version = std::string("tessera ") + TESSERA_VERSION;
  text.more = FurtherSettings(run);
  return text;
}

// Writes the frames of a film as they come.
class FilmOutput {
 public:
  FilmOutput(const RunState& run, const PictureState& picture, const OutputFile& file)
      : run_(run), picture_(picture), file_(file) {}

  void Add(const Picture& frame) {
    const TraceScope trace(run_.trace.get(), WriteLabel("frame"));
    if (writer_ == nullptr) writer_ = OpenFilm(file_.path, Encoding(frame));
    writer_->Add(frame);
  }
  void Finish() {
    const TraceScope trace(run_.trace.get(), WriteLabel("film"));
    writer_->Finish();
  }

 private:
  FilmEncoding Encoding(const Picture& frame) const {
    const double fps = run_.request.fps.value_or(run_.family->Defaults().fps);
    return {*file_.film,
            frame.height,
            frame.width,
            MakeFrameRate(fps),
            run_.request.output_quality.value_or(50),
            MakePictureText(DescribePicture(run_, picture_))};
  }

  const RunState& run_;
  const PictureState& picture_;
  const OutputFile& file_;
  std::unique_ptr<FilmWriter> writer_;
};

void WritePicture(const RunState& run, const PictureState& picture, const Picture& decoded, const OutputFile& file) {
  const TraceScope trace(run.trace.get(), WriteLabel("picture"));
  const PictureEncoding encoding{file.format, run.request.output_quality.value_or(95),
                                 MakePictureText(DescribePicture(run, picture))};
  const std::vector<uint8_t> bytes = EncodePicture(decoded, encoding);
  WriteFileAtomically(file.path, std::as_bytes(std::span(bytes)));
}

// [count, 1, ...]
Shape StackedShape(const std::vector<Tensor>& tensors) {
  const Shape& one = tensors[0].shape();
  const auto count = static_cast<int64_t>(tensors.size());
  return one.rank() == 4 ? Shape{count, 1, one[0], one[1], one[2], one[3]} : Shape{count, 1, one[0], one[1]};
}

Tensor Stack(const std::vector<Tensor>& tensors) {
  Tensor all = Tensor::Empty(StackedShape(tensors), DType::kF32);
  auto* to = static_cast<std::byte*>(all.mutable_raw());
  for (const Tensor& tensor : tensors) {
    std::memcpy(to, tensor.raw(), tensor.bytes());
    to += tensor.bytes();
  }
  return all;
}

Tensor FromFloats(std::span<const float> values) {
  Tensor tensor = Tensor::Empty({static_cast<int64_t>(values.size())}, DType::kF32);
  std::memcpy(tensor.mutable_raw(), values.data(), tensor.bytes());
  return tensor;
}

void AppendLatents(const RunState& run, const PictureState& picture, size_t index, NamedTensors& tensors) {
  const std::string prefix = fmt::format("{}.", index);
  tensors.emplace_back(prefix + "noise", picture.noise);
  tensors.emplace_back(prefix + "latents_per_step", Stack(picture.latents_per_step));
  tensors.emplace_back(prefix + "first_prediction", picture.first_prediction);
  tensors.emplace_back(prefix + "sigmas", FromFloats(picture.scheduler->sigmas()));
  tensors.emplace_back(prefix + "timesteps", FromFloats(picture.scheduler->timesteps()));
  tensors.emplace_back(prefix + "prompt_embeds", run.prompts[picture.prompt].embeds.rows);
  if (run.image_embeds.defined()) tensors.emplace_back(prefix + "image_embeds", run.image_embeds);
}

// One short run of the same job whose picture is dropped: code, weights and primitives are warm afterwards.
void WarmUp(const RunState& asked) {
  const TraceScope trace(asked.trace.get(), StageLabel("warm-up"));
  GenerateRequest warm = asked.request;
  warm.prompts.resize(1);
  warm.num_inference_steps = std::min<int64_t>(warm.warmup_steps, asked.job.steps);
  warm.num_outputs_per_prompt = 1;
  warm.warmup_steps = 0;
  warm.save_latents.clear();
  warm.checkpoint.clear();
  warm.resume.clear();
  warm.profile_path.clear();
  const auto run = PrepareRun(warm);
  RunEncodingStages(*run);
  PictureState picture;
  picture.seed = warm.seed;
  picture.take_frame = [](const Picture&) {};
  RunPictureStages(*run, picture);
}

void RefuseSharedProfile(const GenerateRequest& request, const std::vector<OutputFile>& files) {
  if (request.profile_path.empty()) return;
  const auto is_profile = [&](const fs::path& path) { return path == request.profile_path; };
  const std::string named[] = {request.perf_dump_path, request.save_latents, request.checkpoint, request.resume};
  const auto of_file = [](const OutputFile& file) -> const fs::path& { return file.path; };
  if (std::ranges::none_of(named, is_profile) && std::ranges::none_of(files, is_profile, of_file)) return;
  throw Error(ErrorKind::kUsage, fmt::format("--profile {}: is a file of the run already; give the trace its own name",
                                             Printable(request.profile_path)));
}

// Opens every file of the run for a moment: a name that cannot be written shows before the work and not after it.
void TryFiles(const GenerateRequest& request, const std::vector<OutputFile>& files) {
  CheckOutputFolder(request.output_path);
  for (const OutputFile& file : files) {
    if (file.film != FilmFormat::kFrames) AtomicFile attempt(file.path);
  }
  RefuseSharedProfile(request, files);
  for (const std::string& path : {request.perf_dump_path, request.save_latents, request.profile_path}) {
    if (!path.empty()) AtomicFile attempt(path);
  }
}

void MakePictures(RunState& run, const std::vector<OutputFile>& files, Checkpoints& checkpoints) {
  const auto outputs = static_cast<size_t>(run.request.num_outputs_per_prompt);
  Previews previews(run);
  NamedTensors latents = checkpoints.FinishedLatents();
  for (size_t i = checkpoints.first_picture(); i < files.size(); ++i) {
    checkpoints.SaveBefore(i, latents);
    PictureState picture;
    checkpoints.Attach(i, picture, latents);
    previews.Attach(files[i], picture);
    picture.prompt = i / outputs;
    picture.seed = run.request.seed + i % outputs;
    run.pictures_left = files.size() - i - 1;
    Picture decoded;
    FilmOutput film(run, picture, files[i]);
    picture.take_frame = [&](const Picture& frame) {
      run.report.SetAttention(run.attention.Records());
      if (files[i].film) {
        film.Add(frame);
      } else {
        decoded = frame;
      }
    };
    RunPictureStages(run, picture);
    run.report.SetAttention(run.attention.Records());
    if (files[i].film) {
      film.Finish();
    } else {
      WritePicture(run, picture, decoded, files[i]);
    }
    previews.Remove(files[i]);
    if (!run.request.save_latents.empty()) AppendLatents(run, picture, i, latents);
  }
  if (!latents.empty()) WriteSafetensors(run.request.save_latents, latents, {{"format", "pt"}});
}

void WriteReports(const RunState& run) {
  if (!run.request.perf_dump_path.empty()) {
    const std::string json = run.report.ToJson(run.request.prompts.front(), run.folder.name()).dump(2) + "\n";
    WriteFileAtomically(run.request.perf_dump_path, std::as_bytes(std::span(json)));
  }
  if (run.trace != nullptr) WriteTrace(*run.trace, run.folder.name(), run.request.profile_path);
}

std::vector<AttentionSite> SitesOf(const std::vector<SiteProblem>& problems) {
  std::vector<AttentionSite> sites;
  for (const SiteProblem& problem : problems) sites.push_back(problem.site);
  return sites;
}

}  // namespace

AttentionSchedule ScheduleOf(const GenerateRequest& request) {
  const AttentionRegistry& registry = request.registry();
  AttentionSchedule schedule =
      AttentionSchedule::FromBackendNames(request.attention_backend, ChoiceSource::kCommandLine,
                                          request.attention_fidelity, request.attention_options, registry);
  std::vector<std::string> named = ParseBackendNames(request.attention_backend, registry);
  for (ScheduleRule& rule : ParseComponentOverrides(request.component_attention, request.attention_options, registry)) {
    rule.request.fidelity = request.attention_fidelity;
    named.insert(named.end(), rule.request.names.begin(), rule.request.names.end());
    schedule.AddAsked(rule);
  }
  CheckOptions(request.attention_options, named, registry, "--attention-backend-config");
  if (request.attention_schedule.empty()) return schedule;
  for (const ScheduleRule& rule :
       ParseScheduleRules(ReadScheduleTree(request.attention_schedule), "--attention-schedule", registry)) {
    schedule.AddAsked(rule);
  }
  return schedule;
}

std::unique_ptr<RunState> PrepareRun(const GenerateRequest& request) {
  ModelFolder folder = ModelFolder::Open(request.model_path, request.revision);
  if (!request.scheduler_path.empty()) folder.UseScheduler(request.scheduler_path);
  const AttentionSchedule schedule = ScheduleOf(request);
  auto run = std::make_unique<RunState>(request, std::move(folder), CpuDevice(), schedule);
  run->family = OpenModelFamily(run->folder);
  RunStage(*run, *InputValidationStage());
  run->attention.SetCheck(request.attention_check);
  const std::vector<SiteProblem> sites = AllSites(*run);
  schedule.CheckAgainst(SitesOf(sites));
  run->attention.Prepare(sites, run->family->TotalSteps(run->job));
  return run;
}

GenerateResult Generate(RunState& run) {
  std::vector<OutputFile> files = OutputFiles(
      run.request,
      OutputKindOf(run.request, run.family->Defaults().frames > 1 ? Makes::kFilms : Makes::kPictures, run.job.frames));
  CheckMemory(run, PlanResources(run));
  Checkpoints checkpoints(run, files);
  TryFiles(run.request, files);
  if (run.request.warmup_steps > 0) WarmUp(run);
  const double begin = SecondsNow() - run.report.StageSeconds();  // the request was checked before
  run.report.AddMemory("before_forward");
  try {
    checkpoints.resumes() ? checkpoints.RestoreEncodings() : RunEncodingStages(run);
    MakePictures(run, files, checkpoints);
  } catch (const Error& error) {
    throw checkpoints.WithAdvice(error);
  }
  run.report.AddMemory("after_forward");
  run.report.SetTotal(SecondsNow() - begin);
  GenerateResult result;
  for (const OutputFile& file : files) result.files.push_back(file.path);
  result.report = run.report;
  WriteReports(run);
  checkpoints.Remove();
  return result;
}

void DenoiseAll(RunState& run, const std::function<void(const PictureState&)>& done) {
  CheckMemory(run, PlanResources(run));
  RunEncodingStages(run);
  const auto outputs = static_cast<size_t>(run.request.num_outputs_per_prompt);
  const size_t total = run.request.prompts.size() * outputs;
  for (size_t i = 0; i < total; ++i) {
    PictureState picture;
    picture.prompt = i / outputs;
    picture.seed = run.request.seed + i % outputs;
    run.pictures_left = total - i - 1;
    DenoisePicture(run, picture);
    done(picture);
  }
}

std::vector<MadePicture> MakeInMemory(RunState& run, std::span<const uint64_t> seeds) {
  CheckMemory(run, PlanResources(run));
  RunEncodingStages(run);
  std::vector<MadePicture> made;
  const size_t total = run.request.prompts.size() * seeds.size();
  for (size_t i = 0; i < total; ++i) {
    PictureState picture;
    picture.prompt = i / seeds.size();
    picture.seed = seeds[i % seeds.size()];
    run.pictures_left = total - i - 1;
    std::vector<Picture> frames;
    picture.take_frame = [&](const Picture& frame) { frames.push_back(frame); };
    const size_t steps_before = run.report.step_seconds().size();
    const double begin = SecondsNow();
    RunPictureStages(run, picture);
    const auto steps = std::span(run.report.step_seconds()).subspan(steps_before);
    made.push_back({.prompt = picture.prompt,
                    .seed = picture.seed,
                    .frames = std::move(frames),
                    .latents = picture.latents,
                    .denoising_seconds = std::accumulate(steps.begin(), steps.end(), 0.0),
                    .seconds = SecondsNow() - begin});
  }
  return made;
}

}  // namespace tessera
