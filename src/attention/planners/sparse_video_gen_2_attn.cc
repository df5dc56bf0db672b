// Sparse VideoGen 2 (Yang et al., arXiv 2505.18875): queries and keys are clustered by k-means, every query cluster
// visits the key clusters that hold most of its attention.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include <fmt/format.h>

#include "attention/cluster_map.h"
#include "attention/option_values.h"
#include "attention/planner.h"
#include "attention/token_clusters.h"
#include "base/check.h"
#include "base/error.h"
#include "base/round_up.h"
#include "base/text.h"
#include "kernels/clustering/cluster_choice.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr double kMostClusters = 65536, kMostIterations = 10000, kMostLayers = 100000, kMostTimestep = 1e9;

constexpr std::array<OptionSpec, 10> kOptions = {{
    {"num_q_centroids",
     "clusters of queries in every head",
     [] { return OptionValue(int64_t{300}); },
     1.0,
     kMostClusters,
     {},
     "num_q_clusters"},
    {"num_k_centroids",
     "clusters of keys in every head",
     [] { return OptionValue(int64_t{1000}); },
     1.0,
     kMostClusters,
     {},
     "num_k_clusters"},
    {"top_p_kmeans",
     "share of a query cluster's estimated attention that its key clusters reach",
     [] { return OptionValue(0.9); },
     0.0,
     1.0,
     {},
     "top_p"},
    {"min_kc_ratio",
     "share of the key clusters that is visited at least",
     [] { return OptionValue(0.1); },
     0.0,
     1.0,
     {},
     {}},
    {"kmeans_iter_init",
     "iterations of the first clustering of a layer; 0 counts as 1",
     [] { return OptionValue(int64_t{50}); },
     0.0,
     kMostIterations,
     {},
     {}},
    {"kmeans_iter_step",
     "iterations of later steps, which go on from the centroids of the step before",
     [] { return OptionValue(int64_t{2}); },
     0.0,
     kMostIterations,
     {},
     {}},
    {"zero_step_kmeans_init",
     "cluster in the dense steps too, so that the first sparse one starts warm",
     [] { return OptionValue(false); },
     std::nullopt,
     std::nullopt,
     {},
     {}},
    {"first_layers_fp",
     "dense layers: up to 1 a share of all layers, above 1 their number",
     [] { return OptionValue(0.03); },
     0.0,
     kMostLayers,
     {},
     {}},
    {"first_times_fp",
     "dense steps: up to 1 a share of all steps, above 1 the timestep above which steps are dense",
     [] { return OptionValue(0.2); },
     0.0,
     kMostTimestep,
     {},
     {}},
    {"prompt_length",
     "valid text tokens after the video, the others are padding; -1: all that the key lengths leave",
     [] { return OptionValue(int64_t{-1}); },
     -1.0,
     1e9,
     {},
     {}},
}};

constexpr AttentionCaps kCaps{
    .devices = Bit(DeviceKind::kCpu),
    .dtypes = Bit(DType::kF32) | Bit(DType::kBF16) | Bit(DType::kF16),
    .head_dims = {1, 256, 1},
    .masks = kMaskKeyLengths,
    .grouped_kv = true,
    .lse = true,
    .wants_grid = true,
    .fidelity = Fidelity::kSparse,
};

struct Settings {
  int32_t q_clusters, k_clusters;
  TopMass top;
  int first_iterations, later_iterations;
  bool clusters_in_dense_steps;
  double dense_layers, dense_steps;
  int64_t prompt_length;
};

Settings SettingsFrom(const Options& options) {
  const auto whole = [&](std::string_view key) { return WholeOf(options, key); };
  const auto number = [&](std::string_view key) { return NumberOf(options, key); };
  return {static_cast<int32_t>(whole("num_q_centroids")),
          static_cast<int32_t>(whole("num_k_centroids")),
          {number("top_p_kmeans"), number("min_kc_ratio")},
          static_cast<int>(whole("kmeans_iter_init")),
          static_cast<int>(whole("kmeans_iter_step")),
          SwitchOf(options, "zero_step_kmeans_init"),
          number("first_layers_fp"),
          number("first_times_fp"),
          whole("prompt_length")};
}

// The tokens of one batch entry: clustered video, then text that everything sees and that sees everything but padding,
// then padding, which sees itself. All of them are in the order of the tokens.
struct Parts {
  TokenSpan video;
  int64_t visible = 0;  // tokens from here on are padding
};

// Centroids of every (layer, pass) that may run sparsely. Nothing is touched before it is used.
class CentroidCache {
 public:
  void Reserve(int64_t places, size_t elements) {
    elements_ = elements;
    warm_.assign(static_cast<size_t>(places), false);
    centroids_ = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(places) * elements);
  }
  float* At(int64_t place) const noexcept { return centroids_.get() + static_cast<size_t>(place) * elements_; }
  bool IsWarm(int64_t place) const noexcept { return warm_[static_cast<size_t>(place)]; }
  void SetWarm(int64_t place) noexcept { warm_[static_cast<size_t>(place)] = true; }

  // The warm ones as "name.place".
  void Save(std::string_view name, TensorState& state) const {
    for (size_t place = 0; place < warm_.size(); ++place) {
      if (!warm_[place]) continue;
      state.Add(fmt::format("{}.{}", name, place),
                Tensor::BorrowConst(At(static_cast<int64_t>(place)), ShapeOfOne(), DType::kF32, nullptr));
    }
  }
  void Load(const TensorState& state) {
    for (const auto& [name, tensor] : state.tensors()) {
      const auto place = ParseInt(name);
      if (!place || *place < 0 || *place >= static_cast<int64_t>(warm_.size())) {
        throw Error(ErrorKind::kFormat,
                    fmt::format("has centroids of a place '{}' that this job has not", Printable(name)));
      }
      CheckSizes(state.Get(name, ShapeOfOne(), DType::kF32));
      std::memcpy(At(*place), tensor.raw(), tensor.bytes());
      SetWarm(*place);
    }
  }

 private:
  // Beyond it squared distances leave f32.
  static constexpr float kLargest = 1e15f;

  Shape ShapeOfOne() const { return {static_cast<int64_t>(elements_)}; }
  static void CheckSizes(const Tensor& centroids) {
    const float* const values = centroids.data<float>();
    const bool sane = std::all_of(values, values + centroids.numel(), [](float x) { return std::abs(x) <= kLargest; });
    if (!sane) throw Error(ErrorKind::kFormat, "has centroids with values out of any range");
  }

  size_t elements_ = 0;
  std::vector<bool> warm_;
  std::unique_ptr<float[]> centroids_;
};

class ClusterPlanner final : public BlockPlanner {
 public:
  ClusterPlanner(const AttentionProblem& problem, const Settings& settings)
      : problem_(problem),
        settings_(settings),
        queries_({problem.dtype, problem.batch, problem.q_len, problem.heads, problem.head_dim, settings.q_clusters}),
        keys_({problem.dtype, problem.batch, problem.kv_len, problem.kv_heads, problem.head_dim, settings.k_clusters}),
        parts_(static_cast<size_t>(problem.batch)),
        spans_(static_cast<size_t>(problem.batch)) {
    const VideoGrid& grid = *problem.grid;
    extra_ = grid.prefix + grid.suffix > 0 || (problem.mask & kMaskKeyLengths) != 0 ? 2 : 0;
    SizePlan();
    MakePaddingPlan();
  }

  size_t workspace_bytes() const noexcept override {
    return std::max({queries_.workspace_bytes(), keys_.workspace_bytes(),
                     KeptBytes() + static_cast<size_t>(Threads()) * SelectionBytes()});
  }

  void BeginRequest(const DenoisingOutline& outline) override {
    CheckStarts("q_init_tokens", outline.q_init_tokens, problem_.heads, settings_.q_clusters);
    CheckStarts("k_init_tokens", outline.k_init_tokens, problem_.kv_heads, settings_.k_clusters);
    if (settings_.dense_steps > 1 && outline.timesteps.size() < static_cast<size_t>(std::max(outline.steps, 0))) {
      throw Error(ErrorKind::kUsage,
                  fmt::format("svg2_first_times_fp={} is a timestep, and this scheduler has none; a share of the steps "
                              "up to 1 would work",
                              settings_.dense_steps));
    }
    outline_ = outline;
    step_ = 0;
    passes_ = std::max(outline.passes, 1);
    const int64_t places = (std::max(outline.layers, 1) - DenseLayers()) * passes_;
    q_cache_.Reserve(std::max<int64_t>(places, 0), queries_.shape().centroid_elements());
    k_cache_.Reserve(std::max<int64_t>(places, 0), keys_.shape().centroid_elements());
    decided_ = nullptr;
    measured_ = -1;
  }

  void BeginStep(int step) noexcept override { step_ = step; }

  void Run(const AttentionIO& io, const AttentionKernelCall& attend, std::span<std::byte> workspace) noexcept override {
    for (int64_t batch = 0; batch < problem_.batch; ++batch) FindParts(io, batch);
    AttentionIO planned = io;
    const bool dense = IsDense(step_, io.place.layer);
    const bool clusters = !dense || (settings_.clusters_in_dense_steps && io.place.layer >= DenseLayers());
    if (clusters) Cluster(io, workspace);
    if (dense) {
      decided_ = padding_plan_.q_blocks > 0 ? &padding_plan_ : nullptr;
    } else {
      Select(io.place, workspace);
      decided_ = &plan_;
      measured_ = plan_.Density();
    }
    planned.blocks = decided_;
    attend(planned);
  }

  const BlockPlan* decision() const noexcept override { return decided_; }

  TensorState State() const override {
    TensorState state;
    q_cache_.Save("q", state);
    k_cache_.Save("k", state);
    return state;
  }
  void Restore(const TensorState& state) override {
    q_cache_.Load(state.Part("q"));
    k_cache_.Load(state.Part("k"));
  }

  double ExpectedDensity(int step, int layer) const noexcept override {
    const double sparse = measured_ >= 0 ? measured_ : EstimatedDensity();
    if (step >= 0 && layer >= 0) return IsDense(step, layer) ? 1 : sparse;
    const double layers = std::max(outline_.layers, 1), steps = std::max(outline_.steps, 1);
    int dense_steps = 0;
    for (int n = 0; n < static_cast<int>(steps); ++n) dense_steps += IsDenseStep(n) ? 1 : 0;
    const double of_layers = layer >= 0 ? (layer < DenseLayers() ? 1 : 0) : static_cast<double>(DenseLayers()) / layers;
    const double of_steps = step >= 0 ? (IsDenseStep(step) ? 1 : 0) : dense_steps / steps;
    const double dense = 1 - (1 - of_layers) * (1 - of_steps);
    return dense + (1 - dense) * sparse;
  }

 private:
  // About what is published for video models at 0.9 (0.27), and everything at 1.
  double EstimatedDensity() const noexcept {
    return std::max(settings_.top.least_kept, std::pow(settings_.top.share, 12.0));
  }

  int64_t DenseLayers() const noexcept {
    const int layers = std::max(outline_.layers, 1);
    if (settings_.dense_layers > 1) return std::min<int64_t>(static_cast<int64_t>(settings_.dense_layers), layers);
    return static_cast<int64_t>(std::floor(settings_.dense_layers * layers));
  }
  bool IsDenseStep(int step) const noexcept {
    if (settings_.dense_steps <= 1) return step < std::floor(settings_.dense_steps * std::max(outline_.steps, 1));
    const auto at = static_cast<size_t>(std::max(step, 0));
    return at < outline_.timesteps.size() && outline_.timesteps[at] > settings_.dense_steps;
  }
  bool IsDense(int step, int layer) const noexcept { return layer < DenseLayers() || IsDenseStep(step); }

  void CheckStarts(std::string_view name, const std::vector<int32_t>& tokens, int heads, int32_t clusters) const {
    if (tokens.empty()) return;
    if (tokens.size() != static_cast<size_t>(heads) * static_cast<size_t>(clusters)) {
      throw Error(ErrorKind::kUsage, fmt::format("{} holds {} tokens; {} heads of {} clusters each need {}", name,
                                                 tokens.size(), heads, clusters, int64_t{heads} * clusters));
    }
    for (const int32_t token : tokens) {
      if (token >= 0 && token < VideoTokens()) continue;
      throw Error(ErrorKind::kUsage,
                  fmt::format("{} names token {}; the video tokens are 0 to {}", name, token, VideoTokens() - 1));
    }
  }

  int64_t VideoTokens() const noexcept { return problem_.grid->t * problem_.grid->h * problem_.grid->w; }

  // Tokens before the padding of the text, whatever the key lengths.
  int64_t TokensBeforePadding() const noexcept {
    if (settings_.prompt_length < 0) return problem_.kv_len;
    return std::min(problem_.kv_len, problem_.grid->prefix + VideoTokens() + settings_.prompt_length);
  }

  void FindParts(const AttentionIO& io, int64_t batch) noexcept {
    int64_t visible = TokensBeforePadding();
    if ((problem_.mask & kMaskKeyLengths) != 0) {
      visible = std::clamp<int64_t>(io.key_lengths[static_cast<size_t>(batch)], 0, visible);
    }
    const int64_t first = std::min(problem_.grid->prefix, visible);
    const TokenSpan video{first, std::min(problem_.grid->prefix + VideoTokens(), visible) - first};
    parts_[static_cast<size_t>(batch)] = {video, visible};
    spans_[static_cast<size_t>(batch)] = video;
  }

  int64_t sets() const noexcept { return problem_.batch * problem_.heads; }

  void SizePlan() {
    const auto all = static_cast<size_t>(sets()), tokens = static_cast<size_t>(problem_.q_len);
    plan_.per_head = true;
    plan_.q_blocks = settings_.q_clusters + extra_;
    plan_.kv_blocks = settings_.k_clusters + extra_;
    plan_.q.offsets.resize(all * (static_cast<size_t>(plan_.q_blocks) + 1));
    plan_.kv.offsets.resize(all * (static_cast<size_t>(plan_.kv_blocks) + 1));
    plan_.q.permutation.resize(all * tokens);
    plan_.kv.permutation.resize(all * tokens);
    plan_.row_begin.resize(all * static_cast<size_t>(plan_.q_blocks) + 1);
    plan_.kv_list.reserve(all * static_cast<size_t>(plan_.q_blocks) * static_cast<size_t>(plan_.kv_blocks));
  }

  // Dense steps keep padding apart that no key lengths hide.
  void MakePaddingPlan() {
    const auto before = static_cast<int32_t>(TokensBeforePadding()), all = static_cast<int32_t>(problem_.kv_len);
    if (before == all || (problem_.mask & kMaskKeyLengths) != 0) return;
    padding_plan_.q_blocks = padding_plan_.kv_blocks = 2;
    padding_plan_.q.offsets = padding_plan_.kv.offsets = {0, before, all};
    for (int64_t set = 0; set < sets(); ++set) {
      for (const int32_t block : {0, 1}) {
        padding_plan_.row_begin.push_back(static_cast<int64_t>(padding_plan_.kv_list.size()));
        padding_plan_.kv_list.push_back(block);
      }
    }
    padding_plan_.row_begin.push_back(static_cast<int64_t>(padding_plan_.kv_list.size()));
  }

  int64_t PlaceOf(const AttentionPlace& place) const noexcept {
    const int64_t layer = place.layer - DenseLayers();
    TESSERA_CHECK(place.layer < std::max(outline_.layers, 1) && place.pass < passes_);
    return layer * passes_ + place.pass;
  }

  void Cluster(const AttentionIO& io, std::span<std::byte> workspace) noexcept {
    const int64_t place = PlaceOf(io.place);
    ClusterOne(queries_, {io.q, spans_}, outline_.q_init_tokens, q_cache_, place, workspace);
    ClusterOne(keys_, {io.k, spans_}, outline_.k_init_tokens, k_cache_, place, workspace);
  }

  void ClusterOne(TokenClusters& clusters, const ClusterRows& rows, const std::vector<int32_t>& starts,
                  CentroidCache& cache, int64_t place, std::span<std::byte> workspace) noexcept {
    float* const centroids = cache.At(place);
    const bool warm = cache.IsWarm(place);
    if (!warm && !starts.empty()) {
      clusters.Start(rows, starts, centroids);
    } else if (!warm) {
      // Passes of a layer start alike; queries and keys do not.
      const auto layer = static_cast<uint64_t>(place / passes_ + DenseLayers());
      const uint64_t role = &clusters == &queries_ ? 0 : 1;
      clusters.StartAnywhere(rows, outline_.seed + (layer * 2 + role) * 0xD1B54A32D192ED03, centroids);
    }
    clusters.Iterate(rows, warm ? settings_.later_iterations : settings_.first_iterations, centroids, workspace);
    cache.SetWarm(place);
  }

  size_t KeptWords() const noexcept { return (static_cast<size_t>(plan_.kv_blocks) + 63) / 64; }
  size_t KeptBytes() const noexcept {
    return Aligned(static_cast<size_t>(sets()) * static_cast<size_t>(plan_.q_blocks) * KeptWords() * sizeof(uint64_t));
  }
  // Of one thread: scores and sizes of all key clusters, and room to sort them.
  size_t SelectionBytes() const noexcept {
    const auto clusters = static_cast<size_t>(settings_.k_clusters);
    return Aligned(clusters * sizeof(uint64_t)) + Aligned(clusters * sizeof(float)) +
           Aligned(clusters * sizeof(int32_t));
  }

  uint64_t* KeptOf(std::span<std::byte> workspace, int64_t row) const noexcept {
    return reinterpret_cast<uint64_t*>(workspace.data()) + static_cast<size_t>(row) * KeptWords();
  }

  void Select(const AttentionPlace& place, std::span<std::byte> workspace) noexcept {
    const int64_t at = PlaceOf(place);
    const int group = problem_.heads / problem_.kv_heads;
    ParallelItems(sets(), [&](int64_t set, int) {
      const int64_t kv_set = set / problem_.heads * problem_.kv_heads + set % problem_.heads / group;
      Arrange(queries_, set, set, plan_.q);
      Arrange(keys_, kv_set, set, plan_.kv);
    });
    ParallelItems(sets() * settings_.q_clusters, [&](int64_t item, int thread) {
      const int64_t set = item / settings_.q_clusters, cluster = item % settings_.q_clusters;
      const int64_t kv_set = set / problem_.heads * problem_.kv_heads + set % problem_.heads / group;
      std::byte* const own = workspace.data() + KeptBytes() + static_cast<size_t>(thread) * SelectionBytes();
      SelectRow({q_cache_.At(at) + item * problem_.head_dim,
                 k_cache_.At(at) + kv_set * settings_.k_clusters * problem_.head_dim, keys_.offsets(kv_set)},
                own, {KeptOf(workspace, set * plan_.q_blocks + cluster), KeptWords()});
    });
    if (extra_ > 0) KeepText(workspace);
    List(workspace);
  }

  // Positions of a set: clusters one after the other, text that is seen, padding.
  void Arrange(const TokenClusters& clusters, int64_t from, int64_t set, BlockPlan::Blocks& blocks) const noexcept {
    const Parts& parts = parts_[static_cast<size_t>(set / problem_.heads)];
    const auto offsets = clusters.offsets(from);
    const auto order = clusters.order(from);
    int32_t* offset = blocks.offsets.data() + static_cast<size_t>(set) * (offsets.size() + static_cast<size_t>(extra_));
    int32_t* token = blocks.permutation.data() + set * problem_.q_len;
    offset = std::copy(offsets.begin(), offsets.end(), offset);
    for (const int32_t n : order) *token++ = static_cast<int32_t>(parts.video.first) + n;
    if (extra_ == 0) return;
    const int64_t end = parts.video.first + parts.video.count;
    for (int64_t n = 0; n < parts.video.first; ++n) *token++ = static_cast<int32_t>(n);
    for (int64_t n = end; n < problem_.q_len; ++n) *token++ = static_cast<int32_t>(n);
    *offset++ = static_cast<int32_t>(parts.visible);
    *offset++ = static_cast<int32_t>(problem_.q_len);
  }

  struct Row {
    const float* query;  // centroid
    const float* keys;   // centroids
    std::span<const int32_t> key_offsets;
  };
  void SelectRow(const Row& row, std::byte* scratch, std::span<uint64_t> kept) const noexcept {
    const auto clusters = static_cast<size_t>(settings_.k_clusters);
    const std::span order(reinterpret_cast<uint64_t*>(scratch), clusters);
    const std::span mass(reinterpret_cast<float*>(scratch + Aligned(clusters * sizeof(uint64_t))), clusters);
    auto* const sizes =
        reinterpret_cast<int32_t*>(reinterpret_cast<std::byte*>(mass.data()) + Aligned(clusters * sizeof(float)));
    for (size_t n = 0; n < clusters; ++n) sizes[n] = row.key_offsets[n + 1] - row.key_offsets[n];
    FewRowsProduct product;
    product.src = row.query;
    product.rows = 1;
    product.weight = {row.keys, GemmElement::kF32, settings_.k_clusters, problem_.head_dim};
    product.dst = {mass.data(), settings_.k_clusters, GemmElement::kF32};
    ActiveFewRows()(product, 0, settings_.k_clusters);
    const float total =
        ActiveClusterKernels().weigh(mass.data(), sizes, settings_.k_clusters, problem_.softmax_scale());
    KeepTopMass(mass, total, settings_.top, order, kept);
  }

  // Text sees and is seen by everything but padding, padding sees itself.
  void KeepText(std::span<std::byte> workspace) const noexcept {
    const auto text = static_cast<size_t>(settings_.k_clusters), padding = text + 1;
    const auto bit = [](size_t n) { return uint64_t{1} << n % 64; };
    for (int64_t set = 0; set < sets(); ++set) {
      for (int32_t cluster = 0; cluster < plan_.q_blocks; ++cluster) {
        uint64_t* const kept = KeptOf(workspace, set * plan_.q_blocks + cluster);
        if (cluster > settings_.q_clusters) {
          std::fill_n(kept, KeptWords(), 0);
          kept[padding / 64] |= bit(padding);
          continue;
        }
        if (cluster == settings_.q_clusters) std::fill_n(kept, KeptWords(), ~uint64_t{0});
        kept[text / 64] |= bit(text);
        kept[padding / 64] &= ~bit(padding);
      }
    }
  }

  void List(std::span<std::byte> workspace) noexcept {
    const int64_t rows = sets() * plan_.q_blocks;
    plan_.kv_list.clear();
    plan_.row_begin[0] = 0;
    for (int64_t row = 0; row < rows; ++row) {
      const uint64_t* const kept = KeptOf(workspace, row);
      for (int32_t word = 0; word * 64 < plan_.kv_blocks; ++word) {
        for (uint64_t bits = kept[word]; bits != 0; bits &= bits - 1) {
          const int32_t cluster = word * 64 + static_cast<int32_t>(__builtin_ctzll(bits));
          if (cluster < plan_.kv_blocks) plan_.kv_list.push_back(cluster);
        }
      }
      plan_.row_begin[static_cast<size_t>(row) + 1] = static_cast<int64_t>(plan_.kv_list.size());
    }
  }

  const AttentionProblem problem_;
  const Settings settings_;
  DenoisingOutline outline_;
  int step_ = 0, passes_ = 1;
  int32_t extra_ = 0;  // clusters of text and padding
  TokenClusters queries_, keys_;
  std::vector<Parts> parts_;      // [batch]
  std::vector<TokenSpan> spans_;  // [batch]
  CentroidCache q_cache_, k_cache_;
  BlockPlan plan_, padding_plan_;  // padding_plan_ without blocks: nothing has to be kept apart
  const BlockPlan* decided_ = nullptr;
  double measured_ = -1;  // density of the last sparse call
};

std::unique_ptr<BlockPlanner> Plan(const AttentionProblem& problem, const Device&, const Options& options) {
  const Settings settings = SettingsFrom(options);
  if (settings.prompt_length > problem.grid->suffix) {
    throw Error(ErrorKind::kUsage, fmt::format("svg2_prompt_length={} is more than the {} text tokens after the video; "
                                               "-1 takes them all",
                                               settings.prompt_length, problem.grid->suffix));
  }
  return std::make_unique<ClusterPlanner>(problem, settings);
}

}  // namespace

extern const AttentionPlanner k_sparse_video_gen_2_attn_planner;
constinit const AttentionPlanner k_sparse_video_gen_2_attn_planner{
    .name = "sparse_video_gen_2_attn",
    .aliases = "svg2",
    .summary = "clusters of like queries visit the clusters of keys they attend to most (SVG2)",
    .caps = kCaps,
    .options = kOptions,
    .option_prefix = "svg2_",
    .speedup = [](const AttentionProblem&) { return 2.0; },
    .plan = Plan,
};

}  // namespace tessera
