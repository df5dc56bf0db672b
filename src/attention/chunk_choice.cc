#include "attention/chunk_choice.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "attention/ranking.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

constexpr double kEpsilon = 1e-6;    // added to sums of weights before they divide
constexpr float kFlat = 1e-6f;       // products closer together are not spread out
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

uint64_t Bits(int count) { return count >= 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1; }

// One query's products.
struct Query {
  const ChunkProducts& table;
  int64_t batch_entry;
  int32_t own;
  const float* products;  // of chunk c: products[c * kLanes]
  uint64_t* ranks;        // [chunks] in their order, then [chunks] to reorder

  float Of(int32_t chunk) const { return products[int64_t{chunk} * kLanes]; }
  bool Sees(int32_t chunk) const { return table.sees(batch_entry, chunk); }
  std::span<uint64_t> reordered() const { return {ranks + table.chunks, static_cast<size_t>(table.chunks)}; }
};

// Chunks that cannot be chosen have this rank, which is the last.
constexpr uint64_t kHidden = 0;
constexpr uint64_t kNothing = ~uint64_t{0};  // a rank that no chunk reaches

// The rank of the last chunk chosen besides the own one.
uint64_t TopCut(const Query& query, int64_t top) {
  const std::span<uint64_t> ranks = query.reordered();
  int64_t others = 0;
  for (int32_t c = 0; c < query.table.chunks; ++c) {
    const bool ranked = c != query.own && query.Sees(c);
    ranks[static_cast<size_t>(c)] = query.ranks[c] = ranked ? RankOf(query.Of(c), static_cast<uint32_t>(c)) : kHidden;
    others += ranked ? 1 : 0;
  }
  const int64_t wanted = std::min(top - 1, others);
  return wanted < 1 ? kNothing : KthRank(ranks, wanted);
}

// The smallest number of leading ranks whose weights reach `least` of `divisor`; `count` when none does.
int64_t LeadingRanks(std::span<uint64_t> ranks, const Weights& weights, double least, double divisor) {
  auto low = ranks.begin(), high = ranks.end();
  double sum = 0;
  while (high - low > 1) {
    const auto middle = low + (high - low) / 2;
    std::nth_element(low, middle, high, std::greater<>());
    double part = 0;
    for (auto at = low; at < middle; ++at) part += weights.Of(ScoreOfRank(*at));
    if ((sum + part) / divisor >= least) {
      high = middle;
    } else {
      sum += part;
      low = middle;
    }
  }
  return high - ranks.begin();
}

// The own chunk counts first and then ranks with weight 0, like the smallest product.
uint64_t ThresholdCut(const Query& query, const ChunkRule& rule) {
  float least = kInfinity, most = -kInfinity;
  for (int32_t c = 0; c < query.table.chunks; ++c) {
    if (!query.Sees(c)) continue;
    least = std::min(least, query.Of(c));
    most = std::max(most, query.Of(c));
  }
  const Weights weights(least, most);
  size_t count = 0;
  double own = 0, others = 0;
  for (int32_t c = 0; c < query.table.chunks; ++c) {
    query.ranks[c] = kHidden;
    if (!query.Sees(c)) continue;
    (c == query.own ? own : others) += weights.Of(query.Of(c));
    query.ranks[c] = RankOf(c == query.own ? least : query.Of(c), static_cast<uint32_t>(c));
    query.reordered()[count++] = query.ranks[c];
  }
  if (count == 0) return kNothing;
  const double divisor = own + others + kEpsilon, needed = std::max(0.0, rule.threshold - own / divisor);
  const std::span<uint64_t> ranks = query.reordered().first(count);
  const bool falls_short = others / divisor < needed;
  if (falls_short && !rule.two_when_short) return kHidden + 1;  // all that are not hidden
  const int64_t chosen =
      falls_short ? std::min<int64_t>(2, static_cast<int64_t>(count)) : LeadingRanks(ranks, weights, needed, divisor);
  return KthRank(ranks, chosen);
}

}  // namespace

int ChunkProducts::lanes(int64_t group) const noexcept {
  return static_cast<int>(std::min<int64_t>(kLanes, positions - group * kLanes));
}

void ChooseForQueries(const ChunkProducts& table, const ChunkRule& rule, int64_t item, const float* products,
                      uint64_t* ranks, uint64_t* words) noexcept {
  const int64_t group = item % table.groups(), batch_entry = item / table.groups() / table.heads;
  std::fill_n(words, table.chunks, uint64_t{0});
  for (int lane = 0; lane < table.lanes(group); ++lane) {
    const Query query{table, batch_entry, table.own[group * kLanes + lane], products + lane, ranks};
    const uint64_t cut = rule.mode == ChunkMode::kTopK ? TopCut(query, rule.top) : ThresholdCut(query, rule);
    for (int32_t c = 0; c < table.chunks; ++c) words[c] |= static_cast<uint64_t>(ranks[c] >= cut) << lane;
    words[query.own] |= uint64_t{1} << lane;
  }
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
      for (int i = 0; i < table.lanes(group); ++i) body(place + i, products[i], own[i] == slab.chunk);
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
    const uint64_t all = Bits(table.lanes(group));
    for (int32_t c = 0; c < table.chunks; ++c) {
      const int64_t chunk = batch_entry * table.chunks + c;
      const Cut& cut = cuts_[static_cast<size_t>(by_chunk ? chunk : by_head ? head : 0)];
      const int64_t slab = by_chunk ? head : by_head ? chunk : chunk * table.heads + head;
      const float* products = table.products + item * table.group_floats() + int64_t{c} * kLanes;
      const int32_t* own = table.own + group * kLanes;
      uint64_t word = 0, mine = 0;
      for (int i = 0; i < table.lanes(group); ++i) {
        const uint64_t order = ScoreOrder(products[i]);
        const int64_t place = slab * table.positions + group * kLanes + i;
        if (order > cut.order || (order == cut.order && place <= cut.last)) word |= uint64_t{1} << i;
        if (own[i] == c) mine |= uint64_t{1} << i;
      }
      if (!table.sees(batch_entry, c)) word = 0;
      words[item * table.chunks + c] = (word | mine) & all;
    }
  });
}

}  // namespace tessera
