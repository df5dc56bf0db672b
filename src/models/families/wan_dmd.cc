// FastWan: Wan models distilled for few steps without guidance (specification section 3.6; FastVideo's WanDMDPipeline).
#include "models/wan_family.h"
#include "schedulers/dmd.h"

namespace tessera {
namespace {

constexpr double kShift = 8.0;

class WanDmdFamily final : public WanFamily {
 public:
  explicit WanDmdFamily(const ModelFolder& folder)
      : WanFamily(folder, TakesCondition(folder) ? Reads::kPictures : Reads::kPrompts, Guidance::kDistilled,
                  kDmdTrainTimesteps),
        scheduler_(DmdConfig::From(folder.SchedulerConfig(), kShift)) {}

  // Models with gates were distilled at sizes that the cubes of video sparse attention divide.
  GenerationDefaults Defaults() const override {
    GenerationDefaults defaults = WanFamily::Defaults();
    if (experts().first.to_gate_compress && !experts().expand_timesteps) {
      defaults.size = {448, 832};
      defaults.frames = 61;
    }
    return defaults;
  }

  std::string_view DenoisingStageName() const noexcept override { return "DmdDenoisingStage"; }
  std::vector<int64_t> DistilledTimesteps() const override { return {1000, 757, 522}; }
  std::unique_ptr<Scheduler> MakeScheduler(const DenoisingJob& job, const TorchGenerator& generator) const override {
    return MakeDmd({MakeDmdTable(scheduler_, job.timesteps), {LatentShape(job)[1]}, generator, job.compute});
  }

 private:
  DmdConfig scheduler_;
};

std::unique_ptr<ModelFamily> Open(const ModelFolder& folder) { return std::make_unique<WanDmdFamily>(folder); }

}  // namespace

extern const ModelFamilyEntry wan_dmd_family;
const ModelFamilyEntry wan_dmd_family = {"WanDMDPipeline WanImageToVideoDmdPipeline", Open};

}  // namespace tessera
