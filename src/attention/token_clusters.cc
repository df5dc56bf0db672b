#include "attention/token_clusters.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/check.h"
#include "base/round_up.h"
#include "kernels/clustering/cluster_choice.h"
#include "kernels/clustering/cluster_kernels.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr double kLeastShift = 1e-4;    // of a centroid, below which the search has converged
constexpr int64_t kItemTokens = 480;    // assigned by one thread in one go
constexpr int64_t kTileTokens = 48;     // whose scores are held at a time
constexpr int64_t kPieceClusters = 16;  // moved by one thread in one go
constexpr int64_t kPartialRows = 64;    // added before their sum joins the total, against rounding
constexpr int64_t kMostChannels = 256;

GemmElement ElementOf(DType dtype) {
  return dtype == DType::kF32 ? GemmElement::kF32 : dtype == DType::kBF16 ? GemmElement::kBF16 : GemmElement::kF16;
}

// A counter-based generator: number `index` of the stream `key` (the finaliser of SplitMix64, Steele et al. 2014).
uint64_t Mix(uint64_t key, uint64_t index) {
  uint64_t z = key + (index + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

}  // namespace

// Per set: packed centroids, minus half their squared lengths, and how far a score may be from the exact one per length
// of the row. Per thread: rows as they are, packed rows, scores, candidates.
struct TokenClusters::Scratch {
  ClusterProducts products;
  int64_t words, panels;
  size_t packed_bytes, bias_bytes, rows_bytes, packed_rows_bytes, score_bytes;
  std::byte* begin = nullptr;
  int64_t sets = 0;

  Scratch(const ClusterShape& shape) : products(ClusterProductsFor(shape.dtype)), sets(shape.sets()) {
    const GemmKernels& gemm = *products.gemm;
    words = RoundUp((shape.head_dim + gemm.elements_per_word - 1) / gemm.elements_per_word, kWordStep);
    panels = (kTileTokens + gemm.src_rows - 1) / gemm.src_rows;
    const auto bytes = [](int64_t a, int64_t b) { return Aligned(static_cast<size_t>(a * b) * sizeof(float)); };
    packed_bytes = bytes(RoundUp(shape.clusters, gemm.outputs), words);
    bias_bytes = bytes(shape.clusters + 1, 1);
    rows_bytes = bytes(kTileTokens, shape.head_dim);
    packed_rows_bytes = bytes(panels * gemm.src_rows, words);
    score_bytes = bytes(kTileTokens, shape.clusters);
  }
  size_t set_bytes() const { return packed_bytes + bias_bytes; }
  size_t thread_bytes() const { return rows_bytes + packed_rows_bytes + 2 * score_bytes; }
  size_t bytes() const {
    return static_cast<size_t>(sets) * set_bytes() + static_cast<size_t>(Threads()) * thread_bytes();
  }
  float* Packed(int64_t set) const { return reinterpret_cast<float*>(begin + static_cast<size_t>(set) * set_bytes()); }
  float* Bias(int64_t set) const { return Packed(set) + packed_bytes / sizeof(float); }
  std::byte* Thread(int thread) const {
    return begin + static_cast<size_t>(sets) * set_bytes() + static_cast<size_t>(thread) * thread_bytes();
  }
};

TokenClusters::TokenClusters(const ClusterShape& shape) : shape_(shape) {
  TESSERA_CHECK(shape.clusters > 0 && shape.head_dim <= kMostChannels);
  const auto sets = static_cast<size_t>(shape.sets()), clusters = static_cast<size_t>(shape.clusters);
  labels_.resize(sets * static_cast<size_t>(shape.seq));
  order_.resize(labels_.size());
  offsets_.resize(sets * (clusters + 1));
  cursors_.resize(sets * clusters);
  shifts_.resize(sets * ((clusters + kPieceClusters - 1) / kPieceClusters));
}

size_t TokenClusters::workspace_bytes() const noexcept {
  return Scratch(shape_).bytes() + Aligned(shape_.centroid_elements() * sizeof(float));
}

TokenClusters::Scratch TokenClusters::ScratchIn(std::span<std::byte> workspace) const noexcept {
  Scratch scratch(shape_);
  TESSERA_CHECK(workspace.size() >= workspace_bytes());
  scratch.begin = workspace.data();
  return scratch;
}

std::span<const int32_t> TokenClusters::offsets(int64_t set) const noexcept {
  const auto length = static_cast<size_t>(shape_.clusters + 1);
  return std::span(offsets_).subspan(static_cast<size_t>(set) * length, length);
}

std::span<const int32_t> TokenClusters::order(int64_t set) const noexcept {
  return std::span(order_).subspan(static_cast<size_t>(set * shape_.seq), static_cast<size_t>(offsets(set).back()));
}

const std::byte* TokenClusters::Row(const ClusterRows& rows, int64_t set, int64_t token) const noexcept {
  const int64_t batch = set / shape_.heads;
  const int64_t element = batch * rows.rows.batch_stride + set % shape_.heads * rows.rows.head_stride +
                          (rows.tokens[static_cast<size_t>(batch)].first + token) * rows.rows.seq_stride;
  return static_cast<const std::byte*>(rows.rows.elements) + element * static_cast<int64_t>(SizeOf(shape_.dtype));
}

void TokenClusters::Start(const ClusterRows& rows, std::span<const int32_t> starts, float* centroids) const noexcept {
  const ClusterKernels& kernels = ActiveClusterKernels();
  ParallelItems(shape_.sets() * shape_.clusters, [&](int64_t item, int) {
    const int64_t set = item / shape_.clusters, cluster = item % shape_.clusters;
    float* centroid = centroids + item * shape_.head_dim;
    std::fill_n(centroid, shape_.head_dim, 0.0f);
    const int64_t tokens = rows.tokens[static_cast<size_t>(set / shape_.heads)].count;
    if (tokens == 0) return;
    const int32_t start = starts[static_cast<size_t>(set % shape_.heads * shape_.clusters + cluster)];
    const std::byte* row = Row(rows, set, std::clamp<int64_t>(start, 0, tokens - 1));
    kernels.add_row(ElementOf(shape_.dtype), row, shape_.head_dim, centroid);
  });
}

void TokenClusters::StartAnywhere(const ClusterRows& rows, uint64_t seed, float* centroids) noexcept {
  const ClusterKernels& kernels = ActiveClusterKernels();
  ParallelItems(shape_.sets(), [&](int64_t set, int) {
    const int64_t tokens = rows.tokens[static_cast<size_t>(set / shape_.heads)].count;
    float* const all = centroids + set * shape_.clusters * shape_.head_dim;
    std::fill_n(all, shape_.clusters * shape_.head_dim, 0.0f);
    if (tokens == 0) return;
    int32_t* const left = order_.data() + set * shape_.seq;  // the front is drawn
    for (int64_t i = 0; i < tokens; ++i) left[i] = static_cast<int32_t>(i);
    const uint64_t key = Mix(seed, static_cast<uint64_t>(set));
    for (int64_t n = 0; n < shape_.clusters; ++n) {
      if (n < tokens) {
        const auto others = static_cast<uint64_t>(tokens - n);
        std::swap(left[n], left[n + static_cast<int64_t>(Mix(key, static_cast<uint64_t>(n)) % others)]);
      }
      kernels.add_row(ElementOf(shape_.dtype), Row(rows, set, left[n % tokens]), shape_.head_dim,
                      all + n * shape_.head_dim);
    }
  });
}

int TokenClusters::Iterate(const ClusterRows& rows, int iterations, float* centroids,
                           std::span<std::byte> workspace) noexcept {
  const Scratch scratch = ScratchIn(workspace);
  auto* const moved = reinterpret_cast<float*>(workspace.data() + scratch.bytes());
  for (int done = 1;; ++done) {
    Assign(rows, centroids, scratch);
    if (Move(rows, centroids, moved) < kLeastShift) return done;
    std::memcpy(centroids, moved, shape_.centroid_elements() * sizeof(float));
    if (done >= iterations) return done;
  }
}

// The nearest centroid c of a row x has the largest <x, c> - |c|^2 / 2.
void TokenClusters::Prepare(int64_t set, const float* centroids, const Scratch& scratch) const noexcept {
  const ClusterKernels& kernels = ActiveClusterKernels();
  float* const bias = scratch.Bias(set);
  for (int64_t n = 0; n < shape_.clusters; ++n) {
    const float* centroid = centroids + n * shape_.head_dim;
    bias[n] = -0.5f * kernels.dot(GemmElement::kF32, centroid, shape_.head_dim, centroid);
  }
  bias[shape_.clusters] = scratch.products.pack(centroids, shape_.clusters, shape_.head_dim, scratch.Packed(set));
}

void TokenClusters::Assign(const ClusterRows& rows, const float* centroids, const Scratch& scratch) noexcept {
  const int64_t set_elements = shape_.clusters * shape_.head_dim;
  ParallelItems(shape_.sets(), [&](int64_t set, int) { Prepare(set, centroids + set * set_elements, scratch); });
  const int64_t items = (shape_.seq + kItemTokens - 1) / kItemTokens;
  ParallelItems(shape_.sets() * items, [&](int64_t item, int thread) {
    const int64_t set = item / items, begin = item % items * kItemTokens;
    const int64_t tokens = rows.tokens[static_cast<size_t>(set / shape_.heads)].count;
    const int64_t end = std::min(begin + kItemTokens, tokens);
    for (int64_t token = begin; token < end; token += kTileTokens) {
      AssignTokens(rows, set, {token, std::min(kTileTokens, end - token)}, centroids + set * set_elements, scratch,
                   thread);
    }
  });
  ParallelItems(shape_.sets(),
                [&](int64_t set, int) { Sort(set, rows.tokens[static_cast<size_t>(set / shape_.heads)].count); });
}

void TokenClusters::AssignTokens(const ClusterRows& rows, int64_t set, TokenSpan part, const float* centroids,
                                 const Scratch& scratch, int thread) noexcept {
  const ClusterKernels& kernels = ActiveClusterKernels();
  const GemmKernels& gemm = *scratch.products.gemm;
  const GemmElement element = ElementOf(shape_.dtype);
  std::byte* const copied = scratch.Thread(thread);
  const size_t row_bytes = static_cast<size_t>(shape_.head_dim) * SizeOf(shape_.dtype);
  const std::byte* from = Row(rows, set, part.first);
  const auto step = rows.rows.seq_stride * static_cast<int64_t>(SizeOf(shape_.dtype));
  for (int64_t i = 0; i < part.count; ++i) {
    std::memcpy(copied + static_cast<size_t>(i) * row_bytes, from + i * step, row_bytes);
  }
  auto* const packed = reinterpret_cast<float*>(copied + scratch.rows_bytes);
  auto* const scores = packed + scratch.packed_rows_bytes / sizeof(float);
  auto* const found = reinterpret_cast<int32_t*>(scores + scratch.score_bytes / sizeof(float));
  const int64_t panels = (part.count + gemm.src_rows - 1) / gemm.src_rows;
  gemm.pack_src({copied, element, part.count, shape_.head_dim}, packed, 0, panels);
  const float* const bias = scratch.Bias(set);
  GemmBlock block;
  block.src = packed;
  block.src_panel = scratch.words * gemm.src_rows;
  block.weight = scratch.Packed(set);
  block.words = scratch.words;
  block.rows = part.count;
  block.outputs = shape_.clusters;
  block.partial = scores;
  block.partial_stride = shape_.clusters;
  block.first = block.last = true;
  block.dst = {scores, shape_.clusters, GemmElement::kF32};
  block.bias = bias;
  gemm.multiply(block);
  int32_t* const labels = labels_.data() + set * shape_.seq + part.first;
  for (int64_t i = 0; i < part.count; ++i) {
    const NearestRow row{element, copied + static_cast<size_t>(i) * row_bytes, scores + i * shape_.clusters};
    // Row i of the next tile, which comes from memory, is asked for meanwhile.
    for (size_t at = 0; at < row_bytes; at += 64) __builtin_prefetch(from + (i + part.count) * step + at);
    labels[i] = Nearest(kernels, {centroids, bias, shape_.clusters, shape_.head_dim}, row, found);
  }
}

// By counting, so that tokens of a cluster keep their order.
void TokenClusters::Sort(int64_t set, int64_t tokens) noexcept {
  int32_t* const offsets = offsets_.data() + set * (shape_.clusters + 1);
  int32_t* const cursors = cursors_.data() + set * shape_.clusters;
  const int32_t* const labels = labels_.data() + set * shape_.seq;
  std::fill_n(offsets, shape_.clusters + 1, 0);
  for (int64_t i = 0; i < tokens; ++i) ++offsets[labels[i] + 1];
  for (int64_t n = 0; n < shape_.clusters; ++n) {
    cursors[n] = offsets[n];
    offsets[n + 1] += offsets[n];
  }
  int32_t* const order = order_.data() + set * shape_.seq;
  for (int64_t i = 0; i < tokens; ++i) order[cursors[labels[i]]++] = static_cast<int32_t>(i);
}

// Returns the largest shift.
double TokenClusters::Move(const ClusterRows& rows, const float* centroids, float* moved) noexcept {
  const int64_t pieces = (shape_.clusters + kPieceClusters - 1) / kPieceClusters;
  ParallelItems(shape_.sets() * pieces, [&](int64_t item, int) {
    const int64_t set = item / pieces, begin = item % pieces * kPieceClusters;
    double most = 0;
    for (int64_t n = begin; n < std::min(begin + kPieceClusters, shape_.clusters); ++n) {
      const int64_t at = (set * shape_.clusters + n) * shape_.head_dim;
      most = std::max(most, MoveCentroid(rows, set, n, centroids + at, moved + at));
    }
    shifts_[static_cast<size_t>(item)] = most;
  });
  return *std::max_element(shifts_.begin(), shifts_.end());
}

double TokenClusters::MoveCentroid(const ClusterRows& rows, int64_t set, int64_t cluster, const float* centroid,
                                   float* moved) const noexcept {
  const ClusterKernels& kernels = ActiveClusterKernels();
  const int64_t channels = shape_.head_dim;
  const int64_t begin = offsets(set)[static_cast<size_t>(cluster)],
                end = offsets(set)[static_cast<size_t>(cluster) + 1];
  if (begin == end) {
    std::copy_n(centroid, channels, moved);
    return 0;
  }
  std::fill_n(moved, channels, 0.0f);
  float partial[kMostChannels];
  TokenRows members{ElementOf(shape_.dtype), Row(rows, set, 0), rows.rows.seq_stride, channels, nullptr, 0};
  for (int64_t first = begin; first < end; first += kPartialRows) {
    std::fill_n(partial, channels, 0.0f);
    members.tokens = order_.data() + set * shape_.seq + first;
    members.count = std::min(kPartialRows, end - first);
    kernels.add_rows(members, partial);
    kernels.add_row(GemmElement::kF32, partial, channels, moved);
  }
  double squares = 0;
  for (int64_t d = 0; d < channels; ++d) {
    moved[d] /= static_cast<float>(end - begin);
    const double step = static_cast<double>(moved[d]) - centroid[d];
    squares += step * step;
  }
  return std::sqrt(squares);
}

}  // namespace tessera
