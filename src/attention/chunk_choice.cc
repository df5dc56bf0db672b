#include "attention/chunk_choice.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention/ranking.h"
#include "kernels/attention/lane_cut.h"
#include "parallel/parallel_for.h"
#include "platform/cpu/cpu.h"

namespace tessera {
namespace {

constexpr double kEpsilon = 1e-6;  // added to sums of weights before they divide
constexpr float kFlat = 1e-6f;     // products closer together are not spread out
static_assert(kLanes == kCutLanes);
constexpr int64_t kMostParts = 16;   // of a ranking: sums are added up part by part, whoever computes them
constexpr int64_t kPartGroups = 64;  // of kLanes products, at least
constexpr int kDigitBits = 11, kDigits = 3;
constexpr size_t kBuckets = size_t{1} << kDigitBits;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Products scaled to 0..1 within a ranking.
struct Weights {
  double least, range;
  Weights(float smallest, float largest) : least(static_cast<double>(smallest)), range(1) {
    if (largest - smallest > kFlat) range = static_cast<double>(largest) - least;
  }
  double Of(float product) const { return (static_cast<double>(product) - least) / range; }
};

// Orders and weights of the chunks of up to kLanes queries, [chunks][kLanes] each.
struct LaneTable {
  const ChunkProducts& table;
  int64_t batch_entry;
  const int32_t* own;  // of each query
  int count;           // queries
  const float* products;
  int32_t* orders;
  float* weights;
  LaneCuts cuts = {};  // goals of 0 choose nothing

  bool Sees(int32_t chunk) const { return table.sees(batch_entry, chunk); }
  int64_t At(int32_t chunk, int lane) const { return int64_t{chunk} * kLanes + lane; }
};

constexpr int32_t kLast = std::numeric_limits<int32_t>::min();

// ScoreOrder as a signed number.
int32_t SignedOrder(float score) { return static_cast<int32_t>(ScoreOrder(score) ^ 0x80000000u); }

// Every chunk with `weigh(product, lane)`; hidden chunks come last and weigh nothing.
template <class Weigh>
void RankChunks(LaneTable* lanes, const Weigh& weigh) {
  for (int32_t c = 0; c < lanes->table.chunks; ++c) {
    const float* products = lanes->products + lanes->At(c, 0);
    int32_t* orders = lanes->orders + lanes->At(c, 0);
    float* weights = lanes->weights + lanes->At(c, 0);
    const bool sees = lanes->Sees(c);
    for (int i = 0; i < kLanes; ++i) {
      orders[i] = sees ? SignedOrder(products[i]) : kLast;
      weights[i] = sees ? weigh(products[i], i) : 0;
    }
  }
}

// Own chunks have no part in the ranking.
void RankTop(LaneTable* lanes, int64_t top) {
  int64_t visible = 0;
  for (int32_t c = 0; c < lanes->table.chunks; ++c) visible += lanes->Sees(c) ? 1 : 0;
  RankChunks(lanes, [](float, int) { return 1.0f; });
  for (int i = 0; i < lanes->count; ++i) {
    const int32_t own = lanes->own[i];
    lanes->orders[lanes->At(own, i)] = kLast;
    lanes->weights[lanes->At(own, i)] = 0;
    lanes->cuts.goals[i] = static_cast<double>(std::min(top - 1, visible - (lanes->Sees(own) ? 1 : 0)));
  }
}

// A ranking of equal weights, of which `wanted` are chosen.
void RankByCount(LaneTable* lanes, int lane, double wanted) {
  for (int32_t c = 0; c < lanes->table.chunks; ++c) lanes->weights[lanes->At(c, lane)] = lanes->Sees(c) ? 1 : 0;
  lanes->cuts.goals[lane] = wanted;
}

// The own chunk counts first and then ranks with weight 0, like the smallest product.
void RankByWeight(LaneTable* lanes, const ChunkRule& rule) {
  float least[kLanes], most[kLanes], range[kLanes];
  double total[kLanes] = {};
  std::fill_n(least, kLanes, kInfinity);
  std::fill_n(most, kLanes, -kInfinity);
  for (int32_t c = 0; c < lanes->table.chunks; ++c) {
    if (!lanes->Sees(c)) continue;
    const float* products = lanes->products + lanes->At(c, 0);
    for (int i = 0; i < kLanes; ++i) {
      least[i] = products[i] < least[i] ? products[i] : least[i];
      most[i] = products[i] > most[i] ? products[i] : most[i];
    }
  }
  for (int i = 0; i < kLanes; ++i) range[i] = most[i] - least[i] > kFlat ? most[i] - least[i] : 1;
  RankChunks(lanes, [&](float product, int lane) {
    const float weight = (product - least[lane]) / range[lane];
    return weight > 0 ? weight : 0;
  });
  for (int32_t c = 0; c < lanes->table.chunks; ++c) {
    const float* weights = lanes->weights + lanes->At(c, 0);
    for (int i = 0; i < kLanes; ++i) total[i] += static_cast<double>(weights[i]);
  }
  for (int i = 0; i < lanes->count; ++i) {
    const int64_t at = lanes->At(lanes->own[i], i);
    const auto own = static_cast<double>(lanes->weights[at]);
    lanes->weights[at] = 0;
    if (lanes->Sees(lanes->own[i])) lanes->orders[at] = SignedOrder(least[i]);
    const double divisor = total[i] + kEpsilon, needed = std::max(0.0, rule.threshold - own / divisor);
    lanes->cuts.goals[i] = needed * divisor;
    const bool falls_short = (total[i] - own) / divisor < needed;
    if (falls_short) lanes->cuts.goals[i] = std::numeric_limits<double>::infinity();
    if (falls_short && rule.two_when_short) RankByCount(lanes, i, 2);
    if (needed == 0) RankByCount(lanes, i, 1);
  }
}

LaneCutKernel CutKernel() {
  const Isa isa = ActiveIsa();
  return isa >= Isa::kAvx512 ? LaneCutAvx512() : isa >= Isa::kAvx2 ? LaneCutAvx2() : LaneCutScalar();
}

}  // namespace

int ChunkProducts::lanes(int64_t group) const noexcept {
  return static_cast<int>(std::min<int64_t>(kLanes, positions - group * kLanes));
}

void ChooseForQueries(const ChunkProducts& table, const ChunkRule& rule, int64_t item, const float* products,
                      float* scratch, uint64_t* words) noexcept {
  const int64_t group = item % table.groups();
  LaneTable lanes{table,
                  item / table.groups() / table.heads,
                  table.own + group * kLanes,
                  table.lanes(group),
                  products,
                  reinterpret_cast<int32_t*>(scratch),
                  scratch + int64_t{table.chunks} * kLanes};
  if (rule.mode == ChunkMode::kTopK) {
    RankTop(&lanes, rule.top);
  } else {
    RankByWeight(&lanes, rule);
  }
  LaneCuts& cuts = lanes.cuts;
  CutKernel()({lanes.orders, lanes.weights, table.chunks}, &cuts);
  for (int32_t c = 0; c < table.chunks; ++c) {
    const int32_t* orders = lanes.orders + lanes.At(c, 0);
    uint64_t word = 0;
    for (int i = 0; i < lanes.count; ++i) {
      bool chosen = orders[i] > cuts.orders[i];
      if (orders[i] == cuts.orders[i] && cuts.above[i] < cuts.goals[i]) {
        chosen = true;
        cuts.above[i] += static_cast<double>(lanes.weights[lanes.At(c, i)]);
      }
      word |= static_cast<uint64_t>(chosen) << i;
    }
    words[c] = lanes.Sees(c) ? word : 0;
  }
  for (int i = 0; i < lanes.count; ++i) words[lanes.own[i]] |= uint64_t{1} << i;
}

// A ranking is a box of (batch entry, chunk, head), each with the products of all positions in this order.
struct SharedChoice::Ranking {
  const ChunkProducts& table;
  const ChunkRule& rule;
  int64_t first_batch, batches;
  int64_t first_chunk, chunks;
  int64_t first_head, heads;

  struct Slab {
    int64_t batch_entry, chunk, head;
  };
  int64_t slabs() const { return batches * chunks * heads; }
  Slab At(int64_t slab) const {
    return {first_batch + slab / heads / chunks, first_chunk + slab / heads % chunks, first_head + slab % heads};
  }
  // Whether the own chunk has a place, of weight 0, among the others.
  bool ranks_own() const { return rule.mode == ChunkMode::kThreshold && rule.scope != ChunkScope::kOverall; }
  int64_t units() const { return slabs() * table.groups(); }
  int64_t parts() const { return std::clamp<int64_t>(units() / kPartGroups, 1, kMostParts); }

  // body(place, product, own) for the products of units [begin, end) whose chunk is visible.
  template <class Body>
  void Each(int64_t begin, int64_t end, const Body& body) const {
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t slab_index = unit / table.groups(), group = unit % table.groups();
      const Slab slab = At(slab_index);
      if (!table.sees(slab.batch_entry, slab.chunk)) continue;
      const int64_t item = (slab.batch_entry * table.heads + slab.head) * table.groups() + group;
      const float* products = table.products + item * table.group_floats() + slab.chunk * kLanes;
      const int32_t* own = table.own + group * kLanes;
      const int64_t place = slab_index * table.positions + group * kLanes;
      const int count = table.lanes(group);
      for (int i = 0; i < count; ++i) body(place + i, products[i], own[i] == slab.chunk);
    }
  }
  template <class Body>
  void EachPart(const Body& body) const {
    ParallelItems(parts(),
                  [&](int64_t part, int) { body(part, units() * part / parts(), units() * (part + 1) / parts()); });
  }
};

void SharedChoice::Reserve(const ChunkProducts& table, const ChunkRule&) {
  cuts_.resize(static_cast<size_t>(std::max<int64_t>(table.batch * table.chunks, table.heads)));
  part_sums_.resize(kMostParts);
  buckets_.resize((kMostParts + 1) * kBuckets);
}

SharedChoice::Sums SharedChoice::SumUp(const Ranking& ranking) noexcept {
  ranking.EachPart([&](int64_t part, int64_t begin, int64_t end) {
    Sums sums{0, 0, kInfinity, -kInfinity};
    ranking.Each(begin, end, [&](int64_t, float product, bool) {
      sums.least = std::min(sums.least, product);
      sums.most = std::max(sums.most, product);
    });
    part_sums_[static_cast<size_t>(part)] = sums;
  });
  Sums total{0, 0, kInfinity, -kInfinity};
  const auto parts = std::span(part_sums_).first(static_cast<size_t>(ranking.parts()));
  for (const Sums& part : parts) {
    total.least = std::min(total.least, part.least);
    total.most = std::max(total.most, part.most);
  }
  const Weights weights(total.least, total.most);
  ranking.EachPart([&](int64_t part, int64_t begin, int64_t end) {
    Sums sums;
    ranking.Each(begin, end,
                 [&](int64_t, float product, bool own) { (own ? sums.own : sums.others) += weights.Of(product); });
    part_sums_[static_cast<size_t>(part)] = sums;
  });
  for (const Sums& part : parts) {
    total.own += part.own;
    total.others += part.others;
  }
  return total;
}

// Weights and counts by one digit of the order, of products whose higher digits are `prefix`.
const SharedChoice::Bucket* SharedChoice::Histogram(const Ranking& ranking, const Sums& sums, uint64_t prefix,
                                                    int digit) noexcept {
  const Weights weights(sums.least, sums.most);
  const int shift = (kDigits - 1 - digit) * kDigitBits;
  ranking.EachPart([&](int64_t part, int64_t begin, int64_t end) {
    Bucket* mine = buckets_.data() + static_cast<size_t>(part + 1) * kBuckets;
    std::fill_n(mine, kBuckets, Bucket());
    ranking.Each(begin, end, [&](int64_t, float product, bool own) {
      if (own && !ranking.ranks_own()) return;
      const float value = own ? sums.least : product;
      const uint64_t order = ScoreOrder(value);
      if (order >> (shift + kDigitBits) != prefix) return;
      Bucket& bucket = mine[order >> shift & (kBuckets - 1)];
      bucket.weight += weights.Of(value);
      ++bucket.count;
    });
  });
  std::fill_n(buckets_.data(), kBuckets, Bucket());
  for (int64_t part = 1; part <= ranking.parts(); ++part) {
    for (size_t n = 0; n < kBuckets; ++n) {
      const Bucket& from = buckets_[static_cast<size_t>(part) * kBuckets + n];
      buckets_[n].weight += from.weight;
      buckets_[n].count += from.count;
    }
  }
  return buckets_.data();
}

// The place of the nth (from 1) product of exactly this order.
int64_t SharedChoice::PlaceOfEqual(const Ranking& ranking, float least, uint64_t order, int64_t nth) const noexcept {
  int64_t found = std::numeric_limits<int64_t>::max();
  ranking.Each(0, ranking.units(), [&](int64_t place, float product, bool own) {
    if (own && !ranking.ranks_own()) return;
    if (ScoreOrder(own ? least : product) == order && --nth == 0) found = place;
  });
  return found;
}

SharedChoice::Cut SharedChoice::CutAt(const Ranking& ranking, const Sums& sums, const Goal& goal) noexcept {
  uint64_t order = 0;
  Bucket above;  // everything that ranks before
  Bucket equals;
  for (int digit = 0; digit < kDigits; ++digit) {
    const Bucket* buckets = Histogram(ranking, sums, order, digit);
    int chosen = -1;
    for (int n = static_cast<int>(kBuckets) - 1; n >= 0; --n) {
      if (buckets[n].count == 0) continue;
      if (chosen >= 0) {
        above.weight += buckets[chosen].weight;
        above.count += buckets[chosen].count;
      }
      chosen = n;
      const double reached =
          goal.counts ? static_cast<double>(above.count + buckets[n].count) : above.weight + buckets[n].weight;
      if (reached / goal.divisor >= goal.least) break;
    }
    if (chosen < 0) return {std::numeric_limits<uint64_t>::max(), 0, sums.least};
    order = order << kDigitBits | static_cast<uint64_t>(chosen);
    equals = buckets[chosen];
  }
  const double each = goal.counts ? 1 : equals.weight / static_cast<double>(equals.count);
  const double missing = goal.least * goal.divisor - (goal.counts ? static_cast<double>(above.count) : above.weight);
  int64_t taken = equals.count;
  if (missing <= each) {
    taken = 1;
  } else if (each > 0 && missing < each * static_cast<double>(equals.count)) {
    taken = static_cast<int64_t>(std::ceil(missing / each));
  }
  if (taken == equals.count) return {order, std::numeric_limits<int64_t>::max(), sums.least};
  return {order, PlaceOfEqual(ranking, sums.least, order, taken), sums.least};
}

SharedChoice::Cut SharedChoice::CutOf(const Ranking& ranking) noexcept {
  constexpr Cut kAll{0, std::numeric_limits<int64_t>::max(), 0};
  constexpr Cut kNone{std::numeric_limits<uint64_t>::max(), 0, 0};
  const ChunkRule& rule = ranking.rule;
  if (rule.mode == ChunkMode::kTopK) {
    const int64_t others = std::min<int64_t>(rule.top, ranking.table.chunks) - 1;
    if (others < 1) return kNone;
    const int64_t queries = ranking.batches * ranking.table.positions * ranking.heads;
    return CutAt(ranking, {}, {static_cast<double>(others * queries), 1, true});
  }
  const Sums sums = SumUp(ranking);
  const double divisor = sums.own + sums.others + kEpsilon;
  const double needed = std::max(0.0, rule.threshold - sums.own / divisor);
  if (sums.others / divisor >= needed) return CutAt(ranking, sums, {needed, divisor, false});
  const bool two = rule.two_when_short && rule.scope == ChunkScope::kBlock;
  return two ? CutAt(ranking, sums, {2, 1, true}) : kAll;
}

void SharedChoice::Choose(const ChunkProducts& table, const ChunkRule& rule, uint64_t* words) noexcept {
  const bool by_chunk = rule.scope == ChunkScope::kBlock, by_head = rule.scope == ChunkScope::kHeadGlobal;
  const int64_t rankings = by_chunk ? table.batch * table.chunks : by_head ? table.heads : 1;
  Ranking ranking{table, rule, 0, table.batch, 0, table.chunks, 0, table.heads};
  for (int64_t n = 0; n < rankings; ++n) {
    if (by_chunk) ranking.first_batch = n / table.chunks, ranking.first_chunk = n % table.chunks;
    if (by_chunk) ranking.batches = ranking.chunks = 1;
    if (by_head) ranking.first_head = n, ranking.heads = 1;
    cuts_[static_cast<size_t>(n)] = CutOf(ranking);
  }
  ParallelItems(table.batch * table.heads * table.groups(), [&](int64_t item, int) {
    const int64_t group = item % table.groups(), head = item / table.groups() % table.heads;
    const int64_t batch_entry = item / table.groups() / table.heads;
    const int count = table.lanes(group);
    for (int32_t c = 0; c < table.chunks; ++c) {
      const int64_t chunk = batch_entry * table.chunks + c;
      const Cut& cut = cuts_[static_cast<size_t>(by_chunk ? chunk : by_head ? head : 0)];
      const int64_t slab = by_chunk ? head : by_head ? chunk : chunk * table.heads + head;
      const float* products = table.products + item * table.group_floats() + int64_t{c} * kLanes;
      const int32_t* own = table.own + group * kLanes;
      uint64_t word = 0, mine = 0;
      for (int i = 0; i < count; ++i) {
        const uint64_t order = ScoreOrder(products[i]);
        const int64_t place = slab * table.positions + group * kLanes + i;
        if (order > cut.order || (order == cut.order && place <= cut.last)) word |= uint64_t{1} << i;
        if (own[i] == c) mine |= uint64_t{1} << i;
      }
      if (!table.sees(batch_entry, c)) word = 0;
      words[item * table.chunks + c] = word | mine;
    }
  });
}

}  // namespace tessera
