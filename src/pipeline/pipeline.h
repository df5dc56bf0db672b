// Runs a request from prompt to files.
#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "pipeline/request.h"
#include "pipeline/run_state.h"

namespace tessera {

struct GenerateResult {
  std::vector<std::filesystem::path> files;  // every asked picture, written whole
  Report report;
};

// What --attention-backend and its options ask for.
AttentionSchedule ScheduleOf(const GenerateRequest& request);

// A run after InputValidation: everything is resolved and checked, nothing heavy is loaded. Throws Error.
std::unique_ptr<RunState> PrepareRun(const GenerateRequest& request);

// Generates and writes every picture. Throws Error; files written before the error stay, none is half written.
GenerateResult Generate(RunState& run);

// Denoises every prompt (outermost) with every seed, decodes and writes nothing. `done` is called after each, while the
// attention of `run` still knows it. Throws Error.
void DenoiseAll(RunState& run, const std::function<void(const PictureState&)>& done);

// One picture or film of a run, kept in memory.
struct MadePicture {
  size_t prompt = 0;  // index into the request's prompts
  uint64_t seed = 0;
  std::vector<Picture> frames;
  Tensor latents;
  double denoising_seconds = 0, seconds = 0;  // seconds: from noise to picture
};

// Makes a picture of every prompt (outermost) with every seed and writes nothing. Throws Error.
std::vector<MadePicture> MakeInMemory(RunState& run, std::span<const uint64_t> seeds);

}  // namespace tessera
