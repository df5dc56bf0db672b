// The inner loops of flash attention with transposed scores: queries lie in the lanes, keys (first product) and
// channels (second product) are 32-bit broadcasts. Statistics stay per lane, so no reduction crosses lanes anywhere.
#pragma once
#include <math.h>
#include <stdint.h>

#include "kernels/attention/flash.h"

namespace tessera {
namespace {

constexpr float kRoundShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to whole numbers
constexpr float kLeastExponent = -100.0f;   // smaller powers count as 0, which keeps subnormal numbers out of the loops
constexpr float kNoReference = -3e38f;      // finite, so that hidden scores give exp2(-inf)
constexpr float kMostAhead = 8.0f;          // the reference is raised when a score is ahead of it by more

// 2^t; A::kExp2 holds the polynomial's coefficients.
template <class A>
[[gnu::always_inline]] inline typename A::Lanes::Vector Exp2(typename A::Lanes::Vector t) {
  using Lanes = typename A::Lanes;
  using Vector = typename Lanes::Vector;
  const Vector shifted = Lanes::Add(t, Lanes::Set(kRoundShift));
  const Vector fraction = Lanes::Sub(t, Lanes::Sub(shifted, Lanes::Set(kRoundShift)));
  constexpr int kDegree = sizeof A::kExp2 / sizeof A::kExp2[0] - 1;
  Vector power = Lanes::Set(A::kExp2[kDegree]);
#pragma GCC unroll 8
  for (int i = kDegree - 1; i >= 0; --i) power = Lanes::MulAdd(power, fraction, Lanes::Set(A::kExp2[i]));
  return Lanes::ScaleByPower(power, shifted, t, kLeastExponent);
}

// Bits of the queries that see `key` of the panel.
inline uint64_t QueriesSeeing(const FlashVisit& visit, int key) {
  if ((visit.keys >> key & 1) == 0) return 0;
  const int first = key - visit.diagonal;
  if (first >= kFlashBlock) return 0;
  return first <= 0 ? visit.queries : visit.queries & kAllLanes << first;
}

// Whether a key is hidden from any query, counting only tiles of `rows` keys from the first to the last visible one.
inline bool Hides(const FlashVisit& visit, int rows = kFlashBlock) {
  const int first = __builtin_ctzll(visit.keys) / rows * rows, last = (63 - __builtin_clzll(visit.keys)) / rows * rows;
  const uint64_t computed = kAllLanes >> (kFlashBlock - rows - last + first) << first;
  return visit.keys != computed || visit.queries != kAllLanes || visit.diagonal < kFlashBlock - 1;
}

template <class A>
struct Flash {
  using Lanes = typename A::Lanes;
  using Vector = typename Lanes::Vector;
  using Word = typename A::Word;
  using Operand = typename A::Operand;
  static constexpr int kWidth = Lanes::kWidth;
  static constexpr int kRows = Lanes::kTileRows;
  static constexpr int kPanelPairs = kFlashBlock / A::kPair;  // word rows of a panel of values

  // What a group of visits leaves for the second product: `rows` word rows of probabilities and their values.
  struct Pending {
    const Word* values;
    int rows;
  };
  struct Group {
    Pending pending[kFlashGroupRows * A::kPair / kRows];
    int visits = 0;
    int rows = 0;
  };
  // One tile of kRows keys.
  struct Tile {
    const Word* keys;
    const FlashVisit* visit;  // null: every query sees every key
    int first_key;            // in the panel
    int row;                  // of the probabilities
    const FlashVisit* next;   // to be fetched: `next_tiles` tiles from next_tile on
    int next_tile, next_tiles;
  };

  // Rare: moves the reference of one vector of queries up to a whole number and rescales what was made with the old
  // one.
  [[gnu::noinline, gnu::cold]] static void RaiseReference(const FlashFormat& format, FlashBlock* block, int lane,
                                                          Vector score, int rows) {
    const Vector old_reference = Lanes::Load(block->reference + lane);
    const Vector reference = Lanes::Max(old_reference, Lanes::RoundUp(score));
    const Vector factor = Exp2<A>(Lanes::Sub(old_reference, reference));
    Lanes::Store(block->reference + lane, reference);
    Lanes::Store(block->sum + lane, Lanes::Mul(factor, Lanes::Load(block->sum + lane)));
    Word* probabilities = static_cast<Word*>(block->probabilities) + lane;
    for (int row = 0; row < rows; ++row) A::ScaleProbabilities(probabilities + row * kFlashBlock, factor);
    if (!block->started) return;
    float* output = block->output + lane;
    for (int d = 0; d < format.padded; ++d) {
      Lanes::Store(output + d * kFlashBlock, Lanes::Mul(factor, Lanes::Load(output + d * kFlashBlock)));
    }
  }

  template <int NV>
  [[gnu::always_inline]] static inline void HideScores(const Tile& tile, int lane, Vector (&scores)[kRows][NV]) {
    const Vector hidden = Lanes::Set(-INFINITY);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const uint64_t seen = QueriesSeeing(*tile.visit, tile.first_key + i) >> lane;
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) scores[i][v] = Lanes::Select(seen >> (v * kWidth), scores[i][v], hidden);
    }
  }

  // Scores become probabilities relative to the reference; they are stored and summed per query.
  template <int NV>
  [[gnu::always_inline]] static inline void Soften(const FlashFormat& format, const Tile& tile, FlashBlock* block,
                                                   int lane, Vector (&scores)[kRows][NV]) {
    const Vector scale = Lanes::Set(format.scale_log2);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v, lane += kWidth) {
      Vector most = scores[0][v];
#pragma GCC unroll 16
      for (int i = 1; i < kRows; ++i) most = Lanes::Max(most, scores[i][v]);
      Vector reference = Lanes::Load(block->reference + lane);
      if (__builtin_expect(Lanes::AnyAbove(Lanes::MulSub(most, scale, reference), kMostAhead), 0)) {
        RaiseReference(format, block, lane, Lanes::Mul(most, scale), tile.row);
        reference = Lanes::Load(block->reference + lane);
      }
      Vector sum = Lanes::Load(block->sum + lane);
      Word* to = static_cast<Word*>(block->probabilities) + tile.row * kFlashBlock + lane;
#pragma GCC unroll 16
      for (int i = 0; i < kRows; i += A::kPair) {
        Vector rows[A::kPair];
#pragma GCC unroll 2
        for (int p = 0; p < A::kPair; ++p) {
          rows[p] = Exp2<A>(Lanes::MulSub(scores[i + p][v], scale, reference));
          sum = Lanes::Add(sum, rows[p]);
        }
        A::StoreProbabilities(to + i / A::kPair * kFlashBlock, rows);
      }
      Lanes::Store(block->sum + lane, sum);
    }
  }

  template <int NV, bool kHides>
  [[gnu::always_inline]] static inline void ScoreTile(const FlashFormat& format, const Tile& tile, FlashBlock* block,
                                                      int lane) {
    Vector scores[kRows][NV];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) scores[i][v] = Lanes::Zero();
    }
    const Word* queries = static_cast<const Word*>(block->queries) + lane;
    const int words = format.padded / A::kPair;
#pragma GCC unroll 4
    for (int d = 0; d < words; ++d) {
      MultiplyStep<NV>(tile.keys + d * kRows, queries + d * kFlashBlock, scores);
    }
    if constexpr (kHides) HideScores<NV>(tile, lane, scores);
    Soften<NV>(format, tile, block, lane, scores);
  }

  template <int NV>
  [[gnu::always_inline]] static inline void MultiplyStep(const Word* broadcast, const Word* lanes,
                                                         Vector (&sums)[kRows][NV]) {
    Operand b[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) b[v] = A::LoadOperand(lanes + v * kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const Operand a = A::Broadcast(broadcast + i);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[i][v] = A::Dot(sums[i][v], a, b[v]);
    }
  }

  // Asks for one tile of a visit that comes soon: sparse plans jump between panels, which the hardware does not
  // foresee.
  static void Prefetch(const FlashFormat& format, const FlashVisit& visit, int tile) {
    constexpr int kLine = 64 / sizeof(Word), kTileRows = kRows / A::kPair;
    const int key_words = kRows * (format.padded / A::kPair);
    const Word* keys = static_cast<const Word*>(visit.key_panel) + tile * key_words;
    for (int word = 0; word < key_words; word += kLine) __builtin_prefetch(keys + word, 0, 2);
    const Word* values = static_cast<const Word*>(visit.value_panel) + tile * kTileRows * kRows;
    for (int channel = 0; channel < format.padded; channel += kRows) {
      const Word* rows = values + channel * kPanelPairs;
      for (int word = 0; word < kTileRows * kRows; word += kLine) __builtin_prefetch(rows + word, 0, 2);
    }
  }

  // All tiles of a panel for one pair of vectors before the next: queries stay in the first-level cache.
  template <int NV, bool kHides>
  [[gnu::always_inline]] static inline void ScoreVectors(const FlashFormat& format, const Tile& first, int tiles,
                                                         FlashBlock* block, int vector) {
    const int vectors = (block->count + kWidth - 1) / kWidth;
    const int tile_words = kRows * (format.padded / A::kPair);
    for (; vector + NV <= vectors; vector += NV) {
      Tile tile = first;
      for (int t = 0; t < tiles; ++t) {
        if (vector == 0 && t < first.next_tiles) Prefetch(format, *first.next, first.next_tile + t);
        ScoreTile<NV, kHides>(format, tile, block, vector * kWidth);
        tile.keys += tile_words;
        tile.first_key += kRows;
        tile.row += kRows / A::kPair;
      }
    }
    if constexpr (NV > 1) ScoreVectors<NV - 1, kHides>(format, first, tiles, block, vector);
  }

  // Output of kRows channels from `panel` on: values of the group times its probabilities.
  template <int NV>
  [[gnu::always_inline]] static inline void ValueTile(const Group& group, FlashBlock* block, int channel, int lane) {
    float* output = block->output + channel * kFlashBlock + lane;
    Vector sums[kRows][NV];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) {
        sums[i][v] = block->started ? Lanes::Load(output + i * kFlashBlock + v * kWidth) : Lanes::Zero();
      }
    }
    const Word* probabilities = static_cast<const Word*>(block->probabilities) + lane;
    for (int n = 0; n < group.visits; ++n) {
      const Word* values = group.pending[n].values + channel * kPanelPairs;
      const int rows = group.pending[n].rows;
#pragma GCC unroll 4
      for (int j = 0; j < rows; ++j) MultiplyStep<NV>(values + j * kRows, probabilities + j * kFlashBlock, sums);
      probabilities += rows * kFlashBlock;
    }
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) Lanes::Store(output + i * kFlashBlock + v * kWidth, sums[i][v]);
    }
  }

  template <int NV>
  [[gnu::always_inline]] static inline void ValueVectors(const Group& group, FlashBlock* block, int channel,
                                                         int vector) {
    const int vectors = (block->count + kWidth - 1) / kWidth;
    for (; vector + NV <= vectors; vector += NV) ValueTile<NV>(group, block, channel, vector * kWidth);
    if constexpr (NV > 1) ValueVectors<NV - 1>(group, block, channel, vector);
  }

  static void AddValues(const FlashFormat& format, FlashBlock* block, Group* group) {
    if (group->visits == 0) return;
    for (int channel = 0; channel < format.padded; channel += kRows) {
      ValueVectors<Lanes::kTileVectors>(*group, block, channel, 0);
    }
    block->started = true;
    group->visits = group->rows = 0;
  }

  static int FirstTile(const FlashVisit& visit) { return __builtin_ctzll(visit.keys) / kRows; }
  static int EndTile(const FlashVisit& visit) { return (63 - __builtin_clzll(visit.keys)) / kRows + 1; }

  // Scores the tiles of a panel that are seen and queues them for AddValues.
  template <bool kHides>
  static void ScorePanel(const FlashFormat& format, const FlashVisit& visit, const FlashVisit* next, FlashBlock* block,
                         Group* group) {
    const int first = FirstTile(visit), end = EndTile(visit);
    const int tile_words = kRows * (format.padded / A::kPair);
    const Word* keys = static_cast<const Word*>(visit.key_panel);
    const bool fetches = next != nullptr && next->keys != 0;
    const Tile tile{keys + first * tile_words,
                    &visit,
                    first * kRows,
                    group->rows,
                    next,
                    fetches ? FirstTile(*next) : 0,
                    fetches ? EndTile(*next) - FirstTile(*next) : 0};
    ScoreVectors<Lanes::kTileVectors, kHides>(format, tile, end - first, block, 0);
    const int rows = (end - first) * (kRows / A::kPair);
    const Word* values = static_cast<const Word*>(visit.value_panel) + first * kRows / A::kPair * kRows;
    group->pending[group->visits++] = {values, rows};
    group->rows += rows;
  }

  static void Attend(const FlashFormat& format, const FlashVisit* visits, int count, FlashBlock* block) {
    Group group;
    for (const FlashVisit* visit = visits; visit != visits + count; ++visit) {
      if (visit->keys == 0) continue;
      const FlashVisit* const next = visit + 1 == visits + count ? nullptr : visit + 1;
      if (Hides(*visit, kRows)) {
        ScorePanel<true>(format, *visit, next, block, &group);
      } else {
        ScorePanel<false>(format, *visit, next, block, &group);
      }
      if (group.rows > kFlashGroupRows - kPanelPairs) AddValues(format, block, &group);
    }
    AddValues(format, block, &group);
  }
};

}  // namespace
}  // namespace tessera
