#include "pipeline/stage.h"

namespace tessera {
namespace {

class TimestepPreparation final : public PictureStage {
 public:
  std::string_view name() const noexcept override { return "TimestepPreparationStage"; }
  void Run(RunState& run, PictureState& picture) override {
    picture.scheduler = run.family->MakeScheduler(run.job, picture.generator);
  }
};

}  // namespace

std::unique_ptr<PictureStage> TimestepPreparationStage() { return std::make_unique<TimestepPreparation>(); }

}  // namespace tessera
