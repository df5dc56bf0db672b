// Video sparse attention (Zhang et al., arXiv 2505.13389): queries of a cube of tokens attend to the cubes whose mean
// keys score best against their mean query; a gated coarse result is added where the checkpoint has a gate.
#include <algorithm>
#include <array>
#include <cmath>

#include "attention/block_plan.h"
#include "attention/coarse_attention.h"
#include "attention/grid_tiles.h"
#include "attention/option_values.h"
#include "attention/planner.h"
#include "attention/ranking.h"
#include "attention/registry.h"
#include "base/round_up.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr std::string_view kName = "video_sparse_attn";

constexpr std::array<OptionSpec, 3> kOptions = {{
    {"sparsity",
     "share of the cubes that a query does not attend to; 0 keeps all, at least one is kept",
     [] { return OptionValue(0.0); },
     0.0,
     1.0,
     {},
     "VSA_sparsity"},
    {"tile_size",
     "tokens of a cube along t, h, w; cubes at the border hold what is left (pictures: [1, 8, 8] is faster)",
     [] {
       return OptionValue(std::vector<double>{4, 4, 4});
     },
     1.0,
     64.0,
     {}},
    {"coarse_rounding", "to bf16, as trained with: none, the means of cubes, or scores and coarse outputs, too",
     [] { return OptionValue(std::string("none")); }, std::nullopt, std::nullopt, "none|means|scores"},
}};

constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kF32) | Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, 1024, 1},
    .masks = kMaskKeyLengths,
    .grouped_kv = true,
    .lse = true,
    .wants_grid = true,
    .applies_gate = true,
    .fidelity = Fidelity::kSparse,
};

CoarseRounding RoundingOf(const std::string& word) {
  return word == "none" ? CoarseRounding::kNone : word == "means" ? CoarseRounding::kMeans : CoarseRounding::kScores;
}

// As trained: the count is rounded up in doubles, whatever (1 - sparsity) * blocks comes to in them.
int64_t KeptBlocks(double sparsity, int64_t blocks) {
  const auto kept = static_cast<int64_t>(std::ceil((1 - sparsity) * static_cast<double>(blocks)));
  return std::min(std::max<int64_t>(kept, 1), blocks);
}

// Blocks are the cubes of the grid, then the text. Text keys are visible to every query and text queries see every key;
// text has no part in the coarse stage. With key lengths, hidden tokens are left out of the means of keys, and cubes
// without a visible token do not count.
class VideoSparsePlanner final : public BlockPlanner {
 public:
  VideoSparsePlanner(const AttentionProblem& problem, const Options& options)
      : problem_(problem),
        sparsity_(NumberOf(options, "sparsity")),
        rounding_(RoundingOf(WordOf(options, "coarse_rounding"))) {
    const auto size = WholesOf(options, "tile_size", 3, kName);
    grid_ = CutIntoTiles(*problem.grid, {size[0], size[1], size[2]});
    shape_ = MeanShape(grid_.tiles, problem.head_dim);
  }

  size_t workspace_bytes() const noexcept override {
    return MeanBytes() + static_cast<size_t>(Threads()) * (ScratchBytes() + RankBytes());
  }

  void BeginRequest(const DenoisingOutline&) override {
    const auto blocks = static_cast<size_t>(grid_.blocks());
    const size_t sets = static_cast<size_t>(problem_.batch) * static_cast<size_t>(problem_.heads);
    plan_.q_blocks = plan_.kv_blocks = grid_.blocks();
    plan_.q.offsets = grid_.offsets;
    if (!grid_.keeps_order()) plan_.q.permutation = grid_.permutation;
    plan_.kv = plan_.q;
    plan_.row_begin.assign(sets * blocks + 1, 0);
    const auto kept = static_cast<size_t>(KeptBlocks(sparsity_, grid_.tiles) + grid_.text_blocks);
    plan_.kv_list.reserve(sets *
                          (static_cast<size_t>(grid_.tiles) * kept + static_cast<size_t>(grid_.text_blocks) * blocks));
    visible_.resize(static_cast<size_t>(problem_.batch * grid_.tiles));
    kept_.resize(static_cast<size_t>(problem_.batch));
  }

  void Run(const AttentionIO& io, const AttentionKernelCall& attend, std::span<std::byte> workspace) noexcept override {
    CountKept(io);
    LayOutRows();
    std::byte* const ranks = workspace.data() + MeanBytes();
    auto* const scratch = reinterpret_cast<float*>(ranks + static_cast<size_t>(Threads()) * RankBytes());
    const CoarseCall call = Average(io, reinterpret_cast<float*>(workspace.data()), scratch);
    AttendCoarsely(call, scratch, [&](int64_t row, int thread, std::span<const float> scores) {
      Keep(row, scores, reinterpret_cast<uint64_t*>(ranks + static_cast<size_t>(thread) * RankBytes()));
    });
    AttentionIO planned = io;
    planned.blocks = &plan_;
    attend(planned);
    if (problem_.has_gate) AddCoarse(io, call.q_means);
  }

  const BlockPlan* decision() const noexcept override { return &plan_; }

  double ExpectedDensity(int, int) const noexcept override {
    const auto tokens = static_cast<double>(grid_.tokens()), video = static_cast<double>(grid_.video_tokens());
    const double kept = static_cast<double>(KeptBlocks(sparsity_, grid_.tiles)) / grid_.tiles;
    return (video * (kept * video + tokens - video) + (tokens - video) * tokens) / (tokens * tokens);
  }

 private:
  size_t MeanBytes() const noexcept {
    const int64_t kv_heads = (problem_.has_gate ? 2 : 1) * problem_.kv_heads;
    return static_cast<size_t>(problem_.batch * (problem_.heads + kv_heads) * shape_.head_floats()) * sizeof(float);
  }
  size_t ScratchBytes() const noexcept {
    const auto means = static_cast<size_t>(MeanScratchFloats(problem_.head_dim));
    return Aligned(std::max(CoarseScratchFloats(shape_), means) * sizeof(float));
  }
  size_t RankBytes() const noexcept { return Aligned(static_cast<size_t>(grid_.tiles) * sizeof(uint64_t)); }

  std::span<const int32_t> Lengths(const AttentionIO& io) const noexcept {
    return (problem_.mask & kMaskKeyLengths) != 0 ? io.key_lengths : std::span<const int32_t>();
  }

  void CountKept(const AttentionIO& io) noexcept {
    for (int64_t b = 0; b < problem_.batch; ++b) {
      int32_t* counts = visible_.data() + b * grid_.tiles;
      CountVisible(grid_, VisibleTokens(Lengths(io), b), counts);
      const int64_t cubes = grid_.tiles - std::count(counts, counts + grid_.tiles, 0);
      kept_[static_cast<size_t>(b)] = KeptBlocks(sparsity_, cubes);
    }
  }

  // Every row's place in the list; rows of text are filled, too.
  void LayOutRows() noexcept {
    const int32_t blocks = grid_.blocks();
    int64_t at = 0;
    size_t row = 0;
    for (int64_t set = 0; set < problem_.batch * problem_.heads; ++set) {
      const int64_t video = kept_[static_cast<size_t>(set / problem_.heads)] + grid_.text_blocks;
      for (int32_t n = 0; n < blocks; ++n) plan_.row_begin[++row] = at += n < grid_.tiles ? video : blocks;
    }
    plan_.kv_list.resize(static_cast<size_t>(at));
    for (int64_t set = 0; set < problem_.batch * problem_.heads; ++set) {
      for (int32_t n = grid_.tiles; n < blocks; ++n) {
        int32_t* list = plan_.kv_list.data() + plan_.row_begin[static_cast<size_t>(set * blocks + n)];
        for (int32_t block = 0; block < blocks; ++block) list[block] = block;
      }
    }
  }

  CoarseCall Average(const AttentionIO& io, float* q, float* scratch) const noexcept {
    float* const k = q + problem_.batch * problem_.heads * shape_.head_floats();
    float* const v = k + problem_.batch * problem_.kv_heads * shape_.head_floats();
    const auto lengths = Lengths(io);
    AverageTiles(Operand(io.q, problem_.heads), grid_, {}, q, scratch);
    AverageTiles(Operand(io.k, problem_.kv_heads), grid_, lengths, k, scratch);
    if (problem_.has_gate) AverageTiles(Operand(io.v, problem_.kv_heads), grid_, lengths, v, scratch);
    if (rounding_ != CoarseRounding::kNone) RoundToBf16(q, static_cast<int64_t>(MeanBytes() / sizeof(float)));
    return {.batch = problem_.batch,
            .heads = problem_.heads,
            .kv_heads = problem_.kv_heads,
            .tiles = grid_.tiles,
            .shape = shape_,
            .scale = problem_.softmax_scale(),
            .rounding = rounding_,
            .q_means = q,
            .k_means = k,
            .v_means = problem_.has_gate ? v : nullptr,
            .visible = visible_.data()};
  }

  OperandRows Operand(const BshdIn& rows, int heads) const noexcept {
    return {rows, problem_.dtype, problem_.batch, heads, problem_.head_dim};
  }

  // The best cubes of a row in ascending order, then the text.
  void Keep(int64_t row, std::span<const float> scores, uint64_t* ranks) noexcept {
    const int64_t set = row / grid_.tiles, block = row % grid_.tiles;
    int32_t* list = plan_.kv_list.data() + plan_.row_begin[static_cast<size_t>(set * grid_.blocks() + block)];
    const int64_t kept = kept_[static_cast<size_t>(set / problem_.heads)];
    if (kept > 0) {
      for (size_t n = 0; n < scores.size(); ++n) ranks[n] = RankOf(scores[n], static_cast<uint32_t>(n));
      const uint64_t last = KthRank({ranks, scores.size()}, kept);
      for (size_t n = 0; n < scores.size(); ++n) {
        if (RankOf(scores[n], static_cast<uint32_t>(n)) >= last) *list++ = static_cast<int32_t>(n);
      }
    }
    for (int32_t text = 0; text < grid_.text_blocks; ++text) *list++ = grid_.tiles + text;
  }

  void AddCoarse(const AttentionIO& io, const float* coarse) const noexcept {
    if (problem_.dtype == DType::kF32) return AddCoarseTo<float>(io, coarse);
    if (problem_.dtype == DType::kBF16) return AddCoarseTo<BFloat16>(io, coarse);
    AddCoarseTo<Float16>(io, coarse);
  }

  // out += gate * coarse for the tokens of every cube.
  template <class T>
  void AddCoarseTo(const AttentionIO& io, const float* coarse) const noexcept {
    ParallelItems(problem_.batch * problem_.heads * grid_.tiles, [&](int64_t item, int) {
      const int64_t set = item / grid_.tiles, tile = item % grid_.tiles;
      const int64_t batch = set / problem_.heads, head = set % problem_.heads;
      const float* mean = coarse + set * shape_.head_floats() + tile * shape_.channels;
      const auto* gates =
          static_cast<const T*>(io.gate.elements) + batch * io.gate.batch_stride + head * io.gate.head_stride;
      auto* outs = static_cast<T*>(io.out.elements) + batch * io.out.batch_stride + head * io.out.head_stride;
      for (int32_t at = grid_.offsets[static_cast<size_t>(tile)]; at < grid_.offsets[static_cast<size_t>(tile) + 1];
           ++at) {
        const int64_t token = grid_.permutation[static_cast<size_t>(at)];
        const T* gate = gates + token * io.gate.seq_stride;
        T* out = outs + token * io.out.seq_stride;
        for (int d = 0; d < problem_.head_dim; ++d) Store(ToFloat(out[d]) + ToFloat(gate[d]) * mean[d], out + d);
      }
    });
  }

  const AttentionProblem problem_;
  const double sparsity_;
  const CoarseRounding rounding_;
  GridTiles grid_;
  MeanShape shape_;
  BlockPlan plan_;
  std::vector<int32_t> visible_;  // [batch, cubes]: tokens
  std::vector<int64_t> kept_;     // [batch]
};

// By default nothing is left out.
double Speedup(const AttentionProblem&) { return 0.95; }

std::unique_ptr<BlockPlanner> Plan(const AttentionProblem& problem, const Device&, const Options& options) {
  return std::make_unique<VideoSparsePlanner>(problem, options);
}

}  // namespace

constinit const AttentionPlanner k_video_sparse_attn_planner{
    .name = kName,
    .aliases = "vsa",
    .summary = "cubes of tokens attend to the cubes with the best mean keys; honours a checkpoint's coarse gate",
    .caps = kCaps,
    .options = kOptions,
    .speedup = Speedup,
    .plan = Plan,
};

}  // namespace tessera
