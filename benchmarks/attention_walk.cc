// What walking a sparse plan costs next to dense attention with the same kernel: `ratio` is sparse time over dense time
// times density, medians of runs that take turns, so that other work on the machine hits both alike.
#include <algorithm>
#include <ctime>
#include <numeric>
#include <random>

#include <benchmark/benchmark.h>

#include "attention/registry.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

using Random = std::mt19937_64;

enum class Order { kKept, kShared, kPerHead };  // of tokens: as they are, one permutation, one for every head

// Blocks of a sequence: sizes drawn around a mean, or all alike.
struct Shape {
  const char* name;
  int64_t tokens, q_block, kv_block;
  bool ragged;       // sizes differ as those of clusters do
  bool query_masks;  // every query chooses its own kv blocks
  Order order;
};

std::vector<int32_t> Offsets(int64_t tokens, int64_t block, bool ragged, Random& random) {
  std::vector<int32_t> offsets = {0};
  if (!ragged) {
    for (int64_t end = block; end < tokens; end += block) offsets.push_back(static_cast<int32_t>(end));
    offsets.push_back(static_cast<int32_t>(tokens));
    return offsets;
  }
  const int64_t count = tokens / block;
  std::gamma_distribution<double> sizes(4.0);
  std::vector<double> ends = {0};
  for (int64_t n = 0; n < count; ++n) ends.push_back(ends.back() + sizes(random));
  for (int64_t n = 1; n <= count; ++n) {
    const double share = ends[static_cast<size_t>(n)] / ends.back();
    offsets.push_back(static_cast<int32_t>(share * static_cast<double>(tokens)));
  }
  offsets.back() = static_cast<int32_t>(tokens);
  return offsets;
}

void Append(std::vector<int32_t>& to, const std::vector<int32_t>& part) {
  to.insert(to.end(), part.begin(), part.end());
}

void Permute(BlockPlan::Blocks& blocks, int64_t tokens, Random& random) {
  std::vector<int32_t> order(static_cast<size_t>(tokens));
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), random);
  Append(blocks.permutation, order);
}

// A fifth of the kv blocks for every query block (or query).
void Choose(BlockPlan& plan, int64_t rows, const Shape& shape, Random& random) {
  constexpr int64_t kOneOf = 5;
  plan.row_begin = {0};
  const auto words = static_cast<size_t>((shape.q_block + 63) / 64);
  if (shape.query_masks) plan.mask_words = static_cast<int32_t>(words);
  for (int64_t row = 0; row < rows; ++row) {
    std::vector<uint64_t> masks(static_cast<size_t>(plan.kv_blocks) * words);
    for (int64_t query = 0; query < (shape.query_masks ? shape.q_block : 1); ++query) {
      std::vector<int32_t> order(static_cast<size_t>(plan.kv_blocks));
      std::iota(order.begin(), order.end(), 0);
      std::shuffle(order.begin(), order.end(), random);
      for (int64_t n = 0; n < plan.kv_blocks / kOneOf; ++n) {
        masks[static_cast<size_t>(order[static_cast<size_t>(n)]) * words + static_cast<size_t>(query) / 64] |=
            uint64_t{1} << query % 64;
      }
    }
    for (int32_t block = 0; block < plan.kv_blocks; ++block) {
      const auto own = masks.begin() + static_cast<ptrdiff_t>(static_cast<size_t>(block) * words);
      if (std::all_of(own, own + static_cast<ptrdiff_t>(words), [](uint64_t word) { return word == 0; })) continue;
      plan.kv_list.push_back(block);
      if (shape.query_masks) plan.query_masks.insert(plan.query_masks.end(), own, own + static_cast<ptrdiff_t>(words));
    }
    plan.row_begin.push_back(static_cast<int64_t>(plan.kv_list.size()));
  }
}

BlockPlan PlanOf(const Shape& shape, int heads) {
  Random random(7);
  BlockPlan plan;
  plan.per_head = shape.order == Order::kPerHead;
  for (int set = 0; set < (plan.per_head ? heads : 1); ++set) {
    const auto q = Offsets(shape.tokens, shape.q_block, shape.ragged, random);
    const auto kv = Offsets(shape.tokens, shape.kv_block, shape.ragged, random);
    plan.q_blocks = static_cast<int32_t>(q.size()) - 1;
    plan.kv_blocks = static_cast<int32_t>(kv.size()) - 1;
    Append(plan.q.offsets, q);
    Append(plan.kv.offsets, kv);
    if (shape.order == Order::kKept) continue;
    Permute(plan.q, shape.tokens, random);
    Permute(plan.kv, shape.tokens, random);
  }
  Choose(plan, int64_t{heads} * plan.q_blocks, shape, random);
  return plan;
}

struct Call {
  AttentionProblem problem;
  std::vector<BFloat16> q, k, v, out;
  AttentionIO io;
  explicit Call(const AttentionProblem& wanted) : problem(wanted) {
    Random random(3);
    std::normal_distribution<float> normal;
    const auto size = static_cast<size_t>(problem.q_len * problem.heads * problem.head_dim);
    for (std::vector<BFloat16>* rows : {&q, &k, &v}) {
      rows->resize(size);
      for (BFloat16& x : *rows) x = ToBFloat16(normal(random));
    }
    out.resize(size);
    const int64_t row = int64_t{problem.heads} * problem.head_dim;
    io.q = {q.data(), problem.q_len * row, row, problem.head_dim};
    io.k = {k.data(), problem.q_len * row, row, problem.head_dim};
    io.v = {v.data(), problem.q_len * row, row, problem.head_dim};
    io.out = {out.data(), problem.q_len * row, row, problem.head_dim};
  }
};

// Processor time of one thread, which other work on the machine disturbs least.
double SecondsOf(AttentionPlan& plan, const AttentionIO& io, std::span<std::byte> workspace) {
  const std::clock_t begin = std::clock();
  plan.Run(io, workspace);
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(values.size() / 2), values.end());
  return values[values.size() / 2];
}

void Walk(benchmark::State& state, const Shape& shape, const char* kernel) {
  const AttentionProblem problem{
      .dtype = DType::kBF16, .heads = 1, .kv_heads = 1, .head_dim = 128, .q_len = shape.tokens, .kv_len = shape.tokens};
  Call call(problem);
  const AttentionRegistry& registry = AttentionRegistry::BuiltIn();
  const auto dense = MakePlan(registry.Find(kernel), problem, CpuDevice(), {});
  const auto fa = MakePlan(registry.Find("fa"), problem, CpuDevice(), {});
  const BlockPlan blocks = PlanOf(shape, problem.heads);
  AttentionIO sparse = call.io;
  sparse.blocks = &blocks;
  const size_t bytes = std::max(dense->workspace_bytes(), fa->workspace_bytes());
  std::vector<std::byte> memory(bytes + 64);
  auto* begin = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  const std::span workspace(begin, bytes);
  std::vector<double> dense_seconds, sparse_seconds, fa_seconds;
  for (auto _ : state) {
    dense_seconds.push_back(SecondsOf(*dense, call.io, workspace));
    for (int n = 0; n < 2; ++n) sparse_seconds.push_back(SecondsOf(*dense, sparse, workspace));
    fa_seconds.push_back(SecondsOf(*fa, call.io, workspace));
    state.SetIterationTime(sparse_seconds.back());
  }
  const double seconds = Median(sparse_seconds);
  state.counters["density"] = blocks.Density();
  state.counters["ratio"] = seconds / (Median(dense_seconds) * blocks.Density());
  state.counters["fa_over_sparse"] = Median(fa_seconds) / seconds;
}

constexpr Shape kShapes[] = {
    {"sliding_tiles_384", 16896, 384, 384, false, false, Order::kShared},
    {"ragged_tiles_about_40", 16384, 40, 40, true, false, Order::kShared},
    {"video_cubes_64", 16384, 64, 64, false, false, Order::kShared},
    {"moba_chunks_1024", 16384, 1024, 1024, false, true, Order::kKept},
    {"clusters_100_64", 16384, 164, 256, true, false, Order::kPerHead},
    {"clusters_100_256", 16384, 164, 64, true, false, Order::kPerHead},
    {"clusters_100_1000", 16384, 164, 16, true, false, Order::kPerHead},
    {"clusters_300_256", 16384, 55, 64, true, false, Order::kPerHead},
    {"clusters_300_1000", 16384, 55, 16, true, false, Order::kPerHead},
};

void RegisterAll() {
  for (const char* kernel : {"fa", "sage_attn"}) {
    for (const Shape& shape : kShapes) {
      benchmark::RegisterBenchmark((std::string("walk/") + shape.name + "/" + kernel).c_str(),
                                   [&shape, kernel](benchmark::State& state) { Walk(state, shape, kernel); })
          ->UseManualTime()
          ->Unit(benchmark::kMillisecond)
          ->Iterations(5);
    }
  }
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  tessera::SetThreads(1);
  tessera::RegisterAll();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
}
