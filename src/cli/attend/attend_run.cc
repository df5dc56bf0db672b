#include "cli/attend/attend_run.h"

#include <algorithm>
#include <chrono>
#include <memory>

#include <fmt/format.h>

#include "attention/rules.h"
#include "base/error.h"
#include "base/text.h"
#include "tensor/storage.h"

namespace tessera {
namespace {

// A plan with the calls it serves.
struct Planned {
  AttentionProblem problem;
  Options options;
  std::unique_ptr<AttentionPlan> plan;
  std::shared_ptr<std::byte> workspace;
  DenoisingOutline outline;
};

AttentionProblem WithoutPlace(AttentionProblem problem) {
  problem.step = problem.layer = -1;
  return problem;
}

// The problem as it is posed: with the log-sum-exp wherever the backend has one.
AttentionProblem Posed(const AttendCall& call, const AttendSetup& setup) {
  AttentionProblem problem = WithoutPlace(call.problem);
  problem.needs_lse = true;
  if (Refusals(setup.backend, problem, setup.device).empty()) return problem;
  problem.needs_lse = call.problem.needs_lse;
  const auto reasons = Refusals(setup.backend, problem, setup.device);
  if (reasons.empty()) return problem;
  const std::vector<std::string> words(reasons.begin(), reasons.end());
  throw Error(ErrorKind::kUnsupported, fmt::format("attention backend '{}' cannot serve '{}': {}", setup.backend.name,
                                                   Print(call.problem), Join(words, "; ")));
}

DenoisingOutline OutlineOf(std::span<const AttendCall> calls, const AttendSetup& setup) {
  DenoisingOutline outline{.steps = setup.steps, .layers = setup.layers, .seed = setup.seed};
  for (const AttendCall& call : calls) {
    outline.steps = std::max(outline.steps, call.problem.step + 1);
    outline.layers = std::max(outline.layers, call.problem.layer + 1);
  }
  return outline;
}

class Player {
 public:
  Player(std::span<const AttendCall> calls, const AttendSetup& setup)
      : calls_(calls), outline_(OutlineOf(calls, setup)), seconds_(calls.size()), results_(calls.size()) {
    for (size_t i = 0; i < calls.size(); ++i) {
      const AttentionProblem problem = Posed(calls[i], setup);
      planned_.push_back(PlanFor(problem, calls[i].options, setup));
      StartAt(calls[i], plans_[planned_[i]].outline);
      results_[i].out = Tensor::Zeros(calls[i].q.shape(), problem.dtype);
      if (problem.needs_lse) {
        results_[i].lse = Tensor::Zeros({problem.batch, problem.heads, problem.q_len}, DType::kF32);
      }
    }
  }

  std::vector<AttendResult> Play(int runs) {
    Pass();
    for (size_t i = 0; i < calls_.size(); ++i) seconds_[i].clear();  // the first pass warms up
    auto results = Copy();
    for (int run = 0; run < runs; ++run) Pass();
    for (size_t i = 0; i < calls_.size(); ++i) results[i].seconds = Median(seconds_[i]);
    return results;
  }

 private:
  size_t PlanFor(const AttentionProblem& problem, const Options& given, const AttendSetup& setup) {
    const Options options = ResolveOptions(setup.backend, given);
    for (size_t i = 0; i < plans_.size(); ++i) {
      if (plans_[i].problem == problem && plans_[i].options == options) return i;
    }
    auto plan = MakePlan(setup.backend, problem, setup.device, options);
    const size_t bytes = plan->workspace_bytes();
    plans_.push_back({problem, options, std::move(plan), AllocateAligned(bytes), outline_});
    return plans_.size() - 1;
  }

  // The first call that names tokens starts the clusterings of its plan.
  static void StartAt(const AttendCall& call, DenoisingOutline& outline) {
    if (outline.q_init_tokens.empty()) outline.q_init_tokens = call.q_init_tokens;
    if (outline.k_init_tokens.empty()) outline.k_init_tokens = call.k_init_tokens;
  }

  void Pass() {
    for (Planned& planned : plans_) planned.plan->BeginRequest(planned.outline);
    for (size_t i = 0; i < calls_.size(); ++i) RunOne(i);
  }

  void RunOne(size_t i) {
    AttentionPlan& plan = *plans_[planned_[i]].plan;
    AttendResult& result = results_[i];
    const AttentionIO io = OperandsOf(calls_[i], &result);
    plan.BeginStep(std::max(calls_[i].problem.step, 0));
    const auto begin = std::chrono::steady_clock::now();
    plan.Run(io, {plans_[planned_[i]].workspace.get(), plan.workspace_bytes()});
    seconds_[i].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
    if (!plan.failure().empty()) {
      throw Error(ErrorKind::kUnsupported, fmt::format("the attention backend failed at '{}': {}",
                                                       Print(calls_[i].problem), Printable(plan.failure(), 300)));
    }
    if (kept_) return;
    result.density = plan.density();
    if (plan.decision() != nullptr) result.decision = *plan.decision();
    result.findings = plan.Findings();
  }

  std::vector<AttendResult> Copy() {
    kept_ = true;
    auto results = results_;
    for (AttendResult& result : results) {
      result.out = result.out.Clone();
      if (result.lse.defined()) result.lse = result.lse.Clone();
    }
    return results;
  }

  static double Median(std::vector<double>& seconds) {
    const auto middle = seconds.begin() + static_cast<std::ptrdiff_t>(seconds.size() / 2);
    std::nth_element(seconds.begin(), middle, seconds.end());
    return *middle;
  }

  std::span<const AttendCall> calls_;
  DenoisingOutline outline_;
  std::vector<Planned> plans_;
  std::vector<size_t> planned_;  // of every call
  std::vector<std::vector<double>> seconds_;
  std::vector<AttendResult> results_;
  bool kept_ = false;
};

BshdIn ViewOf(const Tensor& tensor) { return {tensor.raw(), tensor.stride(0), tensor.stride(1), tensor.stride(2)}; }

AttentionBias BiasOf(const Tensor& bias) {
  const auto stride = [&](int axis) { return bias.dim(axis) == 1 ? 0 : bias.stride(axis); };
  const DType dtype = bias.dtype() == DType::kU8 ? DType::kBool : bias.dtype();
  return {bias.raw(), dtype, stride(0), stride(1), stride(2)};
}

}  // namespace

std::vector<AttendResult> RunCalls(std::span<const AttendCall> calls, const AttendSetup& setup) {
  return Player(calls, setup).Play(setup.runs);
}

AttentionIO OperandsOf(const AttendCall& call, AttendResult* result) {
  AttentionIO io;
  io.q = ViewOf(call.q);
  io.k = ViewOf(call.k);
  io.v = ViewOf(call.v);
  if (call.gate.defined()) io.gate = ViewOf(call.gate);
  if (call.bias.defined()) io.bias = BiasOf(call.bias);
  io.key_lengths = call.key_lengths;
  io.cu_seqlens_q = call.cu_seqlens_q;
  io.cu_seqlens_k = call.cu_seqlens_k;
  io.place.layer = std::max(call.problem.layer, 0);
  if (result != nullptr) {
    Tensor& out = result->out;
    io.out = {out.mutable_raw(), out.stride(0), out.stride(1), out.stride(2)};
    if (result->lse.defined()) io.lse = result->lse.mutable_data<float>();
  }
  return io;
}

}  // namespace tessera
