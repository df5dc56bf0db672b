#include "planners_vsa/planner_call.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "attention/allocation_count.h"
#include "attention/registry.h"
#include "attention/rules.h"
#include "platform/cpu/cpu.h"
#include "tensor/storage.h"

namespace tessera {
namespace {

template <class T>
void Narrow(const std::vector<float>& values, std::vector<std::byte>* bytes) {
  bytes->resize(values.size() * sizeof(T));
  for (size_t i = 0; i < values.size(); ++i) Store(values[i], reinterpret_cast<T*>(bytes->data()) + i);
}

std::vector<std::byte> InDType(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes;
  if (dtype == DType::kF32) Narrow<float>(values, &bytes);
  if (dtype == DType::kBF16) Narrow<BFloat16>(values, &bytes);
  if (dtype == DType::kF16) Narrow<Float16>(values, &bytes);
  return bytes;
}

std::vector<float> InFloats(const std::vector<std::byte>& bytes, DType dtype) {
  std::vector<float> values(bytes.size() / SizeOf(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) values[i] = reinterpret_cast<const float*>(bytes.data())[i];
    if (dtype == DType::kBF16) values[i] = ToFloat(reinterpret_cast<const BFloat16*>(bytes.data())[i]);
    if (dtype == DType::kF16) values[i] = ToFloat(reinterpret_cast<const Float16*>(bytes.data())[i]);
  }
  return values;
}

template <class Pointer>
Bshd<Pointer> View(Pointer elements, const AttentionProblem& problem, int heads) {
  const int64_t row = int64_t{heads} * problem.head_dim;
  return {elements, problem.q_len * row, row, problem.head_dim};
}

int32_t BlockOf(const std::vector<int32_t>& offsets, int64_t first, int32_t blocks, int32_t position) {
  const auto begin = offsets.begin() + first * (blocks + 1);
  return static_cast<int32_t>(std::upper_bound(begin, begin + blocks + 1, position) - begin) - 1;
}

int32_t TokenAt(const BlockPlan::Blocks& blocks, int64_t first, int64_t length, int64_t position) {
  if (blocks.permutation.empty()) return static_cast<int32_t>(position);
  return blocks.permutation[static_cast<size_t>(first * length + position)];
}

}  // namespace

PlannerOperands PlannerOperands::Random(const AttentionProblem& problem, uint64_t seed) {
  PlannerOperands operands{.problem = problem, .q = {}, .k = {}, .v = {}, .gate = {}, .key_lengths = {}};
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  const auto fill = [&](std::vector<float>& values, int heads) {
    values.resize(static_cast<size_t>(problem.batch * problem.q_len * heads * problem.head_dim));
    for (float& value : values) value = normal(random);
    values = InFloats(InDType(values, problem.dtype), problem.dtype);
  };
  fill(operands.q, problem.heads);
  fill(operands.k, problem.kv_heads);
  fill(operands.v, problem.kv_heads);
  if (problem.has_gate) fill(operands.gate, problem.heads);
  return operands;
}

PlannerOperands PlannerOperands::Recorded(const AttentionProblem& problem, const SafetensorsFile& file) {
  return {.problem = problem,
          .q = Floats(file, "q"),
          .k = Floats(file, "k"),
          .v = Floats(file, "v"),
          .gate = problem.has_gate ? Floats(file, "gate") : std::vector<float>(),
          .key_lengths = {}};
}

const float* PlannerOperands::Row(const std::vector<float>& values, int heads, int64_t batch, int64_t token,
                                  int head) const {
  return values.data() + ((batch * problem.q_len + token) * heads + head) * problem.head_dim;
}

std::unique_ptr<AttentionPlan> PlanFor(const std::string& backend, const AttentionProblem& problem,
                                       const Options& options) {
  AttentionProblem asked = problem;
  asked.needs_lse = true;
  auto plan = MakePlan(AttentionRegistry::BuiltIn().Find(backend), asked, CpuDevice(), options);
  plan->BeginRequest({.steps = 50, .layers = 100});
  return plan;
}

PlannerOutcome RunAt(AttentionPlan& plan, const PlannerOperands& operands, PlannerPlace place) {
  const AttentionProblem& problem = operands.problem;
  const auto q = InDType(operands.q, problem.dtype), k = InDType(operands.k, problem.dtype);
  const auto v = InDType(operands.v, problem.dtype), gate = InDType(operands.gate, problem.dtype);
  std::vector<std::byte> out(q.size());
  PlannerOutcome outcome;
  outcome.lse.resize(static_cast<size_t>(problem.batch * problem.heads * problem.q_len));
  AttentionIO io;
  io.q = View<const void*>(q.data(), problem, problem.heads);
  io.k = View<const void*>(k.data(), problem, problem.kv_heads);
  io.v = View<const void*>(v.data(), problem, problem.kv_heads);
  io.out = View<void*>(out.data(), problem, problem.heads);
  if (problem.has_gate) io.gate = View<const void*>(gate.data(), problem, problem.heads);
  io.lse = outcome.lse.data();
  io.key_lengths = operands.key_lengths;
  io.place.layer = place.layer;
  const size_t bytes = plan.workspace_bytes();
  const auto workspace = AllocateAligned(bytes);
  std::memset(workspace.get(), 0xFF, bytes);  // NaN in every format
  plan.BeginStep(place.step);
  const int64_t before = AllocationsOfThisThread();
  plan.Run(io, {workspace.get(), bytes});
  outcome.allocations = AllocationsOfThisThread() - before;
  outcome.out = InFloats(out, problem.dtype);
  outcome.density = plan.density();
  return outcome;
}

std::vector<uint8_t> SeenPairs(const BlockPlan* plan, const PlannerOperands& operands) {
  const AttentionProblem& problem = operands.problem;
  const int64_t length = problem.q_len, sets = problem.batch * problem.heads;
  std::vector<uint8_t> seen(static_cast<size_t>(sets * length * length), plan == nullptr ? 1 : 0);
  for (int64_t set = 0; plan != nullptr && set < sets; ++set) {
    const int64_t part = plan->per_head ? set : 0;
    for (int32_t position = 0; position < length; ++position) {
      const int32_t block = BlockOf(plan->q.offsets, part, plan->q_blocks, position);
      const int32_t within = position - plan->q.offsets[static_cast<size_t>(part * (plan->q_blocks + 1) + block)];
      const auto row = static_cast<size_t>(set * plan->q_blocks + block);
      uint8_t* keys = seen.data() + (set * length + TokenAt(plan->q, part, length, position)) * length;
      for (int64_t entry = plan->row_begin[row]; entry < plan->row_begin[row + 1]; ++entry) {
        const int64_t word = entry * plan->mask_words + within / 64;
        const bool hidden =
            !plan->query_masks.empty() && (plan->query_masks[static_cast<size_t>(word)] >> (within % 64) & 1) == 0;
        if (hidden) continue;
        const auto at = static_cast<size_t>(part * (plan->kv_blocks + 1) + plan->kv_list[static_cast<size_t>(entry)]);
        for (int32_t key = plan->kv.offsets[at]; key < plan->kv.offsets[at + 1]; ++key) {
          keys[TokenAt(plan->kv, part, length, key)] = 1;
        }
      }
    }
  }
  return seen;
}

std::vector<double> Attend(const PlannerOperands& operands, const std::vector<uint8_t>& seen) {
  const AttentionProblem& problem = operands.problem;
  const int64_t length = problem.q_len;
  const int dim = problem.head_dim, group = problem.heads / problem.kv_heads;
  const auto scale = static_cast<double>(problem.softmax_scale());
  std::vector<double> out(operands.q.size()), weights(static_cast<size_t>(length));
  for (int64_t row = 0; row < problem.batch * problem.heads * length; ++row) {
    const int64_t batch = row / length / problem.heads, query = row % length;
    const int head = static_cast<int>(row / length % problem.heads);
    const int64_t keys = operands.key_lengths.empty() ? length : operands.key_lengths[static_cast<size_t>(batch)];
    const float* q = operands.Row(operands.q, problem.heads, batch, query, head);
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (int64_t j = 0; j < length; ++j) {
      const float* k = operands.Row(operands.k, problem.kv_heads, batch, j, head / group);
      double& score = weights[static_cast<size_t>(j)];
      score = -std::numeric_limits<double>::infinity();
      if (j < keys && seen[static_cast<size_t>(row * length + j)] != 0) {
        score = scale * std::inner_product(q, q + dim, k, 0.0);
      }
      most = std::max(most, score);
    }
    for (double& weight : weights) sum += weight = std::isinf(weight) ? 0 : std::exp(weight - most);
    double* to = out.data() + ((batch * length + query) * problem.heads + head) * dim;
    for (int64_t j = 0; j < length; ++j) {
      if (weights[static_cast<size_t>(j)] == 0) continue;
      const float* v = operands.Row(operands.v, problem.kv_heads, batch, j, head / group);
      for (int d = 0; d < dim; ++d) to[d] += weights[static_cast<size_t>(j)] / sum * static_cast<double>(v[d]);
    }
  }
  return out;
}

int ExpectEveryKernelRight(const std::string& planner, const PlannerOperands& operands, const Options& options,
                           const std::vector<double>& exact) {
  int compositions = 0;
  for (const AttentionBackend* backend : AttentionRegistry::BuiltIn().compositions()) {
    if (backend->planner->name != planner) continue;
    if (!Refusals(*backend, operands.problem, CpuDevice()).empty()) continue;
    ++compositions;
    const auto plan = PlanFor(std::string(backend->name), operands.problem, options);
    const PlannerOutcome outcome = RunAt(*plan, operands);
    double apart = 0, size = 0;
    for (size_t i = 0; i < exact.size(); ++i) {
      apart += std::abs(static_cast<double>(outcome.out[i]) - exact[i]);
      size += std::abs(exact[i]);
    }
    EXPECT_LE(apart / size, backend->kernel->caps.fidelity == Fidelity::kExact ? 0.01 : 0.25) << backend->name;
  }
  return compositions;
}

double MostApart(const std::vector<float>& a, const std::vector<double>& b) {
  double most = a.size() == b.size() ? 0 : std::numeric_limits<double>::infinity();
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double apart = std::abs(static_cast<double>(a[i]) - b[i]);
    most = apart <= most ? most : apart;  // NaN counts
  }
  return most;
}

double MostApart(const std::vector<float>& a, const std::vector<float>& b) {
  return MostApart(a, std::vector<double>(b.begin(), b.end()));
}

AttentionProblem RecordedProblem(const std::string& line) {
  AttentionProblem problem = ParseAttentionProblem(line);
  problem.dtype = DType::kF32;
  return problem;
}

Options OptionsFrom(const nlohmann::json& config) {
  Options options;
  for (const auto& [key, value] : config.items()) {
    if (value.is_boolean()) options.Set(key, value.get<bool>());
    if (value.is_number_integer()) options.Set(key, value.get<int64_t>());
    if (value.is_number_float()) options.Set(key, value.get<double>());
    if (value.is_string()) options.Set(key, value.get<std::string>());
    if (value.is_array()) options.Set(key, value.get<std::vector<double>>());
  }
  return options;
}

std::vector<float> Floats(const SafetensorsFile& file, const std::string& key) {
  const Tensor tensor = file.Get(key);
  return {tensor.data<float>(), tensor.data<float>() + tensor.numel()};
}

std::vector<int32_t> Wholes(const SafetensorsFile& file, const std::string& key) {
  const Tensor tensor = file.Get(key);
  return {tensor.data<int32_t>(), tensor.data<int32_t>() + tensor.numel()};
}

std::vector<uint8_t> Bytes(const SafetensorsFile& file, const std::string& key) {
  const Tensor tensor = file.Get(key);
  return {tensor.data<uint8_t>(), tensor.data<uint8_t>() + tensor.numel()};
}

}  // namespace tessera
