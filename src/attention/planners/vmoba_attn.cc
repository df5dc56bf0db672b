// VMoBA (Wu et al., arXiv 2506.23858): queries attend to the chunks of video whose mean keys they fit best. Layers take
// turns in cutting the video along time, along the picture, and along both.
#include <algorithm>
#include <array>
#include <bit>

#include <fmt/format.h>

#include "attention/block_plan.h"
#include "attention/chunk_choice.h"
#include "attention/grid_tiles.h"
#include "attention/option_values.h"
#include "attention/planner.h"
#include "attention/registry.h"
#include "base/error.h"
#include "base/round_up.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr std::string_view kName = "vmoba_attn";
constexpr double kMost = 65536;

OptionValue Whole(int64_t value) { return OptionValue(value); }
OptionValue List(std::vector<double> values) { return OptionValue(std::move(values)); }

constexpr std::array<OptionSpec, 15> kOptions = {{
    {"temporal_chunk_size", "frames of a chunk in temporal layers", [] { return Whole(2); }, 1.0, kMost, {}},
    {"temporal_topk",
     "chunks of a query in temporal layers, its own included, with moba_select_mode=topk",
     [] { return Whole(3); },
     1.0,
     kMost,
     {}},
    {"spatial_chunk_size",
     "rows and columns of a chunk in spatial layers",
     [] {
       return List({3, 4});
     },
     1.0,
     kMost,
     {}},
    {"spatial_topk",
     "chunks of a query in spatial layers, its own included, with moba_select_mode=topk",
     [] { return Whole(20); },
     1.0,
     kMost,
     {}},
    {"st_chunk_size",
     "frames, rows and columns of a chunk in spatio-temporal layers",
     [] {
       return List({4, 6, 4});
     },
     1.0,
     kMost,
     {}},
    {"st_topk",
     "chunks of a query in spatio-temporal layers, its own included, with moba_select_mode=topk",
     [] { return Whole(15); },
     1.0,
     kMost,
     {}},
    {"moba_select_mode", "threshold: chunks until their similarity adds up to moba_threshold; topk: a fixed number",
     [] { return OptionValue(std::string("threshold")); }, std::nullopt, std::nullopt, "threshold|topk"},
    {"moba_threshold",
     "share of the similarity that the chosen chunks add up to; above 1 keeps all",
     [] { return OptionValue(0.25); },
     0.0,
     2.0,
     {}},
    {"moba_threshold_type",
     "what is ranked together: the chunks of a query, the queries of a chunk (block), a head, all",
     [] { return OptionValue(std::string("query_head")); }, std::nullopt, std::nullopt,
     "query_head|block|head_global|overall"},
    {"first_full_step", "steps at the start that are dense", [] { return Whole(12); }, 0.0, kMost, {}},
    {"first_full_layer",
     "layers at the start that are dense; the cycle of layers begins after them",
     [] { return Whole(0); },
     0.0,
     kMost,
     {}},
    {"temporal_layer", "temporal layers of a cycle", [] { return Whole(1); }, 0.0, kMost, {}},
    {"spatial_layer", "spatial layers of a cycle, after the temporal ones", [] { return Whole(1); }, 0.0, kMost, {}},
    {"st_layer", "spatio-temporal layers of a cycle, after the spatial ones", [] { return Whole(1); }, 0.0, kMost, {}},
    {"original_quirks",
     "as the first implementation: no dense steps and layers, dense when only own chunks are chosen, two chunks where "
     "the threshold is out of reach",
     [] { return OptionValue(false); },
     std::nullopt,
     std::nullopt,
     {}},
}};

constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kF32) | Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, 1024, 1},
    .masks = kMaskKeyLengths,
    .grouped_kv = true,
    .lse = true,
    .wants_grid = true,
    .fidelity = Fidelity::kSparse,
};

enum Kind { kTemporal, kSpatial, kSpatioTemporal, kKinds };

struct Settings {
  std::array<TileSize, kKinds> chunk;
  std::array<int64_t, kKinds> top = {};
  std::array<int64_t, kKinds> layers = {};  // of a cycle
  ChunkRule rule;
  int64_t full_steps = 0, full_layers = 0;
  bool quirks = false;

  int64_t cycle() const { return layers[0] + layers[1] + layers[2]; }
  Kind KindOf(int layer) const {
    const int64_t turn = ((layer - full_layers) % cycle() + cycle()) % cycle();
    return turn < layers[0] ? kTemporal : turn < layers[0] + layers[1] ? kSpatial : kSpatioTemporal;
  }
};

ChunkScope ScopeOf(const std::string& word) {
  if (word == "query_head") return ChunkScope::kQueryHead;
  if (word == "block") return ChunkScope::kBlock;
  return word == "head_global" ? ChunkScope::kHeadGlobal : ChunkScope::kOverall;
}

Settings SettingsFrom(const Options& options, const VideoGrid& grid) {
  const auto spatial = WholesOf(options, "spatial_chunk_size", 2, kName);
  const auto both = WholesOf(options, "st_chunk_size", 3, kName);
  Settings settings;
  settings.chunk = {TileSize{WholeOf(options, "temporal_chunk_size"), grid.h, grid.w},
                    TileSize{grid.t, spatial[0], spatial[1]}, TileSize{both[0], both[1], both[2]}};
  settings.top = {WholeOf(options, "temporal_topk"), WholeOf(options, "spatial_topk"), WholeOf(options, "st_topk")};
  settings.layers = {WholeOf(options, "temporal_layer"), WholeOf(options, "spatial_layer"),
                     WholeOf(options, "st_layer")};
  settings.quirks = SwitchOf(options, "original_quirks");
  settings.rule = {
      .mode = WordOf(options, "moba_select_mode") == "topk" ? ChunkMode::kTopK : ChunkMode::kThreshold,
      .scope = ScopeOf(WordOf(options, "moba_threshold_type")),
      .top = 1,
      .threshold = NumberOf(options, "moba_threshold"),
      .two_when_short = settings.quirks,
  };
  settings.full_steps = settings.quirks ? 0 : WholeOf(options, "first_full_step");
  settings.full_layers = WholeOf(options, "first_full_layer");
  return settings;
}

void CheckSettings(const Settings& settings) {
  if (settings.cycle() == 0) {
    throw Error(ErrorKind::kUsage, fmt::format("attention backend '{}': temporal_layer, spatial_layer and st_layer are "
                                               "all 0; one of them must be at least 1",
                                               kName));
  }
  if (settings.rule.mode == ChunkMode::kTopK && settings.rule.scope == ChunkScope::kBlock) {
    throw Error(ErrorKind::kUsage,
                fmt::format("attention backend '{}': moba_select_mode=topk does not go with moba_threshold_type=block; "
                            "query_head, head_global or overall would work",
                            kName));
  }
}

// One way to cut the video. Query blocks are neighbouring positions of the video, then of the text: many, so that
// kernels find queries that choose the same chunk. Key blocks are the chunks, then the text.
constexpr int64_t kBlockGroups = 32;  // of kLanes queries
struct Partition {
  GridTiles grid;
  MeanShape shape;
  std::vector<int32_t> own;  // [video positions]: chunk
  BlockPlan::Blocks q, kv;

  Partition(const VideoGrid& video, const TileSize& size, int head_dim)
      : grid(CutIntoTiles(video, size)), shape(grid.tiles, head_dim) {
    for (int32_t chunk = 0; chunk < grid.tiles; ++chunk) {
      own.resize(static_cast<size_t>(grid.offsets[static_cast<size_t>(chunk) + 1]), chunk);
    }
    kv.offsets = grid.offsets;
    if (!grid.keeps_order()) kv.permutation = grid.permutation;
    q.permutation = kv.permutation;
    q.offsets.push_back(0);
    for (const int64_t end : {grid.video_tokens(), grid.tokens()}) {
      while (q.offsets.back() < end) {
        const int64_t next = q.offsets.back() + kBlockGroups * kLanes;
        q.offsets.push_back(static_cast<int32_t>(std::min(next, end)));
      }
    }
  }
  int32_t q_blocks() const noexcept { return static_cast<int32_t>(q.offsets.size()) - 1; }
  int64_t groups() const noexcept { return (grid.video_tokens() + kLanes - 1) / kLanes; }
  int32_t mask_words() const noexcept {
    int64_t most = 0;
    for (size_t n = 1; n < q.offsets.size(); ++n) most = std::max<int64_t>(most, q.offsets[n] - q.offsets[n - 1]);
    return static_cast<int32_t>((most + kLanes - 1) / kLanes);
  }
};

// Text keys are visible to every query and text queries see every key; text takes no part in the choice. Chunks at the
// far borders of the grid hold what is left. With key lengths, hidden tokens are left out of the means, and chunks
// without a visible token are not chosen.
class VmobaPlanner final : public BlockPlanner {
 public:
  VmobaPlanner(const AttentionProblem& problem, const Options& options)
      : problem_(problem), settings_(SettingsFrom(options, *problem.grid)) {
    CheckSettings(settings_);
    for (int kind = 0; kind < kKinds; ++kind) {
      const auto at = static_cast<size_t>(kind);
      if (settings_.layers[at] == 0) continue;
      partitions_[at] = std::make_unique<Partition>(*problem.grid, settings_.chunk[at], problem.head_dim);
    }
  }

  size_t workspace_bytes() const noexcept override {
    size_t most = 0;
    for (const auto& partition : partitions_) {
      if (partition != nullptr) most = std::max(most, Places(*partition).end);
    }
    return most;
  }

  void BeginRequest(const DenoisingOutline&) override {
    step_ = problem_.step;
    Install(kKinds);
    size_t rows = 0, entries = 0, chunks = 0;
    for (const auto& partition : partitions_) {
      if (partition == nullptr) continue;
      const auto q_blocks = static_cast<size_t>(partition->q_blocks());
      rows = std::max(rows, Sets() * q_blocks);
      entries = std::max(entries, Sets() * q_blocks * static_cast<size_t>(partition->grid.blocks()));
      chunks = std::max(chunks, static_cast<size_t>(partition->grid.tiles));
      plan_.mask_words = partition->mask_words();  // the same for all
      shared_.Reserve(TableOf(*partition), settings_.rule);
    }
    plan_.row_begin.reserve(rows + 1);
    plan_.kv_list.reserve(entries);
    plan_.query_masks.reserve(entries * static_cast<size_t>(plan_.mask_words));
    visible_.resize(static_cast<size_t>(problem_.batch) * chunks);
  }
  void BeginStep(int step) noexcept override { step_ = step; }

  void Run(const AttentionIO& io, const AttentionKernelCall& attend, std::span<std::byte> workspace) noexcept override {
    dense_ = IsDense(step_, io.place.layer);
    if (!dense_) Decide(io, workspace);
    AttentionIO planned = io;
    planned.blocks = decision();
    attend(planned);
  }

  const BlockPlan* decision() const noexcept override { return dense_ ? nullptr : &plan_; }

  // With a threshold, weights spread evenly between the least and the greatest similarity.
  double ExpectedDensity(int step, int layer) const noexcept override {
    if (layer >= 0) return IsDense(step, layer) ? 1 : ExpectedDensityOf(settings_.KindOf(layer));
    double sum = 0;
    for (int kind = 0; kind < kKinds; ++kind) {
      const auto layers = static_cast<double>(settings_.layers[static_cast<size_t>(kind)]);
      if (layers > 0) sum += layers * ExpectedDensityOf(static_cast<Kind>(kind));
    }
    return step >= 0 && step < settings_.full_steps ? 1 : sum / static_cast<double>(settings_.cycle());
  }

 private:
  // Offsets into the workspace.
  struct Regions {
    size_t means = 0, words = 0, products = 0, scratch = 0, scratch_bytes = 0, end = 0;
  };
  size_t Sets() const noexcept { return static_cast<size_t>(problem_.batch) * static_cast<size_t>(problem_.heads); }
  bool Streams() const noexcept { return settings_.rule.scope == ChunkScope::kQueryHead; }

  // Products of one group at a time with kQueryHead, of all of them otherwise.
  Regions Places(const Partition& partition) const noexcept {
    const auto threads = static_cast<size_t>(Threads()), groups = Sets() * static_cast<size_t>(partition.groups());
    const size_t group = static_cast<size_t>(partition.shape.rows) * kLanes * sizeof(float);
    const auto chunks = static_cast<size_t>(partition.grid.tiles);
    Regions places;
    places.words =
        static_cast<size_t>(problem_.batch * problem_.kv_heads * partition.shape.head_floats()) * sizeof(float);
    places.products = places.words + Aligned(groups * chunks * sizeof(uint64_t));
    places.scratch = places.products + (Streams() ? threads : groups) * group;
    places.scratch_bytes = 2 * static_cast<size_t>(partition.shape.channels) * kLanes * sizeof(float) +
                           (Streams() ? 2 * chunks * kLanes * sizeof(float) : 0);
    places.end = places.scratch + threads * places.scratch_bytes;
    return places;
  }

  ChunkProducts TableOf(const Partition& partition) const noexcept {
    return {.batch = problem_.batch,
            .heads = problem_.heads,
            .chunks = partition.grid.tiles,
            .positions = partition.grid.video_tokens(),
            .shape = partition.shape,
            .own = partition.own.data(),
            .visible = visible_.data()};
  }

  // A call outside of denoising has no step and is not dense.
  bool IsDense(int step, int layer) const noexcept {
    return (step >= 0 && step < settings_.full_steps) || (!settings_.quirks && layer < settings_.full_layers);
  }

  double ExpectedDensityOf(Kind kind) const noexcept {
    const GridTiles& grid = partitions_[kind]->grid;
    const auto tokens = static_cast<double>(grid.tokens()), video = static_cast<double>(grid.video_tokens());
    const double chunks = grid.tiles;
    const double chosen = settings_.rule.mode == ChunkMode::kTopK ? static_cast<double>(settings_.top[kind])
                                                                  : std::max(2.0, chunks * settings_.rule.threshold);
    const double share = std::min(chosen / chunks, 1.0);
    return (video * (share * video + tokens - video) + (tokens - video) * tokens) / (tokens * tokens);
  }

  void Decide(const AttentionIO& io, std::span<std::byte> workspace) noexcept {
    const Kind kind = settings_.KindOf(io.place.layer);
    const Partition& partition = *partitions_[kind];
    ChunkRule rule = settings_.rule;
    rule.top = settings_.top[kind];
    const Regions places = Places(partition);
    auto* const words = reinterpret_cast<uint64_t*>(workspace.data() + places.words);
    const auto lengths = (problem_.mask & kMaskKeyLengths) != 0 ? io.key_lengths : std::span<const int32_t>();
    for (int64_t b = 0; b < problem_.batch; ++b) {
      CountVisible(partition.grid, VisibleTokens(lengths, b), visible_.data() + b * partition.grid.tiles);
    }
    AverageTiles({io.k, problem_.dtype, problem_.batch, problem_.kv_heads, problem_.head_dim}, partition.grid, lengths,
                 reinterpret_cast<float*>(workspace.data()),
                 reinterpret_cast<float*>(workspace.data() + places.scratch));
    ChunkProducts table = TableOf(partition);
    table.products = reinterpret_cast<const float*>(workspace.data() + places.products);
    Multiply(io, partition, rule, workspace, words);
    if (!Streams()) shared_.Choose(table, rule, words);
    Install(kind);
    List(partition, words);
    if (settings_.quirks && OnlyOwn(partition, words)) dense_ = true;
  }

  // Products of every query with every mean; with kQueryHead, chunks are chosen at once.
  void Multiply(const AttentionIO& io, const Partition& partition, const ChunkRule& rule,
                std::span<std::byte> workspace, uint64_t* words) const noexcept {
    const ChunkProducts table = TableOf(partition);
    const Regions places = Places(partition);
    const OperandRows queries{io.q, problem_.dtype, problem_.batch, problem_.heads, problem_.head_dim};
    const int64_t groups = partition.groups(), channels = partition.shape.channels;
    ParallelItems(problem_.batch * problem_.heads * groups, [&](int64_t item, int thread) {
      std::byte* const scratch = workspace.data() + places.scratch + static_cast<size_t>(thread) * places.scratch_bytes;
      auto* const rows = reinterpret_cast<float*>(scratch);
      float* const lanes = rows + channels * kLanes;
      auto* const products = reinterpret_cast<float*>(workspace.data() + places.products) +
                             (Streams() ? thread : item) * table.group_floats();
      const int64_t set = item / groups, first = item % groups * kLanes, batch = set / problem_.heads;
      const int head = static_cast<int>(set % problem_.heads), count = table.lanes(item % groups);
      const auto tokens = std::span(partition.grid.permutation).subspan(static_cast<size_t>(first));
      GatherRows(queries, {batch, head, tokens.first(static_cast<size_t>(count))}, channels, rows);
      IntoLanes(rows, count, channels, lanes);
      const int64_t kv_set = batch * problem_.kv_heads + head / (problem_.heads / problem_.kv_heads);
      const float* means = reinterpret_cast<const float*>(workspace.data()) + kv_set * partition.shape.head_floats();
      MeanKernels().scores({means, channels, partition.shape.rows, channels}, lanes, kLanes, 1, products);
      if (Streams())
        ChooseForQueries(table, rule, item, products, lanes + channels * kLanes, words + item * partition.grid.tiles);
    });
  }

  // Positions and blocks of `kind` become those of the plan; those before go back to their partition.
  void Install(int kind) noexcept {
    if (installed_ == kind) return;
    for (const int swapped : {installed_, kind}) {
      if (swapped == kKinds) continue;
      Partition& partition = *partitions_[static_cast<size_t>(swapped)];
      std::swap(plan_.q, partition.q);
      std::swap(plan_.kv, partition.kv);
    }
    installed_ = kind;
  }

  // A row of the plan: words[group * chunks + chunk] of its groups; null for text, which sees everything.
  struct PlanRow {
    const uint64_t* words;
    int64_t queries;
    int64_t groups() const noexcept { return (queries + kLanes - 1) / kLanes; }
  };
  PlanRow RowAt(const Partition& partition, const uint64_t* words, int64_t row) const noexcept {
    const auto block = static_cast<size_t>(row % plan_.q_blocks);
    const int64_t first = plan_.q.offsets[block], queries = plan_.q.offsets[block + 1] - first;
    if (first >= partition.grid.video_tokens()) return {nullptr, queries};
    const int64_t group = row / plan_.q_blocks * partition.groups() + first / kLanes;
    return {words + group * partition.grid.tiles, queries};
  }

  static bool IsChosen(const Partition& partition, const PlanRow& row, int32_t block) noexcept {
    if (row.words == nullptr || block >= partition.grid.tiles) return true;
    for (int64_t group = 0; group < row.groups(); ++group) {
      if (row.words[group * partition.grid.tiles + block] != 0) return true;
    }
    return false;
  }

  // The lists and masks of the plan from the words of every group.
  void List(const Partition& partition, const uint64_t* words) noexcept {
    const int32_t blocks = partition.grid.blocks();
    plan_.q_blocks = static_cast<int32_t>(plan_.q.offsets.size()) - 1;
    plan_.kv_blocks = blocks;
    const int64_t rows = static_cast<int64_t>(Sets()) * plan_.q_blocks;
    plan_.row_begin.resize(static_cast<size_t>(rows) + 1);
    plan_.row_begin[0] = 0;
    ParallelFor(rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) {
        const PlanRow of = RowAt(partition, words, row);
        int64_t& count = plan_.row_begin[static_cast<size_t>(row) + 1];
        count = 0;
        for (int32_t n = 0; n < blocks; ++n) count += IsChosen(partition, of, n) ? 1 : 0;
      }
    });
    for (size_t row = 0; row < static_cast<size_t>(rows); ++row) plan_.row_begin[row + 1] += plan_.row_begin[row];
    plan_.kv_list.resize(static_cast<size_t>(plan_.row_begin.back()));
    plan_.query_masks.resize(plan_.kv_list.size() * static_cast<size_t>(plan_.mask_words));
    ParallelFor(rows, 4, [&](int64_t begin, int64_t end) {
      for (int64_t row = begin; row < end; ++row) ListRow(partition, row, RowAt(partition, words, row));
    });
  }

  void ListRow(const Partition& partition, int64_t row, const PlanRow& of) noexcept {
    auto entry = static_cast<size_t>(plan_.row_begin[static_cast<size_t>(row)]);
    for (int32_t n = 0; n < partition.grid.blocks(); ++n) {
      if (!IsChosen(partition, of, n)) continue;
      plan_.kv_list[entry] = n;
      uint64_t* const masks = plan_.query_masks.data() + entry++ * static_cast<size_t>(plan_.mask_words);
      std::fill_n(masks, plan_.mask_words, ~uint64_t{0});
      if (of.words == nullptr || n >= partition.grid.tiles) continue;
      for (int64_t group = 0; group < of.groups(); ++group) {
        const int64_t left = of.queries - group * kLanes;
        const uint64_t all = left >= kLanes ? ~uint64_t{0} : (uint64_t{1} << left) - 1;
        const uint64_t word = of.words[group * partition.grid.tiles + n];
        if (word != all) masks[group] = word;  // whole words need no masking
      }
    }
  }

  bool OnlyOwn(const Partition& partition, const uint64_t* words) const noexcept {
    uint64_t chosen = 0;
    const size_t count = Sets() * static_cast<size_t>(partition.groups() * partition.grid.tiles);
    for (size_t n = 0; n < count; ++n) chosen += static_cast<uint64_t>(std::popcount(words[n]));
    return chosen == Sets() * static_cast<uint64_t>(partition.grid.video_tokens());
  }

  const AttentionProblem problem_;
  const Settings settings_;
  std::array<std::unique_ptr<Partition>, kKinds> partitions_;  // null: no layer is of this kind
  SharedChoice shared_;
  BlockPlan plan_;
  int installed_ = kKinds;
  std::vector<int32_t> visible_;  // [batch, chunks]: tokens
  int step_ = -1;
  bool dense_ = true;
};

// With a quarter of the similarity, about a quarter of the chunks.
double Speedup(const AttentionProblem&) { return 2.5; }

std::unique_ptr<BlockPlanner> Plan(const AttentionProblem& problem, const Device&, const Options& options) {
  return std::make_unique<VmobaPlanner>(problem, options);
}

}  // namespace

constinit const AttentionPlanner k_vmoba_attn_planner{
    .name = kName,
    .aliases = "vmoba",
    .summary =
        "queries attend to the chunks of video whose mean keys fit best; layers cut time, picture and both in turn",
    .caps = kCaps,
    .options = kOptions,
    .option_group = "moba_config",
    .speedup = Speedup,
    .plan = Plan,
};

}  // namespace tessera
