// Runs a request from prompt to files.
#pragma once
#include <filesystem>
#include <memory>
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

}  // namespace tessera
