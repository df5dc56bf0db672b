// The inner loops of NVFP4 attention with transposed scores, as in flash_attend-inl.h: queries lie in the lanes. A
// group of panels is scored first; its largest scores move the reference, then probabilities are rounded and multiplied
// by values.
#pragma once
#include <math.h>
#include <stdint.h>

#include "kernels/attention/flash_attend-inl.h"
#include "kernels/attention/nvfp4_round-inl.h"

namespace tessera {
namespace {

template <class A>
struct Nvfp4 {
  using Lanes = typename A::Lanes;
  using Vector = typename Lanes::Vector;
  using Word = typename A::Word;
  using Operand = typename A::Operand;
  static constexpr int kWidth = Lanes::kWidth;
  static constexpr int kRows = Lanes::kTileRows;
  static constexpr int kPair = A::kPair;
  static constexpr int kPanelWords = kFlashBlock / kPair;  // word rows of a panel of values
  static_assert(kNvfp4Group % kRows == 0 && kNvfp4Group % kWidth == 0);

  // Keys [first, first + keys) of a panel, whole groups of 16; their scores start at row `row`.
  struct Pending {
    const FlashVisit* visit;
    int first, keys, row;
    bool hides;
  };
  struct Group {
    alignas(64) float most[kFlashBlock];        // largest score
    alignas(64) float old_factor[kFlashBlock];  // for what earlier groups left
    Pending pending[kNvfp4GroupPanels];
    int panels = 0;
    int keys = 0;
  };

  static int Vectors(const Nvfp4Block& block) { return (block.flash.count + kWidth - 1) / kWidth; }
  static int Words(const Nvfp4Format& format) { return format.rows.padded / kPair; }

  // The queries' mean times the keys before their rounding.
  static void ScoreMean(const Nvfp4Format& format, const Pending& pending, Nvfp4Block* block) {
    constexpr int kVectors = kFlashBlock / kWidth;
    const Word* panel = static_cast<const Word*>(pending.visit->key_panel);
    const float* keys = reinterpret_cast<const float*>(panel + kFlashBlock * Words(format));
    Vector sums[kVectors];
    for (int v = 0; v < kVectors; ++v) sums[v] = Lanes::Zero();
    for (int d = 0; d < format.rows.padded; ++d) {
      const Vector mean = Lanes::Set(block->query_mean[d]);
      for (int v = 0; v < kVectors; ++v) {
        sums[v] = Lanes::MulAdd(mean, Lanes::Load(keys + d * kFlashBlock + v * kWidth), sums[v]);
      }
    }
    alignas(64) float scores[kFlashBlock];
    for (int v = 0; v < kVectors; ++v) Lanes::Store(scores + v * kWidth, sums[v]);
    for (int j = 0; j < pending.keys; ++j) block->mean_scores[pending.row + j] = scores[pending.first + j];
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

  // Stores the scores of kRows keys and keeps the largest.
  template <int NV, bool kHides>
  [[gnu::always_inline]] static inline void ScoreTile(const Nvfp4Format& format, const Pending& pending, int tile,
                                                      Nvfp4Block* block, Group* group, int lane) {
    const int first_key = pending.first + tile * kRows, row = pending.row + tile * kRows, words = Words(format);
    const Word* keys = static_cast<const Word*>(pending.visit->key_panel) + first_key * words;
    const Word* queries = static_cast<const Word*>(block->flash.queries) + lane;
    Vector sums[kRows][NV];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[i][v] = Lanes::Set(block->mean_scores[row + i]);
    }
#pragma GCC unroll 4
    for (int d = 0; d < words; ++d) MultiplyStep<NV>(keys + d * kRows, queries + d * kFlashBlock, sums);
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v, lane += kWidth) {
      Vector most = Lanes::Load(group->most + lane);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        Lanes::Store(block->scores + (row + i) * kFlashBlock + lane, sums[i][v]);
        Vector shown = sums[i][v];
        if constexpr (kHides) {
          const uint64_t seen = QueriesSeeing(*pending.visit, first_key + i) >> lane;
          shown = Lanes::Select(seen, shown, Lanes::Set(-INFINITY));
        }
        most = Lanes::Max(most, shown);
      }
      Lanes::Store(group->most + lane, most);
    }
  }

  template <int NV, bool kHides>
  [[gnu::always_inline]] static inline void ScoreVectors(const Nvfp4Format& format, const Pending& pending, int tile,
                                                         Nvfp4Block* block, Group* group, int vector) {
    const int vectors = Vectors(*block);
    for (; vector + NV <= vectors; vector += NV) {
      ScoreTile<NV, kHides>(format, pending, tile, block, group, vector * kWidth);
    }
    if constexpr (NV > 1) ScoreVectors<NV - 1, kHides>(format, pending, tile, block, group, vector);
  }

  template <bool kHides>
  static void ScorePanel(const Nvfp4Format& format, const Pending& pending, Nvfp4Block* block, Group* group) {
    for (int tile = 0; tile * kRows < pending.keys; ++tile) {
      ScoreVectors<Lanes::kTileVectors, kHides>(format, pending, tile, block, group, 0);
    }
  }

  static void AddPanel(const Nvfp4Format& format, const FlashVisit& visit, Nvfp4Block* block, Group* group) {
    const int first = __builtin_ctzll(visit.keys) / kNvfp4Group * kNvfp4Group;
    const int end = ((63 - __builtin_clzll(visit.keys)) / kNvfp4Group + 1) * kNvfp4Group;
    const Pending pending{&visit, first, end - first, group->keys, Hides(visit)};
    ScoreMean(format, pending, block);
    if (pending.hides) {
      ScorePanel<true>(format, pending, block, group);
    } else {
      ScorePanel<false>(format, pending, block, group);
    }
    group->pending[group->panels++] = pending;
    group->keys += pending.keys;
  }

  // The reference is what the largest score so far has, less what its probability stretches to.
  static void MoveReferences(const Nvfp4Format& format, Nvfp4Block* block, Group* group) {
    for (int lane = 0; lane < Vectors(*block) * kWidth; lane += kWidth) {
      const Vector most = Lanes::Mul(Lanes::Load(group->most + lane), Lanes::Set(format.rows.scale_log2));
      const Vector old_reference = Lanes::Load(block->flash.reference + lane);
      const Vector reference = Lanes::Max(old_reference, Lanes::Sub(most, Lanes::Set(kNvfp4Log2Top)));
      const Vector factor = Exp2<F32Operands<Lanes>>(Lanes::Sub(old_reference, reference));
      Lanes::Store(group->old_factor + lane, factor);
      Lanes::Store(block->flash.reference + lane, reference);
      Lanes::Store(block->flash.sum + lane, Lanes::Mul(factor, Lanes::Load(block->flash.sum + lane)));
    }
  }

  // Probabilities of 16 keys from row `row` on, rounded; returns what they add to the sum.
  template <bool kHides>
  [[gnu::always_inline]] static inline Vector RoundSixteen(const Nvfp4Format& format, const Pending& pending, int key,
                                                           Nvfp4Block* block, int lane) {
    const Vector scale = Lanes::Set(format.rows.scale_log2), reference = Lanes::Load(block->flash.reference + lane);
    const int row = pending.row + key;
    const float* scores = block->scores + row * kFlashBlock + lane;
    Word* to = static_cast<Word*>(block->flash.probabilities) + row / kPair * kFlashBlock + lane;
    Vector rows[kNvfp4Group], sum = Lanes::Zero(), rounded_sum = Lanes::Zero();
#pragma GCC unroll 16
    for (int i = 0; i < kNvfp4Group; ++i) {
      rows[i] = Exp2<F32Operands<Lanes>>(Lanes::MulSub(Lanes::Load(scores + i * kFlashBlock), scale, reference));
      if constexpr (kHides) {
        const uint64_t seen = QueriesSeeing(*pending.visit, pending.first + key + i) >> lane;
        rows[i] = Lanes::Select(seen, rows[i], Lanes::Zero());
      }
      sum = Lanes::Add(sum, rows[i]);
    }
    Nvfp4Round<Lanes>::Probabilities(format, rows);
#pragma GCC unroll 16
    for (int i = 0; i < kNvfp4Group; ++i) rounded_sum = Lanes::Add(rounded_sum, rows[i]);
#pragma GCC unroll 16
    for (int i = 0; i < kNvfp4Group; i += kPair) A::StoreProbabilities(to + i / kPair * kFlashBlock, rows + i);
    return format.sum_quantized ? rounded_sum : sum;
  }

  template <bool kHides>
  static void RoundPanel(const Nvfp4Format& format, const Pending& pending, Nvfp4Block* block) {
    for (int lane = 0; lane < Vectors(*block) * kWidth; lane += kWidth) {
      Vector sum = Lanes::Load(block->flash.sum + lane);
      for (int key = 0; key < pending.keys; key += kNvfp4Group) {
        sum = Lanes::Add(sum, RoundSixteen<kHides>(format, pending, key, block, lane));
      }
      Lanes::Store(block->flash.sum + lane, sum);
    }
  }

  // Output of kRows channels from `channel` on.
  template <int NV>
  [[gnu::always_inline]] static inline void ValueTile(const Group& group, Nvfp4Block* block, int channel, int lane) {
    float* output = block->flash.output + channel * kFlashBlock + lane;
    Vector sums[kRows][NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      const Vector factor = Lanes::Load(group.old_factor + lane + v * kWidth);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        const float* from = output + i * kFlashBlock + v * kWidth;
        sums[i][v] = block->flash.started ? Lanes::Mul(factor, Lanes::Load(from)) : Lanes::Zero();
      }
    }
    const Word* probabilities = static_cast<const Word*>(block->flash.probabilities) + lane;
    for (int n = 0; n < group.panels; ++n) {
      const Pending& pending = group.pending[n];
      const Word* values =
          static_cast<const Word*>(pending.visit->value_panel) + channel * kPanelWords + pending.first / kPair * kRows;
      const int rows = pending.keys / kPair;
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
  [[gnu::always_inline]] static inline void ValueVectors(const Group& group, Nvfp4Block* block, int channel,
                                                         int vector) {
    const int vectors = Vectors(*block);
    for (; vector + NV <= vectors; vector += NV) ValueTile<NV>(group, block, channel, vector * kWidth);
    if constexpr (NV > 1) ValueVectors<NV - 1>(group, block, channel, vector);
  }

  static void FinishGroup(const Nvfp4Format& format, Nvfp4Block* block, Group* group) {
    if (group->panels == 0) return;
    MoveReferences(format, block, group);
    for (int n = 0; n < group->panels; ++n) {
      if (group->pending[n].hides) {
        RoundPanel<true>(format, group->pending[n], block);
      } else {
        RoundPanel<false>(format, group->pending[n], block);
      }
    }
    for (int channel = 0; channel < format.rows.padded; channel += kRows) {
      ValueVectors<Lanes::kTileVectors>(*group, block, channel, 0);
    }
    block->flash.started = true;
  }

  static void StartGroup(Group* group) {
    for (int lane = 0; lane < kFlashBlock; lane += kWidth) Lanes::Store(group->most + lane, Lanes::Set(-INFINITY));
    group->panels = group->keys = 0;
  }

  static void Attend(const Nvfp4Format& format, const FlashVisit* visits, int count, Nvfp4Block* block) {
    Group group;
    StartGroup(&group);
    for (const FlashVisit* visit = visits; visit != visits + count; ++visit) {
      if (visit->keys == 0) continue;
      AddPanel(format, *visit, block, &group);
      if (group.panels < kNvfp4GroupPanels) continue;
      FinishGroup(format, block, &group);
      StartGroup(&group);
    }
    FinishGroup(format, block, &group);
  }
};

}  // namespace
}  // namespace tessera
