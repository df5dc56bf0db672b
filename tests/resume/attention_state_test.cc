// What attention learns from step to step: by component and pass, to tensors and back.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "attention/layer.h"
#include "conformance/attention_case.h"
#include "platform/cpu/cpu.h"
#include "support/temporary_folder.h"

namespace tessera {
namespace {

using ::testing::HasSubstr;

const AttentionProblem kProblem = ParseAttentionProblem("f32 b1 h2/2 d16 q96 kv96 role=self grid=2x6x8");

AttentionSite SiteOf(const std::string& component, int layer) { return {component, AttentionRole::kSelf, layer}; }

std::vector<SiteProblem> Sites() {
  std::vector<SiteProblem> sites;
  for (const char* component : {"transformer", "transformer_2"}) {
    for (int layer = 0; layer < 2; ++layer) sites.push_back({SiteOf(component, layer), kProblem});
  }
  return sites;
}

// Attention that starts its clusters from those of the step before.
class Learner {
 public:
  explicit Learner(const std::string& backend = "sparse_video_gen_2_attn") : context_(CpuDevice(), Schedule(backend)) {
    context_.Prepare(Sites(), kSteps);
    workspace_.Reserve(context_.WorkspaceBytes(Sites()));
    context_.BeginDenoising({.steps = kSteps, .passes = 2, .seed = 3});
  }

  AttentionContext& context() { return context_; }

  // Both layers and passes of a step; returns the outputs.
  std::vector<float> Step(const std::string& component, int step) {
    std::vector<float> outputs;
    context_.BeginStep(step);
    for (int layer = 0; layer < 2; ++layer) {
      for (int pass = 0; pass < 2; ++pass) {
        AttentionCase attention({.problem = kProblem, .seed = static_cast<uint64_t>(100 * step + 10 * layer + pass)});
        context_.BeginPass(pass);
        context_.Run(SiteOf(component, layer), kProblem, attention.NewIO(), workspace_);
        for (int64_t token = 0; token < 96; ++token) {
          for (int64_t d = 0; d < 16; ++d) outputs.push_back(attention.out().Get(attention.out().At(0, token, 1) + d));
        }
      }
    }
    return outputs;
  }

  static constexpr int kSteps = 6;

 private:
  static AttentionSchedule Schedule(const std::string& backend) {
    Options options;
    options.Set("num_q_centroids", int64_t{5});
    options.Set("num_k_centroids", int64_t{7});
    options.Set("top_p_kmeans", 0.5);
    options.Set("min_kc_ratio", 0.0);
    options.Set("kmeans_iter_init", int64_t{1});
    options.Set("first_times_fp", 0.0);
    options.Set("first_layers_fp", 0.0);
    return AttentionSchedule::FromBackendNames(backend, ChoiceSource::kCommandLine, Fidelity::kSparse, options);
  }

  AttentionContext context_;
  Workspace workspace_;
};

TensorState CopyOf(const TensorState& state) {
  TensorState copy;
  for (const auto& [name, tensor] : state.tensors()) copy.Add(name, tensor.Clone());
  return copy;
}

TEST(Experts, LearnNothingFromEachOther) {
  Learner both, second;
  for (int step = 0; step < 3; ++step) both.Step("transformer", step);
  for (int step = 3; step < 6; ++step) {
    EXPECT_EQ(both.Step("transformer_2", step), second.Step("transformer_2", step)) << step;
  }
}

TEST(Experts, StillLearnFromTheirOwnSteps) {
  Learner warm, cold;
  warm.Step("transformer_2", 3);
  EXPECT_NE(warm.Step("transformer_2", 4), cold.Step("transformer_2", 4));
}

TEST(AttentionState, GoesOnToTheSameBits) {
  Learner whole, first, second;
  for (int step = 0; step < 4; ++step) whole.Step("transformer", step);
  for (int step = 0; step < 4; ++step) first.Step("transformer", step);
  second.context().RestoreCounts(CopyOf(first.context().Counts()));
  second.context().RestoreLearnt(CopyOf(first.context().Learnt()));
  for (int step = 4; step < 6; ++step) {
    const auto expected = whole.Step(step == 4 ? "transformer" : "transformer_2", step);
    EXPECT_EQ(second.Step(step == 4 ? "transformer" : "transformer_2", step), expected);
  }
  const auto records = second.context().Records(), expected = whole.context().Records();
  ASSERT_EQ(records.size(), expected.size());
  for (size_t i = 0; i < records.size(); ++i) {
    EXPECT_EQ(records[i].calls, expected[i].calls);
    EXPECT_EQ(records[i].density, expected[i].density);
    EXPECT_EQ(records[i].steps, expected[i].steps);
  }
}

TEST(AttentionState, ANewPictureStartsAfresh) {
  Learner learner, fresh;
  learner.Step("transformer", 0);
  EXPECT_FALSE(learner.context().Learnt().empty());
  learner.context().BeginDenoising({.steps = Learner::kSteps, .passes = 2, .seed = 3});
  EXPECT_TRUE(learner.context().Learnt().empty());
  EXPECT_EQ(learner.Step("transformer", 0), fresh.Step("transformer", 0));
}

// `state` with one tensor replaced.
TensorState Changed(const TensorState& state, const std::string& part, const Tensor& by) {
  TensorState changed;
  for (const auto& [name, tensor] : state.tensors()) changed.Add(name, name.ends_with(part) ? by : tensor.Clone());
  return changed;
}

TEST(AttentionState, RefusesWhatIsNotItsOwn) {
  Learner learner, other;
  learner.Step("transformer", 0);
  const TensorState learnt = CopyOf(learner.context().Learnt()), counts = CopyOf(learner.context().Counts());
  const auto error = [&](const TensorState& state) { return ErrorOf([&] { other.context().RestoreLearnt(state); }); };
  EXPECT_THAT(error(Changed(learnt, "q.0", Tensor::Zeros({3}, DType::kF32))), HasSubstr("f32 [3], not f32"));
  Tensor wild = learnt.tensors()[0].second.Clone();
  wild.mutable_data<float>()[1] = 1e30f;
  EXPECT_THAT(error(Changed(learnt, "q.0", wild)), HasSubstr("values out of any range"));
  TensorState more = CopyOf(learnt);
  more.Add("0.q.77", wild);
  EXPECT_THAT(error(more), HasSubstr("a place '77' that this job has not"));
  TensorState plans;
  plans.Add("77.q.0", wild);
  EXPECT_THAT(error(plans), HasSubstr("more than this job's 2 plans"));
  Learner dense("torch_sdpa");
  EXPECT_THAT(ErrorOf([&] { dense.context().RestoreLearnt(learnt); }), HasSubstr("this backend keeps none"));
  EXPECT_THAT(ErrorOf([&] { dense.context().RestoreCounts({}); }), HasSubstr("no tensor 'numbers'"));
  Tensor negative = counts.Get("numbers").Clone();
  negative.mutable_data<int64_t>()[0] = -1;
  EXPECT_THAT(ErrorOf([&] { other.context().RestoreCounts(Changed(counts, "numbers", negative)); }),
              HasSubstr("'numbers' holds -1"));
}

}  // namespace
}  // namespace tessera
