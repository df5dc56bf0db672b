#include "planners_svg2/planner_call.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <sstream>

#include "attention/registry.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

std::vector<std::byte> Converted(const std::vector<float>& values, DType dtype) {
  std::vector<std::byte> bytes(values.size() * SizeOf(dtype));
  for (size_t i = 0; i < values.size(); ++i) {
    if (dtype == DType::kF32) {
      std::memcpy(bytes.data() + 4 * i, &values[i], 4);
    } else {
      const uint16_t half = dtype == DType::kBF16 ? ToBFloat16(values[i]).bits : ToFloat16(values[i]).bits;
      std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
  }
  return bytes;
}

float ElementAt(const std::vector<std::byte>& bytes, DType dtype, size_t i) {
  float value;
  if (dtype == DType::kF32) {
    std::memcpy(&value, bytes.data() + 4 * i, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, bytes.data() + 2 * i, 2);
  return dtype == DType::kBF16 ? ToFloat(BFloat16{half}) : ToFloat(Float16{half});
}

template <class Pointer>
Bshd<Pointer> Packed(Pointer elements, int64_t seq, int heads, int head_dim) {
  return {elements, seq * heads * head_dim, int64_t{heads} * head_dim, head_dim};
}

OptionValue ValueOf(const std::string& text) {
  if (text == "true" || text == "false") return text == "true";
  if (text.find('.') == std::string::npos) return int64_t{std::stoll(text)};
  return std::stod(text);
}

std::vector<int32_t> LabelsOf(const BlockPlan::Blocks& blocks, int32_t count, bool per_head, int64_t set, int64_t seq) {
  std::vector<int32_t> labels(static_cast<size_t>(seq), -1);
  const int64_t own = per_head ? set : 0;
  const int32_t* offsets = blocks.offsets.data() + own * (count + 1);
  for (int32_t n = 0; n < count; ++n) {
    for (int32_t position = offsets[n]; position < offsets[n + 1]; ++position) {
      const int32_t token =
          blocks.permutation.empty() ? position : blocks.permutation[static_cast<size_t>(own * seq + position)];
      labels[static_cast<size_t>(token)] = n;
    }
  }
  return labels;
}

std::vector<int32_t> SizesOf(const std::vector<int32_t>& labels, int32_t count) {
  std::vector<int32_t> sizes(static_cast<size_t>(count));
  for (const int32_t label : labels) ++sizes[static_cast<size_t>(label)];
  return sizes;
}

}  // namespace

PlannerCall RandomCall(const AttentionProblem& problem, uint64_t seed) {
  PlannerCall call{.problem = problem, .q = {}, .k = {}, .v = {}, .key_lengths = {}, .out = {}, .lse = {}};
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  const auto draw = [&](std::vector<float>* to, int heads) {
    to->resize(static_cast<size_t>(problem.batch * problem.kv_len * heads * problem.head_dim));
    for (float& x : *to) x = ToFloat(ToBFloat16(normal(random)));
  };
  draw(&call.q, problem.heads);
  draw(&call.k, problem.kv_heads);
  draw(&call.v, problem.kv_heads);
  return call;
}

Options OptionsFrom(const std::string& line) {
  Options options;
  std::istringstream words(line);
  for (std::string word; words >> word;) {
    const size_t sign = word.find('=');
    options.Set(word.substr(0, sign), ValueOf(word.substr(sign + 1)));
  }
  return options;
}

std::unique_ptr<AttentionPlan> PlanFor(const std::string& backend, const AttentionProblem& problem,
                                       const Options& options) {
  return MakePlan(AttentionRegistry::BuiltIn().Find(backend), problem, CpuDevice(), options);
}

void RunCall(AttentionPlan& plan, PlannerCall* call) {
  const AttentionProblem& problem = call->problem;
  const auto q = Converted(call->q, problem.dtype), k = Converted(call->k, problem.dtype),
             v = Converted(call->v, problem.dtype);
  std::vector<std::byte> out(q.size());
  call->lse.assign(static_cast<size_t>(problem.batch * problem.heads * problem.q_len), 0);
  AttentionIO io;
  io.q = Packed<const void*>(q.data(), problem.q_len, problem.heads, problem.head_dim);
  io.k = Packed<const void*>(k.data(), problem.kv_len, problem.kv_heads, problem.head_dim);
  io.v = Packed<const void*>(v.data(), problem.kv_len, problem.kv_heads, problem.head_dim);
  io.out = Packed<void*>(out.data(), problem.q_len, problem.heads, problem.head_dim);
  io.lse = problem.needs_lse ? call->lse.data() : nullptr;
  io.key_lengths = call->key_lengths;
  io.place = call->place;
  std::vector<std::byte> memory(plan.workspace_bytes() + 64);
  auto* begin = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  plan.Run(io, {begin, plan.workspace_bytes()});
  call->out.resize(call->q.size());
  for (size_t i = 0; i < call->out.size(); ++i) call->out[i] = ElementAt(out, problem.dtype, i);
}

std::vector<float> DenseOut(const PlannerCall& call) {
  PlannerCall dense = call;
  RunCall(*PlanFor("torch_sdpa", call.problem, {}), &dense);
  return dense.out;
}

HeadDecision DecisionOf(const BlockPlan& plan, const AttentionProblem& problem, int64_t set) {
  HeadDecision decision;
  decision.q_labels = LabelsOf(plan.q, plan.q_blocks, plan.per_head, set, problem.q_len);
  decision.k_labels = LabelsOf(plan.kv, plan.kv_blocks, plan.per_head, set, problem.kv_len);
  decision.q_sizes = SizesOf(decision.q_labels, plan.q_blocks);
  decision.k_sizes = SizesOf(decision.k_labels, plan.kv_blocks);
  decision.map.resize(static_cast<size_t>(plan.q_blocks) * static_cast<size_t>(plan.kv_blocks));
  for (int32_t row = 0; row < plan.q_blocks; ++row) {
    const auto at = static_cast<size_t>(set * plan.q_blocks + row);
    for (int64_t entry = plan.row_begin[at]; entry < plan.row_begin[at + 1]; ++entry) {
      const int32_t block = plan.kv_list[static_cast<size_t>(entry)];
      decision.map[static_cast<size_t>(row) * static_cast<size_t>(plan.kv_blocks) + static_cast<size_t>(block)] = 1;
    }
  }
  return decision;
}

double LargestDifference(const std::vector<float>& a, const std::vector<float>& b) {
  double most = a.size() == b.size() ? 0 : INFINITY;
  for (size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - b[i]);
    most = difference <= most ? most : difference;  // NaN counts
  }
  return most;
}

}  // namespace tessera
