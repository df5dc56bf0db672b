// Wan: films from prompts and pictures (specification section 3; diffusers' WanPipeline and WanImageToVideoPipeline).
#include <variant>

#include <fmt/format.h>

#include "base/error.h"
#include "base/text.h"
#include "models/wan_family.h"
#include "schedulers/unipc.h"

namespace tessera {
namespace {

using SchedulerConfig = std::variant<UniPcConfig, FlowMatchEulerConfig>;

SchedulerConfig ReadScheduler(const ModelFolder& folder) {
  const Config config = folder.SchedulerConfig();
  const std::string name = config.String("_class_name", "UniPCMultistepScheduler");
  if (name == "UniPCMultistepScheduler") return UniPcConfig::From(config);
  if (name == "FlowMatchEulerDiscreteScheduler") return FlowMatchEulerConfig::From(config);
  throw Error(ErrorKind::kUnsupported,
              fmt::format("{}: scheduler class '{}' is not supported; supported: UniPCMultistepScheduler, "
                          "FlowMatchEulerDiscreteScheduler",
                          config.file(), Printable(name)));
}

double TrainTimesteps(const SchedulerConfig& config) {
  return std::visit([](const auto& one) { return static_cast<double>(one.num_train_timesteps); }, config);
}

class WanPipelineFamily final : public WanFamily {
 public:
  WanPipelineFamily(const ModelFolder& folder, SchedulerConfig scheduler)
      : WanFamily(folder, folder.pipeline_class() == "WanImageToVideoPipeline" ? Reads::kPictures : Reads::kPrompts,
                  Guidance::kAsked, TrainTimesteps(scheduler)),
        scheduler_(std::move(scheduler)) {}

  std::unique_ptr<Scheduler> MakeScheduler(const DenoisingJob& job, const TorchGenerator&) const override {
    if (const auto* unipc = std::get_if<UniPcConfig>(&scheduler_)) return MakeUniPc(*unipc, job.steps);
    return MakeFlowMatchEuler(MakeDefaultFlowMatchSchedule(std::get<FlowMatchEulerConfig>(scheduler_), job.steps));
  }

 private:
  SchedulerConfig scheduler_;
};

std::unique_ptr<ModelFamily> Open(const ModelFolder& folder) {
  return std::make_unique<WanPipelineFamily>(folder, ReadScheduler(folder));
}

}  // namespace

extern const ModelFamilyEntry wan_family;
const ModelFamilyEntry wan_family = {"WanPipeline WanImageToVideoPipeline", Open};

}  // namespace tessera
