#include "planners_sta/sta_call.h"

#include <algorithm>
#include <cmath>
#include <random>

namespace tessera {

StaCall::StaCall(const AttentionProblem& asked, uint64_t seed) : problem(asked) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal;
  const auto rows = static_cast<size_t>(problem.batch * problem.q_len);
  const auto draw = [&](std::vector<float>& values, int heads) {
    values.resize(rows * static_cast<size_t>(heads * problem.head_dim));
    std::generate(values.begin(), values.end(), [&] { return normal(random); });
  };
  draw(q, problem.heads);
  draw(k, problem.kv_heads);
  draw(v, problem.kv_heads);
  out.resize(q.size());
  lse.resize(rows * static_cast<size_t>(problem.heads));
  if ((problem.mask & kMaskKeyLengths) == 0) return;
  for (int64_t sample = 0; sample < problem.batch; ++sample) {
    const int64_t hidden = (problem.grid->suffix + sample) / 2;
    key_lengths.push_back(static_cast<int32_t>(problem.kv_len - std::min(hidden, problem.grid->suffix)));
  }
}

void StaCall::Run(AttentionPlan& plan, const AttentionPlace& place) {
  const auto view = [&](auto* elements, int heads) {
    const int64_t row = int64_t{heads} * problem.head_dim;
    return Bshd<decltype(elements)>{elements, problem.q_len * row, row, problem.head_dim};
  };
  AttentionIO io;
  io.q = view(static_cast<const void*>(q.data()), problem.heads);
  io.k = view(static_cast<const void*>(k.data()), problem.kv_heads);
  io.v = view(static_cast<const void*>(v.data()), problem.kv_heads);
  std::fill(out.begin(), out.end(), std::nanf(""));
  io.out = view(static_cast<void*>(out.data()), problem.heads);
  io.lse = problem.needs_lse ? lse.data() : nullptr;
  io.key_lengths = key_lengths;
  io.place = place;
  memory_.resize(plan.workspace_bytes() + 64);
  auto* begin = memory_.data() + (64 - reinterpret_cast<uintptr_t>(memory_.data()) % 64) % 64;
  plan.Run(io, {begin, plan.workspace_bytes()});
}

std::vector<double> Solve(const StaCall& call, const Sees& sees) {
  const AttentionProblem& p = call.problem;
  std::vector<double> out(call.q.size()), weights(static_cast<size_t>(p.kv_len));
  const auto row = [&](int64_t sample, int64_t token, int heads, int head) {
    return static_cast<size_t>(((sample * p.q_len + token) * heads + head) * p.head_dim);
  };
  for (int64_t n = 0; n < p.batch * p.heads * p.q_len; ++n) {
    const int64_t sample = n / (p.heads * p.q_len), query = n % p.q_len;
    const int head = static_cast<int>(n / p.q_len % p.heads), kv_head = head / (p.heads / p.kv_heads);
    const int64_t keys = call.key_lengths.empty() ? p.kv_len : call.key_lengths[static_cast<size_t>(sample)];
    const size_t of_query = row(sample, query, p.heads, head);
    double largest = -1e300, sum = 0;
    for (int64_t key = 0; key < keys; ++key) {
      const size_t of_key = row(sample, key, p.kv_heads, kv_head);
      double score = 0;
      for (size_t d = 0; d < static_cast<size_t>(p.head_dim); ++d) {
        score += double{call.q[of_query + d]} * call.k[of_key + d];
      }
      weights[static_cast<size_t>(key)] = score / std::sqrt(p.head_dim);
      if (sees(sample, head, query, key)) largest = std::max(largest, weights[static_cast<size_t>(key)]);
    }
    for (int64_t key = 0; key < keys; ++key) {
      if (!sees(sample, head, query, key)) continue;
      const double weight = std::exp(weights[static_cast<size_t>(key)] - largest);
      sum += weight;
      const size_t of_key = row(sample, key, p.kv_heads, kv_head);
      for (size_t d = 0; d < static_cast<size_t>(p.head_dim); ++d) out[of_query + d] += weight * call.v[of_key + d];
    }
    for (size_t d = 0; d < static_cast<size_t>(p.head_dim); ++d) out[of_query + d] /= sum;
  }
  return out;
}

Gap Compare(const StaCall& call, const std::vector<double>& exact) {
  const AttentionProblem& p = call.problem;
  Gap gap;
  double sum = 0, all = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const auto token = static_cast<int64_t>(i) / (p.heads * p.head_dim);
    const auto sample = static_cast<size_t>(token / p.q_len);
    if (!call.key_lengths.empty() && token % p.q_len >= call.key_lengths[sample]) continue;
    const double here = std::abs(call.out[i] - exact[i]);
    gap.most = std::isnan(gap.most) || here <= gap.most ? gap.most : here;  // NaN stays
    sum += here;
    all += std::abs(exact[i]);
  }
  gap.relative = sum / all;
  return gap;
}

bool SeesThroughWindow(const VideoGrid& grid, const std::array<int64_t, 3>& tile, const std::array<int32_t, 3>& window,
                       int64_t query, int64_t key) {
  const std::array<int64_t, 3> tokens = {grid.t, grid.h, grid.w};
  int64_t a = query - grid.prefix, b = key - grid.prefix;
  const int64_t video = grid.t * grid.h * grid.w;
  if (a < 0 || b < 0 || a >= video || b >= video) return true;
  for (size_t axis = 3; axis-- > 0;) {
    const int64_t x = a % tokens[axis] / tile[axis], y = b % tokens[axis] / tile[axis];
    const int64_t tiles = (tokens[axis] + tile[axis] - 1) / tile[axis];
    a /= tokens[axis];
    b /= tokens[axis];
    if (window[axis] >= tiles) continue;
    int64_t first = x - window[axis] / 2;
    first = std::min(std::max<int64_t>(first, 0), tiles - window[axis]);
    if (y < first || y >= first + window[axis]) return false;
  }
  return true;
}

std::vector<bool> VisiblePairs(const AttentionProblem& problem, const BlockPlan* plan) {
  const auto length = static_cast<size_t>(problem.q_len), sets = static_cast<size_t>(problem.batch * problem.heads);
  std::vector<bool> pairs(sets * length * length, plan == nullptr);
  if (plan == nullptr) return pairs;
  const auto token = [](const BlockPlan::Blocks& blocks, int32_t position) {
    return static_cast<size_t>(blocks.permutation.empty() ? position
                                                          : blocks.permutation[static_cast<size_t>(position)]);
  };
  for (size_t row = 0; row + 1 < plan->row_begin.size(); ++row) {
    const size_t set = row / static_cast<size_t>(plan->q_blocks), block = row % static_cast<size_t>(plan->q_blocks);
    for (int64_t entry = plan->row_begin[row]; entry < plan->row_begin[row + 1]; ++entry) {
      const auto seen = static_cast<size_t>(plan->kv_list[static_cast<size_t>(entry)]);
      for (int32_t i = plan->q.offsets[block]; i < plan->q.offsets[block + 1]; ++i) {
        for (int32_t j = plan->kv.offsets[seen]; j < plan->kv.offsets[seen + 1]; ++j) {
          pairs[(set * length + token(plan->q, i)) * length + token(plan->kv, j)] = true;
        }
      }
    }
  }
  return pairs;
}

AttentionProblem F32Problem(const std::string& line) {
  AttentionProblem problem = ParseAttentionProblem(line);
  problem.dtype = DType::kF32;
  return problem;
}

}  // namespace tessera
