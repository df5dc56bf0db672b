// k-means over the rows of all heads of an attention operand at once, as semantic-aware sparse attention uses it
// (SVG2: Yang et al., arXiv 2505.18875).
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "attention/attention_io.h"

namespace tessera {

// A set is one head of one batch entry: batch * heads + head.
struct ClusterShape {
  DType dtype = DType::kF32;  // f32, bf16 or f16
  int64_t batch = 1, seq = 0;
  int heads = 1, head_dim = 1;
  int64_t clusters = 1;
  int64_t sets() const noexcept { return batch * heads; }
  size_t centroid_elements() const noexcept { return static_cast<size_t>(sets() * clusters * head_dim); }
};

// Tokens [first, first + count) of a batch entry take part.
struct TokenSpan {
  int64_t first = 0, count = 0;
};

// What is clustered. Tokens of a set are counted from the first of their span.
struct ClusterRows {
  BshdIn rows;
  std::span<const TokenSpan> tokens;  // [batch]
};

// Allocates when it is made and never again. The same bytes for any number of threads.
class TokenClusters {
 public:
  explicit TokenClusters(const ClusterShape& shape);

  const ClusterShape& shape() const noexcept { return shape_; }
  size_t workspace_bytes() const noexcept;

  // Centroids [sets, clusters, head_dim] become the rows of the tokens `starts`, [heads, clusters]; tokens behind the
  // last of the span count as the last.
  void Start(const ClusterRows& rows, std::span<const int32_t> starts, float* centroids) const noexcept;
  // As Start, with tokens drawn without replacement (over and over when there are more clusters than tokens).
  void StartAnywhere(const ClusterRows& rows, uint64_t seed, float* centroids) noexcept;

  // At least one and at most `iterations` of: every token joins the centroid nearest to it, the lowest of equals; the
  // centroids become the means of their tokens, those without tokens stay. When no centroid of any set moves by 1e-4
  // the centroids before that are kept. Returns how many iterations ran. `workspace` is 64-byte aligned.
  int Iterate(const ClusterRows& rows, int iterations, float* centroids, std::span<std::byte> workspace) noexcept;

  // Of the last assignment, which was made with the centroids before their last update: tokens of cluster n are
  // order[offsets[n]], ..., ascending.
  std::span<const int32_t> offsets(int64_t set) const noexcept;  // [clusters + 1]
  std::span<const int32_t> order(int64_t set) const noexcept;    // [tokens of the set]

 private:
  struct Scratch;
  void Prepare(int64_t set, const float* centroids, const Scratch& scratch) const noexcept;
  void Assign(const ClusterRows& rows, const float* centroids, const Scratch& scratch) noexcept;
  void AssignTokens(const ClusterRows& rows, int64_t set, TokenSpan part, const float* centroids,
                    const Scratch& scratch, int thread) noexcept;
  void Sort(int64_t set, int64_t tokens) noexcept;
  double Move(const ClusterRows& rows, const float* centroids, float* moved) noexcept;
  double MoveCentroid(const ClusterRows& rows, int64_t set, int64_t cluster, const float* centroid,
                      float* moved) const noexcept;
  const std::byte* Row(const ClusterRows& rows, int64_t set, int64_t token) const noexcept;
  Scratch ScratchIn(std::span<std::byte> workspace) const noexcept;

  ClusterShape shape_;
  std::vector<int32_t> labels_, order_;     // [sets][seq]
  std::vector<int32_t> offsets_, cursors_;  // [sets][clusters + 1], [sets][clusters]
  std::vector<double> shifts_;              // [sets][pieces of clusters]
};

}  // namespace tessera
