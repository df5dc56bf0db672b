// What a run will cost, computed before any weight is read.
#pragma once
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "pipeline/run_state.h"

namespace tessera {

struct StageCost {
  std::string name;
  size_t weight_bytes = 0;      // resident while the stage runs
  size_t activation_bytes = 0;  // peak
  double flops = 0;             // over all its passes
  double seconds = 0;           // expected on this machine
};

struct ResourcePlan {
  std::vector<StageCost> stages;
  size_t peak_bytes = 0;
  size_t memory_bytes = 0;  // what this process may use
  double seconds = 0;
  bool Fits() const noexcept { return peak_bytes <= memory_bytes; }
  std::string ToText() const;
  nlohmann::json ToJson() const;
};

// Needs a validated run (InputValidation).
ResourcePlan PlanResources(const RunState& run);

// Throws Error{kMemory} when the plan does not fit and the request does not force it.
void CheckMemory(const RunState& run, const ResourcePlan& plan);

// Every attention site of the run, in execution order.
std::vector<SiteProblem> AllSites(const RunState& run);

// Whether a vision encoder reads the run's references.
bool ReadsPictures(const RunState& run);

// The components' jobs as the stages pose them.
TextEncoderJob TextJob(const RunState& run);
VisionEncoderJob ImageJob(const RunState& run);
AutoencoderJob DecoderJob(const RunState& run);
AutoencoderJob EncoderJob(const RunState& run, ModelFamily::EncodedFrames frames);

}  // namespace tessera
