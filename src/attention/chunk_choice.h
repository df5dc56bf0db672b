// Which chunks of keys every query attends to, chosen by its products with their mean keys: the gate of VMoBA (Wu et
// al., arXiv 2506.23858). The chunk that holds a query, its own, is always chosen.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

#include "attention/block_means.h"

namespace tessera {

enum class ChunkMode {
  kTopK,       // the best products: `top` chunks for every query on average, the own one included
  kThreshold,  // the best products until their weights reach a share of the sum of all weights
};
// Products that are ranked together.
enum class ChunkScope { kQueryHead, kBlock, kHeadGlobal, kOverall };  // kBlock: of one chunk; the last two: all samples

struct ChunkRule {
  ChunkMode mode = ChunkMode::kThreshold;
  ChunkScope scope = ChunkScope::kQueryHead;
  int64_t top = 1;
  double threshold = 0.25;
  // When all products of a query or chunk together do not reach the threshold, two are chosen instead of all.
  bool two_when_short = false;
};

// Products lie in [batch, heads, groups of kLanes positions, shape.rows, kLanes].
struct ChunkProducts {
  int64_t batch = 1;
  int heads = 1;
  int32_t chunks = 0;
  int64_t positions = 0;
  MeanShape shape;
  const int32_t* own = nullptr;      // [positions]: the chunk that holds a position
  const int32_t* visible = nullptr;  // [batch, chunks]: visible tokens; chunks without any are chosen by their own only
  const float* products = nullptr;

  int64_t groups() const noexcept { return (positions + kLanes - 1) / kLanes; }
  int64_t group_floats() const noexcept { return shape.rows * kLanes; }
  int lanes(int64_t group) const noexcept;  // positions of a group
  bool sees(int64_t batch_entry, int64_t chunk) const noexcept { return visible[batch_entry * chunks + chunk] > 0; }
};

// Chosen chunks: words[chunk] has bit i set when position i of the group attends to the chunk.
// kQueryHead: `item` is (batch * heads + head) * groups + group, `products` that group's; ranks [2 * chunks] is
// scratch.
void ChooseForQueries(const ChunkProducts& table, const ChunkRule& rule, int64_t item, const float* products,
                      float* scratch, uint64_t* words) noexcept;

// The other scopes: words [batch, heads, groups, chunks].
class SharedChoice {
 public:
  // Reserves what Choose needs for `table`; its pointers may be null.
  void Reserve(const ChunkProducts& table, const ChunkRule& rule);
  // The same words for any number of threads.
  void Choose(const ChunkProducts& table, const ChunkRule& rule, uint64_t* words) noexcept;

 private:
  // Products of one ranking.
  struct Ranking;
  // The last chosen product in the order of ScoreOrder, and the last of its equals by position in the ranking.
  struct Cut {
    uint64_t order = 0;
    int64_t last = 0;
    float least = 0;  // product, which the own chunks count as
  };
  struct Sums {
    double own = 0, others = 0;
    float least = 0, most = 0;
  };
  struct Bucket {
    double weight = 0;
    int64_t count = 0;
  };
  // How far down a ranking goes: until `weights` (or counts) divided by `divisor` reach `least`.
  struct Goal {
    double least = 0, divisor = 1;
    bool counts = false;
  };

  Sums SumUp(const Ranking& ranking) noexcept;
  Cut CutOf(const Ranking& ranking) noexcept;
  Cut CutAt(const Ranking& ranking, const Sums& sums, const Goal& goal) noexcept;
  const Bucket* Histogram(const Ranking& ranking, const Sums& sums, uint64_t prefix, int digit) noexcept;
  int64_t PlaceOfEqual(const Ranking& ranking, float least, uint64_t order, int64_t nth) const noexcept;

  std::vector<Cut> cuts_;
  std::vector<Sums> part_sums_;
  std::vector<Bucket> buckets_;  // [parts][buckets]
};

}  // namespace tessera
