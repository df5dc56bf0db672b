// The k-means search and its kernels against doubles and plain loops.
#include "attention/token_clusters.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "attention/cluster_map.h"
#include "kernels/clustering/cluster_choice.h"
#include "platform/cpu/cpu.h"
#include "tensor/workspace.h"

namespace tessera {
namespace {

std::vector<Isa> MachineIsas() {
  std::vector<Isa> all;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16}) {
    if (isa <= MachineIsa()) all.push_back(isa);
  }
  return all;
}

class RestoreIsa {
 public:
  ~RestoreIsa() { SetActiveIsa(MachineIsa()); }
};

struct Search {
  ClusterShape shape;
  std::vector<BFloat16> rows;  // [seq][heads][head_dim]
  std::vector<float> centroids;
  TokenSpan span;

  Search(const ClusterShape& wanted, const TokenSpan& tokens) : shape(wanted), span(tokens) {
    std::mt19937_64 random(3);
    std::normal_distribution<float> normal;
    rows.resize(static_cast<size_t>(shape.seq * shape.heads * shape.head_dim));
    for (BFloat16& x : rows) x = ToBFloat16(normal(random));
    centroids.resize(shape.centroid_elements());
  }
  ClusterRows input() const {
    const int64_t token = int64_t{shape.heads} * shape.head_dim;
    return {{rows.data(), shape.seq * token, token, shape.head_dim}, {&span, 1}};
  }
  float At(int64_t head, int64_t token, int64_t d) const {
    return ToFloat(rows[static_cast<size_t>(((span.first + token) * shape.heads + head) * shape.head_dim + d)]);
  }
  double Distance(int64_t head, int64_t token, const std::vector<float>& from, int64_t cluster) const {
    double squares = 0;
    for (int64_t d = 0; d < shape.head_dim; ++d) {
      const double step = static_cast<double>(At(head, token, d)) -
                          from[static_cast<size_t>((head * shape.clusters + cluster) * shape.head_dim + d)];
      squares += step * step;
    }
    return squares;
  }
  int Iterate(TokenClusters& clusters, int iterations) {
    Workspace workspace(clusters.workspace_bytes());
    const std::span memory(static_cast<std::byte*>(workspace.TakeBytes(clusters.workspace_bytes())),
                           clusters.workspace_bytes());
    return clusters.Iterate(input(), iterations, centroids.data(), memory);
  }
};

ClusterShape Shape(int head_dim) { return {DType::kBF16, 1, 333, 2, head_dim, 37}; }

TEST(TokenClusters, EveryTokenJoinsTheNearestCentroid) {
  const RestoreIsa restore;
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    for (const int head_dim : {5, 64, 128}) {
      Search search(Shape(head_dim), {7, 300});
      TokenClusters clusters(search.shape);
      clusters.StartAnywhere(search.input(), 9, search.centroids.data());
      search.Iterate(clusters, 2);
      const auto before = search.centroids;
      search.Iterate(clusters, 1);
      for (int64_t head = 0; head < 2; ++head) {
        const auto offsets = clusters.offsets(head), order = clusters.order(head);
        for (int64_t n = 0; n < search.shape.clusters; ++n) {
          for (int32_t i = offsets[static_cast<size_t>(n)]; i < offsets[static_cast<size_t>(n) + 1]; ++i) {
            const int32_t token = order[static_cast<size_t>(i)];
            double least = INFINITY;
            for (int64_t m = 0; m < search.shape.clusters; ++m) {
              least = std::min(least, search.Distance(head, token, before, m));
            }
            ASSERT_LE(search.Distance(head, token, before, n), least + 1e-4 * (1 + least)) << Name(isa);
          }
        }
      }
    }
  }
}

TEST(TokenClusters, CentroidsAreTheMeansOfTheirTokens) {
  Search search(Shape(40), {0, 333});
  TokenClusters clusters(search.shape);
  clusters.StartAnywhere(search.input(), 1, search.centroids.data());
  search.Iterate(clusters, 3);
  for (int64_t n = 0; n < search.shape.clusters; ++n) {
    const auto offsets = clusters.offsets(1);
    const int32_t begin = offsets[static_cast<size_t>(n)], end = offsets[static_cast<size_t>(n) + 1];
    if (begin == end) continue;
    for (int64_t d = 0; d < 40; ++d) {
      double sum = 0;
      for (int32_t i = begin; i < end; ++i) sum += search.At(1, clusters.order(1)[static_cast<size_t>(i)], d);
      ASSERT_NEAR(search.centroids[static_cast<size_t>((37 + n) * 40 + d)], sum / (end - begin), 1e-6);
    }
  }
}

TEST(TokenClusters, InertiaDoesNotGrow) {
  Search search(Shape(64), {0, 333});
  TokenClusters clusters(search.shape);
  clusters.StartAnywhere(search.input(), 1, search.centroids.data());
  double last = INFINITY;
  for (int iteration = 0; iteration < 6; ++iteration) {
    const auto before = search.centroids;
    search.Iterate(clusters, 1);
    double inertia = 0;
    for (int64_t n = 0; n < search.shape.clusters; ++n) {
      const auto offsets = clusters.offsets(0);
      for (int32_t i = offsets[static_cast<size_t>(n)]; i < offsets[static_cast<size_t>(n) + 1]; ++i) {
        inertia += search.Distance(0, clusters.order(0)[static_cast<size_t>(i)], before, n);
      }
    }
    EXPECT_LE(inertia, last * (1 + 1e-6));
    last = inertia;
  }
}

TEST(TokenClusters, ConvergedCentroidsStayAsTheyWere) {
  Search search(Shape(8), {0, 333});
  TokenClusters clusters(search.shape);
  clusters.StartAnywhere(search.input(), 1, search.centroids.data());
  EXPECT_LT(search.Iterate(clusters, 500), 500);
  const auto before = search.centroids;
  EXPECT_EQ(search.Iterate(clusters, 500), 1);
  EXPECT_EQ(search.centroids, before);
}

TEST(TokenClusters, CentroidsWithoutTokensStay) {
  Search search({DType::kBF16, 1, 20, 1, 16, 3}, {0, 20});
  TokenClusters clusters(search.shape);
  const std::vector<int32_t> starts = {4, 9, 4};  // the third is never the lowest of the nearest
  clusters.Start(search.input(), starts, search.centroids.data());
  const std::vector<float> third(search.centroids.begin() + 32, search.centroids.end());
  search.Iterate(clusters, 1);
  EXPECT_EQ(clusters.offsets(0)[2], clusters.offsets(0)[3]);
  EXPECT_EQ(std::vector<float>(search.centroids.begin() + 32, search.centroids.end()), third);
}

TEST(TokenClusters, NoTokensGiveNoClusters) {
  Search search({DType::kBF16, 1, 20, 1, 16, 3}, {0, 0});
  TokenClusters clusters(search.shape);
  clusters.StartAnywhere(search.input(), 1, search.centroids.data());
  search.Iterate(clusters, 2);
  EXPECT_EQ(clusters.offsets(0).back(), 0);
}

TEST(ClusterKernels, AddTheRowsOfTokensInTheirOrder) {
  const RestoreIsa restore;
  std::mt19937_64 random(6);
  std::normal_distribution<float> normal;
  const std::vector<int32_t> tokens = {3, 0, 0, 17, 5, 12, 4, 9, 16, 2, 11, 18};
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    for (const int64_t channels : {1, 16, 40, 128, 250}) {
      const int64_t stride = channels + 3;
      std::vector<float> rows(static_cast<size_t>(stride) * 19), sum(static_cast<size_t>(channels), 0.5f);
      for (float& x : rows) x = normal(random);
      std::vector<float> expected = sum;
      const TokenRows named{GemmElement::kF32, rows.data(), stride, channels, tokens.data(), std::ssize(tokens)};
      ActiveClusterKernels().add_rows(named, sum.data());
      ClusterKernelsReference().add_rows(named, expected.data());
      EXPECT_EQ(sum, expected);

      std::vector<BFloat16> halves;
      for (const float x : rows) halves.push_back(ToBFloat16(x));
      TokenRows named_halves = named;
      named_halves.type = GemmElement::kBF16;
      named_halves.rows = halves.data();
      ActiveClusterKernels().add_rows(named_halves, sum.data());
      ClusterKernelsReference().add_rows(named_halves, expected.data());
      EXPECT_EQ(sum, expected);
    }
  }
}

TEST(ClusterKernels, AgreeWithPlainLoops) {
  const RestoreIsa restore;
  const ClusterKernels& plain = ClusterKernelsReference();
  std::mt19937_64 random(5);
  std::normal_distribution<float> normal;
  for (const Isa isa : MachineIsas()) {
    SetActiveIsa(isa);
    const ClusterKernels& kernels = ActiveClusterKernels();
    for (const int64_t count : {1, 7, 16, 33, 128, 250}) {
      const auto n = static_cast<size_t>(count);
      std::vector<float> scores(n), factors(n);
      std::vector<BFloat16> row(n);
      std::vector<int32_t> sizes(n);
      for (size_t i = 0; i < n; ++i) {
        scores[i] = normal(random);
        factors[i] = normal(random);
        row[i] = ToBFloat16(normal(random));
        sizes[i] = static_cast<int32_t>(random() % 3);
      }
      sizes[n / 2] = 1;
      EXPECT_EQ(kernels.most(scores.data(), count), plain.most(scores.data(), count));
      std::vector<int32_t> found(n), expected(n);
      const int64_t many = kernels.at_least(scores.data(), count, 0.3f, found.data());
      ASSERT_EQ(many, plain.at_least(scores.data(), count, 0.3f, expected.data()));
      EXPECT_TRUE(std::equal(found.begin(), found.begin() + many, expected.begin()));
      std::vector<float> sum = factors, expected_sum = factors;
      kernels.add_row(GemmElement::kBF16, row.data(), count, sum.data());
      plain.add_row(GemmElement::kBF16, row.data(), count, expected_sum.data());
      EXPECT_EQ(sum, expected_sum);
      EXPECT_NEAR(kernels.dot(GemmElement::kBF16, row.data(), count, factors.data()),
                  plain.dot(GemmElement::kBF16, row.data(), count, factors.data()), 1e-5 * std::sqrt(count) * 4);
      const float squares = plain.squares(GemmElement::kBF16, row.data(), count);
      EXPECT_NEAR(kernels.squares(GemmElement::kBF16, row.data(), count), squares, 1e-5 * squares);
      std::vector<float> mass = scores, expected_mass = scores;
      const float total = plain.weigh(expected_mass.data(), sizes.data(), count, 0.7f);
      EXPECT_NEAR(kernels.weigh(mass.data(), sizes.data(), count, 0.7f), total, 1e-5 * total);
      for (size_t i = 0; i < n; ++i) EXPECT_NEAR(mass[i], expected_mass[i], 1e-6 * (1 + expected_mass[i]));
    }
  }
}

std::vector<int> Kept(const std::vector<float>& mass, const TopMass& top) {
  std::vector<uint64_t> order(mass.size()), words((mass.size() + 63) / 64);
  float total = 0;
  for (const float x : mass) total += x;
  const int32_t count = KeepTopMass(mass, total, top, order, words);
  std::vector<int> kept;
  for (size_t n = 0; n < mass.size(); ++n) {
    if (words[n / 64] >> n % 64 & 1) kept.push_back(static_cast<int>(n));
  }
  EXPECT_EQ(count, static_cast<int32_t>(kept.size()));
  return kept;
}

TEST(TopMass, KeepsTheClusterThatCrossesTheLimit) {
  EXPECT_EQ(Kept({1, 4, 2, 3}, {.share = 0.35}), (std::vector<int>{1}));
  EXPECT_EQ(Kept({1, 4, 2, 3}, {.share = 0.45}), (std::vector<int>{1, 3}));
  EXPECT_EQ(Kept({1, 4, 2, 3}, {.share = 0.4}), (std::vector<int>{1, 3}));
}

TEST(TopMass, KeepsTheFirstWhateverTheLimitAndAllAtOne) {
  EXPECT_EQ(Kept({1, 4, 2, 3}, {.share = 0}), (std::vector<int>{1}));
  EXPECT_EQ(Kept({1, 4, 0, 3}, {.share = 1}), (std::vector<int>{0, 1, 2, 3}));
}

TEST(TopMass, KeepsTheLeastNumberAndTheLowerOfEquals) {
  EXPECT_EQ(Kept({2, 2, 2, 2, 9}, {.share = 0, .least_kept = 0.6}), (std::vector<int>{0, 1, 4}));
  EXPECT_EQ(Kept({2, 2, 2, 2, 9}, {.share = 0, .least_kept = 0.59}), (std::vector<int>{0, 4}));
}

TEST(TopMass, AgreesWithSortingEverything) {
  std::mt19937_64 random(8);
  for (const size_t clusters : {1, 31, 32, 33, 64, 100, 1000}) {
    for (const double share : {0.1, 0.5, 0.9, 0.999}) {
      std::vector<float> mass(clusters);
      std::vector<std::pair<float, int>> sorted;
      double total = 0;
      for (size_t n = 0; n < clusters; ++n) {
        mass[n] = static_cast<float>(random() % 100000) + 1;
        total += mass[n];
        sorted.emplace_back(-mass[n], static_cast<int>(n));
      }
      std::sort(sorted.begin(), sorted.end());
      std::vector<int> expected;
      double before = 0;
      for (const auto& [negative, n] : sorted) {
        if (!expected.empty() && before > share * total) break;
        expected.push_back(n);
        before -= negative;
      }
      std::sort(expected.begin(), expected.end());
      EXPECT_EQ(Kept(mass, {.share = share}), expected);
    }
  }
}

}  // namespace
}  // namespace tessera
