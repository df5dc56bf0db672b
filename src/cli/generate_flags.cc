#include "cli/generate_flags.h"

#include <array>
#include <fstream>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "attention/schedule_file.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/attention_plugins.h"
#include "cli/backend_options.h"
#include "cli/flag_config.h"
#include "media/film.h"
#include "media/generation_text.h"
#include "parallel/parallel_for.h"
#include "pipeline/demo_model.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr const char* kDemoPrompt = "a red house to the left of a green tree";
constexpr double kMostSeed = 9007199254740992.0;  // exact in JSON
constexpr std::string_view kPrecisionNames = "fp32|fp16|bf16";
constexpr size_t kLargestPromptFile = size_t{16} << 20;

constexpr Flag kJobFlags[] = {
    {"model-path", FlagKind::kString, "a model folder in diffusers' layout, or a hub name in the local cache", "",
     "the built-in demo model", "", "MODEL", "model"},
    {"revision", FlagKind::kString, "branch, tag or commit of a hub name", "main"},
    {"prompt", FlagKind::kStrings, "what the picture shows; several prompts make several pictures", "", "", "", "TEXT"},
    {"prompt-path", FlagKind::kString, "a text file with one prompt per line", "", "", "", "FILE", "prompts-file"},
    {"negative-prompt", FlagKind::kText, "what the picture must not show (models with guidance)", "", "empty", "",
     "TEXT"},
    {"height", FlagKind::kInt, "pixels", "", "the model's own", "", "", "", 1, 1e9},
    {"width", FlagKind::kInt, "pixels", "", "the model's own", "", "", "", 1, 1e9},
    {"num-inference-steps", FlagKind::kInt, "denoising steps", "", "the model's own", "", "", "", 1, 1e6},
    {"dmd-denoising-steps", FlagKind::kInts, "timesteps of a model that was distilled for few steps: 1000,757,522", "",
     "the model's own", "", "", "", 1, 1000},
    {"guidance-scale", FlagKind::kFloat, "classifier-free guidance; above 1 every step runs twice", "",
     "the model's own", "", "", "", 0, 1e4},
    {"guidance-scale-2", FlagKind::kFloat, "the same for the second expert of models that have two", "",
     "as --guidance-scale, or the model's own", "", "", "", 0, 1e4},
    {"num-frames", FlagKind::kInt, "frames of a film", "", "the model's own", "", "", "", 1, 1e6},
    {"fps", FlagKind::kFloat, "frames per second of a film", "", "the model's own", "", "", "", 0.01, 1000},
    {"seed", FlagKind::kInt, "seed of the noise; the numbers are torch's CPU generator's", "42", "", "", "", "", 0,
     kMostSeed},
    {"num-outputs-per-prompt", FlagKind::kInt, "pictures per prompt, with seeds seed, seed+1, ...", "1", "", "", "", "",
     1, 1e5},
    {"image-path", FlagKind::kStrings, "reference pictures", "", "none", "", "FILE"},
    {"last-image-path", FlagKind::kString, "the picture a film ends with (models that take two)", "", "none", "",
     "FILE"},
    {"scheduler-path", FlagKind::kString, "folder with another scheduler_config.json", "", "the model's own", "",
     "FOLDER"},
    {"max-sequence-length", FlagKind::kInt, "prompt tokens after padding", "", "the model's own", "", "", "", 1,
     1 << 17},
    {"from-image", FlagKind::kString, "repeat the picture or film in this file; other flags change it", "", "", "",
     "FILE"},
};

constexpr Flag kOutputFlags[] = {
    {"output-path", FlagKind::kString, "folder for the pictures", "outputs", "", "", "FOLDER"},
    {"output-file-name", FlagKind::kString, "name of the picture; its extension chooses the format", "",
     "made from the prompt", "", "NAME"},
    {"output-format", FlagKind::kChoice, "format of the picture", "", "the name's extension, else png; mp4 for films",
     "png|jpg|jpeg|webp|mp4|webm|gif"},
    {"frames-as", FlagKind::kChoice, "write a film as a folder of pictures", "", "a film file", "png"},
    {"output-compression", FlagKind::kInt, "quality of jpg, webp (100: lossless webp) and films", "",
     "95 for pictures, 50 for films", "", "", "", 1, 100},
    {"output-quality", FlagKind::kString, "the same as a number or a word: low 35, medium 55, high 90, maximum 100", "",
     "as --output-compression", "", "default|low|medium|high|maximum|N"},
    {"perf-dump-path", FlagKind::kString, "write stage times, memory and attention as JSON", "", "", "", "FILE"},
    {"profile", FlagKind::kString,
     "record stages, steps, layers and kernels for ui.perfetto.dev, and say where the time went", "", "", "",
     "FILE.json"},
    {"save-latents", FlagKind::kString, "write noise, embeddings and the latents of every step", "", "", "",
     "FILE.safetensors"},
    {"checkpoint", FlagKind::kString,
     "save the run here after every step, to go on with --resume; removed when the run ends well", "",
     "nothing is saved", "", "FILE"},
    {"checkpoint-every", FlagKind::kInt, "steps between two saves", "1", "", "", "N", "", 1, 1e6},
    {"resume", FlagKind::kString,
     "go on with the run saved in this file, to the same bytes; all other settings as they were", "",
     "from the beginning", "", "FILE"},
    {"preview-every", FlagKind::kInt,
     "write a small preview every N steps, NAME.preview.png (films: .webp), removed when the picture is there", "",
     "no previews", "", "N", "", 1, 1e6},
    {"plan-only", FlagKind::kBool, "print memory, FLOPs, expected time and attention of the job, and stop"},
    {"json", FlagKind::kBool, "with --plan-only, and of compare: print JSON"},
    {"force", FlagKind::kBool, "run a job that does not fit into memory"},
};

constexpr Flag kEngineFlags[] = {
    {"attention-backend", FlagKind::kString, "attention of the transformer: a name, or several in order of preference",
     "auto", "", "", "NAME[,NAME]"},
    {"attention-backend-config", FlagKind::kString, "options of the attention backend: key=value,..., JSON or a file",
     "", "", "", "CONFIG"},
    {"component-attention-backends", FlagKind::kTable,
     "attention of one component or role: transformer, transformer.cross, text_encoder, vae, ...", "", "", "", "NAME"},
    {"attention-schedule", FlagKind::kString,
     "rules for components, roles, layers and steps: a YAML or JSON file, or JSON", "", "none", "", "FILE"},
    {"attention-fidelity", FlagKind::kChoice, "what auto may take in the transformer", "exact", "",
     "exact|quantized|sparse"},
    kAttentionPluginFlag,
    {"attention-check", FlagKind::kString,
     "compute a share of the rows again, exactly: rate=0.01,tolerance=0.05,seed=0 (relative L1; each may be left out)",
     "", "nothing is checked", "", "CHECK"},
    {"attention-check-action", FlagKind::kChoice, "when a check fails: say it, go on with an exact backend, or stop",
     "report", "", "report|demote|abort"},
    {"dit-precision", FlagKind::kChoice, "arithmetic of the transformer", "", "the checkpoint's", kPrecisionNames},
    {"vae-precision", FlagKind::kChoice, "arithmetic of the autoencoder", "", "the checkpoint's", kPrecisionNames},
    {"text-encoder-precisions", FlagKind::kChoices, "arithmetic of the text encoder", "", "the checkpoint's",
     kPrecisionNames},
    {"image-encoder-precision", FlagKind::kChoice, "arithmetic of the image encoder", "", "the checkpoint's",
     kPrecisionNames},
    {"vae-tiling", FlagKind::kBool, "decode in tiles: less memory", "", "only above 2 megapixels"},
    {"vae-tile-size", FlagKind::kInt, "pixels per side of a tile", "512", "", "", "", "", 128, 8192},
    {"dit-cpu-offload", FlagKind::kBool, "False keeps the transformer loaded after its stage", "", "True"},
    {"dit-layerwise-offload", FlagKind::kBool, "weights are mapped: layers are always read on demand on a CPU"},
    {"text-encoder-cpu-offload", FlagKind::kBool, "False keeps the text encoder loaded after its stage", "", "True"},
    {"image-encoder-cpu-offload", FlagKind::kBool, "accepted: an image encoder is read once, then released"},
    {"vae-cpu-offload", FlagKind::kBool, "False keeps the autoencoder loaded after its stage", "", "True"},
    {"num-gpus", FlagKind::kInt, "devices", "1", "", "", "", "", 1, 1024},
    {"ulysses-degree", FlagKind::kInt, "devices that share the heads of attention", "1", "", "", "", "", 1, 1024},
    {"ring-degree", FlagKind::kInt, "devices that share the keys of attention", "1", "", "", "", "", 1, 1024},
    {"enable-torch-compile", FlagKind::kBool, "nothing to compile here: kernels are compiled already"},
    {"warmup", FlagKind::kBool, "make one short unmeasured run first"},
    {"warmup-steps", FlagKind::kInt, "denoising steps of the warm-up", "1", "", "", "", "", 1, 1e4},
    {"threads", FlagKind::kInt, "threads; the picture does not depend on it", "", "all cores", "", "", "", 1, 4096},
    {"isa", FlagKind::kChoice, "highest instruction set to use (also TESSERA_ISA)", "", "the machine's",
     "scalar|avx2|avx512|avx512_bf16"},
    {"log-level", FlagKind::kChoice, "what to print on stderr", "info", "", "error|warning|info|debug"},
};

constexpr Flag kProblemFlags[] = {
    {"problem", FlagKind::kString, "a problem in place of a model: \"bf16 b1 h24/24 d128 q4096 kv4096 grid=1x64x64\"",
     "", "", "", "LINE"},
    {"layers", FlagKind::kInt, "with --problem: layers that pose it", "1", "", "", "", "", 1, 1e4},
};

constexpr FlagGroup kGroups[] = {{"The picture", kJobFlags}, {"Output", kOutputFlags}, {"The engine", kEngineFlags}};
constexpr FlagGroup kExplainGroups[] = {
    {"The picture", kJobFlags}, {"Output", kOutputFlags}, {"The engine", kEngineFlags}, {"A problem", kProblemFlags}};

constexpr Flag kCompareFlags[] = {
    {"films", FlagKind::kStrings,
     "films, folders of frames or pictures that are there already, the first is the reference: nothing is made", "", "",
     "", "FILE"},
    {"backends", FlagKind::kStrings,
     "attention backends, the first is the reference; LABEL=NAME names a column, all is every backend", "", "", "",
     "A,B,C"},
    {"backend-config", FlagKind::kStrings, "options of one of them: NAME:key=value,... or {\"NAME\": {\"key\": value}}",
     "", "", "", "CONFIG"},
    {"seeds", FlagKind::kInts, "seeds of the noise, one picture per prompt and seed", "", "--seed", "", "1,2,3", "", 0,
     kMostSeed},
};

constexpr Flag kSearchFlags[] = {
    {"output", FlagKind::kString, "the strategy to write: a window for every step, layer and head", "", "", "",
     "FILE.json"},
    {"tile-size", FlagKind::kInts, "tokens of a tile along t, h, w", "6,8,8", "", "", "T,H,W", "", 1, 65536},
    {"candidates", FlagKind::kInts, "windows to try: tiles along t, h, w of each", "", "chosen for the grid", "",
     "3,1,10,1,5,7", "", 1, 2147483647},
    {"skip-steps", FlagKind::kInt, "first steps that stay dense", "", "12, at most a quarter of the steps", "", "", "",
     0, 1e6},
    {"passes", FlagKind::kChoice, "passes of a guided job whose losses count", "all", "", "all|conditional"},
    {"save-losses", FlagKind::kString, "keep the losses, as sta_mode=STA_tuning reads them", "", "they are dropped", "",
     "FOLDER"},
};

constexpr FlagGroup kSearchGroups[] = {
    {"The search", kSearchFlags}, {"The pictures", kJobFlags}, {"Output", kOutputFlags}, {"The engine", kEngineFlags}};

constexpr FlagGroup kCompareGroups[] = {{"The comparison", kCompareFlags},
                                        {"The pictures", kJobFlags},
                                        {"Output", kOutputFlags},
                                        {"The engine", kEngineFlags}};

std::optional<DType> PrecisionOf(const std::string& name) { return name.empty() ? std::nullopt : ParseDType(name); }

template <class Value>
void Assign(std::optional<Value>& to, bool given, Value value) {
  if (given) to = value;
}

std::vector<std::string> ReadPromptFile(const std::string& path) {
  std::error_code code;
  if (!std::filesystem::is_regular_file(path, code)) {
    throw Error(ErrorKind::kIo, fmt::format("--prompt-path {}: is not a readable file", Printable(path)));
  }
  if (std::filesystem::file_size(path, code) > kLargestPromptFile) {
    throw Error(ErrorKind::kUsage,
                fmt::format("--prompt-path {}: is larger than {}", Printable(path), FormatBytes(kLargestPromptFile)));
  }
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::kIo, fmt::format("--prompt-path {}: cannot be read", Printable(path)));
  std::vector<std::string> prompts;
  for (std::string line; std::getline(file, line);) {
    if (const auto prompt = Trim(line); !prompt.empty()) prompts.emplace_back(prompt);
  }
  if (prompts.empty()) throw Error(ErrorKind::kUsage, fmt::format("--prompt-path {}: has no prompt", Printable(path)));
  return prompts;
}

// A flag that is accepted for compatibility but changes nothing here says so when it was given.
void NoteNoEffect(const FlagValues& values, std::string_view flag, std::string_view why) {
  if (values.GivenBy(flag) == FlagSource::kDefault) return;
  Log(LogLevel::kWarning, fmt::format("--{} has no effect: {}", flag, why));
}

void NoteFlagsWithoutEffect(const FlagValues& values) {
  NoteNoEffect(values, "dit-layerwise-offload", "on a CPU weights are mapped and read layer by layer anyway");
  if (values.Bool("enable-torch-compile"))
    NoteNoEffect(values, "enable-torch-compile", "the kernels are compiled already");
  NoteNoEffect(values, "image-encoder-cpu-offload", "an image encoder reads its pictures once, before the first step");
  if (!values.Bool("warmup") && values.GivenBy("warmup-steps") != FlagSource::kDefault) {
    NoteNoEffect(values, "warmup-steps", "there is no --warmup");
  }
}

void RefuseParallelism(const FlagValues& values) {
  for (const char* flag : {"num-gpus", "ulysses-degree", "ring-degree"}) {
    if (values.Int(flag) == 1) continue;
    throw Error(ErrorKind::kUnsupported,
                fmt::format("--{} {}: this version runs on one device; only 1 works", flag, values.Int(flag)));
  }
}

void ReadJob(const FlagValues& values, GenerateRequest& request) {
  if (values.Has("prompt")) request.prompts = values.Strings("prompt");
  if (values.Has("prompt-path")) {
    if (!request.prompts.empty())
      throw Error(ErrorKind::kUsage, "--prompt-path: give either --prompt or --prompt-path");
    request.prompts = ReadPromptFile(values.String("prompt-path"));
  }
  if (values.Has("negative-prompt")) request.negative_prompt = values.String("negative-prompt");
  Assign(request.height, values.Has("height"), values.Int("height", 0));
  Assign(request.width, values.Has("width"), values.Int("width", 0));
  Assign(request.num_inference_steps, values.Has("num-inference-steps"), values.Int("num-inference-steps", 0));
  if (values.Has("dmd-denoising-steps")) request.dmd_denoising_steps = values.Ints("dmd-denoising-steps");
  Assign(request.guidance_scale, values.Has("guidance-scale"), values.Float("guidance-scale", 0));
  Assign(request.guidance_scale_2, values.Has("guidance-scale-2"), values.Float("guidance-scale-2", 0));
  Assign(request.num_frames, values.Has("num-frames"), values.Int("num-frames", 0));
  Assign(request.fps, values.Has("fps"), values.Float("fps", 0));
  Assign(request.max_sequence_length, values.Has("max-sequence-length"), values.Int("max-sequence-length", 0));
  request.seed = static_cast<uint64_t>(values.Int("seed"));
  request.num_outputs_per_prompt = values.Int("num-outputs-per-prompt");
  if (values.Has("image-path")) request.image_paths = values.Strings("image-path");
}

// The words and their numbers are SGLang's. Nothing: the format's own quality.
std::optional<int> QualityOf(const std::string& text) {
  struct Word {
    std::string_view name;
    int quality;
  };
  constexpr std::array<Word, 4> kWords = {{{"low", 35}, {"medium", 55}, {"high", 90}, {"maximum", 100}}};
  const std::string asked = Lower(Trim(text));
  if (asked == "default") return std::nullopt;
  for (const Word& word : kWords) {
    if (word.name == asked) return word.quality;
  }
  const auto number = ParseInt(asked);
  if (number && *number >= 1 && *number <= 100) return static_cast<int>(*number);
  throw Error(ErrorKind::kUsage,
              fmt::format("--output-quality: '{}' is neither a whole number from 1 to 100 nor default, low, medium, "
                          "high or maximum",
                          Printable(text, 60)));
}

void ReadQuality(const FlagValues& values, GenerateRequest& request) {
  const bool compression = values.Has("output-compression");
  if (compression && values.Has("output-quality")) {
    throw Error(ErrorKind::kUsage, "--output-quality: says the same as --output-compression; give one of them");
  }
  if (compression) request.output_quality = static_cast<int>(values.Int("output-compression"));
  if (!values.Has("output-quality")) return;
  const auto quality = QualityOf(values.String("output-quality"));
  if (quality) request.output_quality = *quality;
}

void ReadLongRuns(const FlagValues& values, GenerateRequest& request) {
  request.checkpoint = values.String("checkpoint");
  request.checkpoint_every = values.Int("checkpoint-every");
  request.resume = values.String("resume");
  request.preview_every = values.Int("preview-every", 0);
  if (request.checkpoint.empty() && values.GivenBy("checkpoint-every") != FlagSource::kDefault) {
    throw Error(ErrorKind::kUsage, "--checkpoint-every: there is no --checkpoint, the file to save to");
  }
}

void ReadOutput(const FlagValues& values, GenerateRequest& request) {
  request.output_path = values.String("output-path");
  request.output_file_name = values.String("output-file-name");
  request.output_format = values.String("output-format");
  ReadQuality(values, request);
  request.frames_as = values.String("frames-as");
  request.scheduler_path = values.String("scheduler-path");
  if (values.Has("last-image-path")) request.image_paths.push_back(values.String("last-image-path"));
  request.perf_dump_path = values.String("perf-dump-path");
  request.profile_path = values.String("profile");
  request.save_latents = values.String("save-latents");
  ReadLongRuns(values, request);
  if (values.Bool("force")) request.memory_check = GenerateRequest::MemoryCheck::kForce;
}

std::optional<bool> KeptBy(const FlagValues& values, std::string_view flag) {
  if (!values.Has(flag)) return std::nullopt;
  return !values.Bool(flag);
}

void SetBackendOptions(const std::string& text, GenerateRequest& request) {
  if (text.empty()) return;
  request.attention_options = ParseBackendOptions(text);
  request.attention_options_text = text;
}

// The text is kept, not the file's name: the picture can be made again without the file.
void SetSchedule(const std::string& given, GenerateRequest& request) {
  try {
    request.attention_schedule = ReadScheduleTree(given).dump();
  } catch (const Error& error) {
    const std::string_view what = error.what();
    throw Error(error.kind(), what.starts_with("--attention-schedule") ? std::string(what)
                                                                       : fmt::format("--attention-schedule: {}", what));
  }
}

void ReadCheck(const FlagValues& values, GenerateRequest& request) {
  if (values.Has("attention-check")) {
    const auto action = ParseCheckAction(values.String("attention-check-action"));
    request.attention_check =
        ParseAttentionCheck(values.String("attention-check"), action.value_or(CheckAction::kReport), request.seed);
  } else if (values.GivenBy("attention-check-action") != FlagSource::kDefault) {
    throw Error(ErrorKind::kUsage, "--attention-check-action: there is no --attention-check, such as rate=0.01");
  }
}

void ReadEngine(const FlagValues& values, GenerateRequest& request) {
  ReadCheck(values, request);
  request.attention_registry = RegistryOf(values);
  request.attention_backend = values.String("attention-backend");
  SetBackendOptions(values.String("attention-backend-config"), request);
  request.component_attention = values.Table("component-attention-backends");
  if (values.Has("attention-schedule")) SetSchedule(values.String("attention-schedule"), request);
  request.attention_fidelity = ParseFidelity(values.String("attention-fidelity"), "--attention-fidelity");
  request.precisions.dit = PrecisionOf(values.String("dit-precision"));
  request.precisions.vae = PrecisionOf(values.String("vae-precision"));
  if (values.Has("image-encoder-precision")) {
    request.precisions.image_encoder = PrecisionOf(values.String("image-encoder-precision"));
  }
  if (values.Has("text-encoder-precisions")) {
    const auto& precisions = values.Strings("text-encoder-precisions");
    if (precisions.size() > 1) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("--text-encoder-precisions {}: this model has one text encoder, give one precision",
                              Join(precisions, ",")));
    }
    if (!precisions.empty()) request.precisions.text_encoder = PrecisionOf(precisions.front());
  }
  if (values.Has("vae-tiling")) request.vae_tiling = values.Bool("vae-tiling") ? Tiling::kOn : Tiling::kOff;
  request.vae_tile_size = values.Int("vae-tile-size");
  request.keep_loaded = {KeptBy(values, "dit-cpu-offload"), KeptBy(values, "text-encoder-cpu-offload"),
                         KeptBy(values, "vae-cpu-offload")};
  request.warmup_steps = values.Bool("warmup") ? values.Int("warmup-steps") : 0;
}

// A further setting of a picture; "" when it has none.
std::string Setting(const GenerationText& text, const std::string& flag) {
  const auto found = text.more.find(flag);
  return found == text.more.end() ? "" : found->second;
}

[[noreturn]] void RefuseSetting(const GenerationText& text, const std::string& flag, std::string_view works) {
  throw Error(ErrorKind::kFormat, fmt::format("--from-image: the picture's '{}' is '{}'; {} would work", flag,
                                              Printable(Setting(text, flag), 60), works));
}

DType PrecisionSetting(const GenerationText& text, const std::string& flag) {
  const auto precision = PrecisionOf(Setting(text, flag));
  const bool known = precision == DType::kF32 || precision == DType::kBF16 || precision == DType::kF16;
  if (!known) RefuseSetting(text, flag, "fp32, fp16 or bf16");
  return *precision;
}

int64_t WholeSetting(const GenerationText& text, const std::string& flag) {
  const auto value = ParseInt(Setting(text, flag));
  if (!value) RefuseSetting(text, flag, "a whole number");
  return *value;
}

std::vector<int64_t> WholesSetting(const GenerationText& text, const std::string& flag) {
  std::vector<int64_t> wholes;
  for (const std::string& word : Split(Setting(text, flag), ',')) {
    const auto value = ParseInt(word);
    if (!value) RefuseSetting(text, flag, "whole numbers with commas between them");
    wholes.push_back(*value);
  }
  return wholes;
}

std::map<std::string, std::string> OverridesOf(const std::string& text) {
  std::map<std::string, std::string> overrides;
  constexpr const char* kSource = "--from-image: component-attention-backends";
  for (const ConfigEntry& entry : ParseFlagConfig(text, ConfigSyntax::kJson, kSource)) {
    if (!entry.is_list) overrides[entry.name] = entry.values.front().text;
  }
  return overrides;
}

void FillEngineFromPicture(const FlagValues& values, const GenerationText& text, GenerateRequest& request) {
  const auto open = [&](const char* flag) {
    return values.GivenBy(flag) == FlagSource::kDefault && !Setting(text, flag).empty();
  };
  if (open("max-sequence-length")) request.max_sequence_length = WholeSetting(text, "max-sequence-length");
  if (open("dmd-denoising-steps")) request.dmd_denoising_steps = WholesSetting(text, "dmd-denoising-steps");
  if (open("image-path")) request.image_paths = Split(Setting(text, "image-path"), '\n');
  if (open("attention-backend")) request.attention_backend = Setting(text, "attention-backend");
  if (open("attention-backend-config")) SetBackendOptions(Setting(text, "attention-backend-config"), request);
  if (open("component-attention-backends")) {
    request.component_attention = OverridesOf(Setting(text, "component-attention-backends"));
  }
  if (open("attention-schedule")) SetSchedule(Setting(text, "attention-schedule"), request);
  if (open("attention-fidelity")) {
    request.attention_fidelity = ParseFidelity(Setting(text, "attention-fidelity"), "--from-image: attention-fidelity");
  }
  if (open("dit-precision")) request.precisions.dit = PrecisionSetting(text, "dit-precision");
  if (open("vae-precision")) request.precisions.vae = PrecisionSetting(text, "vae-precision");
  if (open("text-encoder-precisions"))
    request.precisions.text_encoder = PrecisionSetting(text, "text-encoder-precisions");
  if (open("image-encoder-precision"))
    request.precisions.image_encoder = PrecisionSetting(text, "image-encoder-precision");
  if (open("vae-tiling")) request.vae_tiling = Setting(text, "vae-tiling") == "true" ? Tiling::kOn : Tiling::kOff;
  if (open("vae-tile-size")) request.vae_tile_size = WholeSetting(text, "vae-tile-size");
}

double NumberSetting(const GenerationText& text, const std::string& flag, double least, double most) {
  const auto value = ParseFloat(Setting(text, flag));
  if (!value || !(*value >= least && *value <= most)) {
    RefuseSetting(text, flag, fmt::format("a number from {:g} to {:g}", least, most));
  }
  return *value;
}

void FillFilmFromPicture(const FlagValues& values, const GenerationText& text, GenerateRequest& request) {
  const auto open = [&](const char* flag) {
    return values.GivenBy(flag) == FlagSource::kDefault && !Setting(text, flag).empty();
  };
  if (open("num-frames")) request.num_frames = WholeSetting(text, "num-frames");
  if (open("fps")) request.fps = NumberSetting(text, "fps", 0.01, 1000);
  if (open("guidance-scale-2")) request.guidance_scale_2 = NumberSetting(text, "guidance-scale-2", 0, 1e6);
}

// What the flags leave open comes from the picture.
void FillFromPicture(const FlagValues& values, GenerateRequest& request) {
  const std::string path = values.String("from-image");
  const GenerationText text = ParsePictureText(ReadMediaText(path), path);
  const auto open = [&](std::string_view flag) { return values.GivenBy(flag) == FlagSource::kDefault; };
  if (request.prompts.empty()) request.prompts = {text.prompt};
  if (open("negative-prompt") && !text.negative_prompt.empty()) request.negative_prompt = text.negative_prompt;
  if (open("model-path")) request.model_path = text.model;
  if (open("height")) request.height = text.height;
  if (open("width")) request.width = text.width;
  if (open("num-inference-steps")) request.num_inference_steps = text.steps;
  if (open("guidance-scale")) request.guidance_scale = text.guidance_scale;
  if (open("seed")) request.seed = static_cast<uint64_t>(text.seed);
  FillFilmFromPicture(values, text, request);
  FillEngineFromPicture(values, text, request);
}

}  // namespace

const FlagTable& GenerateFlags() {
  static constexpr FlagTable table = {"tessera generate", "make pictures from a prompt", kGroups};
  return table;
}

const FlagTable& ExplainFlags() {
  static constexpr FlagTable table = {"tessera explain",
                                      "say which attention backend serves each site of a job, and why", kExplainGroups};
  return table;
}

const FlagTable& AttentionSearchFlags() {
  static constexpr FlagTable table = {
      "tessera attention-search", "find the windows of sliding_tile_attn for a model and write them", kSearchGroups};
  return table;
}

const FlagTable& CompareFlags() {
  static constexpr FlagTable table = {"tessera compare",
                                      "the same noise through several attention backends, or films that are there",
                                      kCompareGroups, "films"};
  return table;
}

void ApplyEngineFlags(const FlagValues& values) {
  ApplyIsaChoice(values.String("isa"));
  SetThreads(static_cast<int>(values.Int("threads", 0)));
  const std::string& level = values.String("log-level");
  SetLogLevel(level == "error"     ? LogLevel::kError
              : level == "warning" ? LogLevel::kWarning
              : level == "debug"   ? LogLevel::kDebug
                                   : LogLevel::kInfo);
}

GenerateRequest MakeRequest(const FlagValues& values) {
  RefuseParallelism(values);
  NoteFlagsWithoutEffect(values);
  GenerateRequest request;
  request.model_path = values.String("model-path");
  request.revision = values.String("revision");
  ReadJob(values, request);
  ReadOutput(values, request);
  ReadEngine(values, request);
  if (values.Has("from-image")) FillFromPicture(values, request);
  if (request.model_path.empty()) {
    request.model_path = DemoModelPath().string();
    if (request.prompts.empty()) request.prompts = {kDemoPrompt};
  }
  return request;
}

}  // namespace tessera
