// The inner loops of SageAttention with transposed scores, as in flash_attend-inl.h: queries lie in the lanes. A group
// of panels is scored first; its largest scores fix the reference, then probabilities are made and multiplied by
// values.
#pragma once
#include <math.h>
#include <stdint.h>

#include "kernels/attention/flash_attend-inl.h"
#include "kernels/attention/sage_recipes-inl.h"

namespace tessera {
namespace {

// C: how codes are stored and multiplied. R: the recipe of probabilities and values. kKeyScales: 1 when a panel of keys
// has one scale, else kSageKeyScales.
template <class C, class R, int kKeyScales>
struct Sage {
  using Lanes = typename C::Lanes;
  using Vector = typename Lanes::Vector;
  using Word = typename C::Word;
  using ValueOperands = typename R::Operands;
  using ValueWord = typename ValueOperands::Word;
  static constexpr int kWidth = Lanes::kWidth;
  static constexpr int kRows = Lanes::kTileRows;
  static constexpr int kPair = ValueOperands::kPair;
  static constexpr int kQuad = 4;                          // keys exponentiated at a time
  static constexpr int kPanelWords = kFlashBlock / kPair;  // word rows of a panel of values
  static_assert(kRows % kQuad == 0 && kQuad % kPair == 0);

  // Keys [first, first + keys) of a panel; their scores start at row `row` of the group.
  struct Pending {
    const FlashVisit* visit;
    const float* scales;
    int first, keys, row;
    bool hides;
  };
  struct Group {
    alignas(64) float most[kFlashBlock];        // largest score, without the query's scale
    alignas(64) float offset[kFlashBlock];      // log2 of what a probability of 1 stands for
    alignas(64) float old_factor[kFlashBlock];  // for what earlier groups left
    alignas(64) float new_factor[kFlashBlock];  // for what this group adds
    alignas(64) float sum[kFlashBlock];         // of probabilities
    Pending pending[R::kGroupPanels];
    int panels = 0;
    int keys = 0;
    float taint = 0;  // NaN when a scale is not finite, so that broken keys show
  };

  static const float* KeyScales(const SageFormat& format, const FlashVisit& visit) {
    return reinterpret_cast<const float*>(KeyStarts(format, visit) + kFlashBlock);
  }
  static const int32_t* KeyStarts(const SageFormat& format, const FlashVisit& visit) {
    const Word* keys = static_cast<const Word*>(visit.key_panel);
    return reinterpret_cast<const int32_t*>(keys + kFlashBlock * (format.rows.padded / C::kPair));
  }

  template <class Operands, int NV>
  [[gnu::always_inline]] static inline void MultiplyStep(const typename Operands::Word* broadcast,
                                                         const typename Operands::Word* lanes,
                                                         typename Operands::Sum (&sums)[kRows][NV]) {
    typename Operands::Operand b[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) b[v] = Operands::LoadOperand(lanes + v * kWidth);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      const auto a = Operands::Broadcast(broadcast + i);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[i][v] = Operands::Dot(sums[i][v], a, b[v]);
    }
  }

  // Stores the scores of kRows keys and keeps the largest.
  template <int NV, bool kHides>
  [[gnu::always_inline]] static inline void ScoreTile(const SageFormat& format, const Pending& pending, int tile,
                                                      SageBlock* block, Group* group, int lane) {
    const int first_key = pending.first + tile * kRows;
    const int words = format.rows.padded / C::kPair;
    const Word* keys = static_cast<const Word*>(pending.visit->key_panel) + first_key * words;
    const Word* queries = static_cast<const Word*>(block->flash.queries) + lane;
    const int32_t* starts = KeyStarts(format, *pending.visit) + first_key;
    typename C::Sum sums[kRows][NV];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[i][v] = C::Start(starts + i);
    }
#pragma GCC unroll 4
    for (int d = 0; d < words; ++d) MultiplyStep<C, NV>(keys + d * kRows, queries + d * kFlashBlock, sums);
    float* to = block->scores + (pending.row + tile * kRows) * kFlashBlock + lane;
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) {
      Vector scores[kRows];
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        scores[i] = C::ToFloat(sums[i][v]);
        Lanes::Store(to + i * kFlashBlock + v * kWidth, scores[i]);
      }
      if constexpr (kHides) HideScores(pending, first_key, lane + v * kWidth, scores);
      float* most = group->most + lane + v * kWidth;
      Lanes::Store(most, Lanes::Max(Lanes::Load(most), LargestScore(pending, first_key, scores)));
    }
  }

  [[gnu::always_inline]] static inline void HideScores(const Pending& pending, int first_key, int lane,
                                                       Vector (&scores)[kRows]) {
    const Vector hidden = Lanes::Set(-INFINITY);
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
      scores[i] = Lanes::Select(QueriesSeeing(*pending.visit, first_key + i) >> lane, scores[i], hidden);
    }
  }

  [[gnu::always_inline]] static inline Vector LargestScore(const Pending& pending, int first_key,
                                                           const Vector (&scores)[kRows]) {
    constexpr int kRun = kKeyScales == 1 ? kRows : 2;  // neighbours with one scale
    Vector most = Lanes::Zero();
#pragma GCC unroll 16
    for (int i = 0; i < kRows; i += kRun) {
      Vector run = scores[i];
#pragma GCC unroll 16
      for (int j = 1; j < kRun; ++j) run = Lanes::Max(run, scores[i + j]);
      run = Lanes::Mul(run, Lanes::Set(ScaleOf(pending, first_key + i)));
      most = i == 0 ? run : Lanes::Max(most, run);
    }
    return most;
  }

  static float ScaleOf(const Pending& pending, int key) { return pending.scales[kKeyScales == 1 ? 0 : key % 8 / 2]; }

  template <int NV, bool kHides>
  [[gnu::always_inline]] static inline void ScoreVectors(const SageFormat& format, const Pending& pending, int tile,
                                                         SageBlock* block, Group* group, int vector) {
    const int vectors = Vectors(*block);
    for (; vector + NV <= vectors; vector += NV) {
      ScoreTile<NV, kHides>(format, pending, tile, block, group, vector * kWidth);
    }
    if constexpr (NV > 1) ScoreVectors<NV - 1, kHides>(format, pending, tile, block, group, vector);
  }

  static int Vectors(const SageBlock& block) { return (block.flash.count + kWidth - 1) / kWidth; }

  template <bool kHides>
  static void ScorePanel(const SageFormat& format, const Pending& pending, SageBlock* block, Group* group) {
    for (int tile = 0; tile * kRows < pending.keys; ++tile) {
      ScoreVectors<Lanes::kTileVectors, kHides>(format, pending, tile, block, group, 0);
    }
  }

  static void AddPanel(const SageFormat& format, const FlashVisit& visit, SageBlock* block, Group* group) {
    const int first = __builtin_ctzll(visit.keys) / kRows * kRows;
    const int end = ((63 - __builtin_clzll(visit.keys)) / kRows + 1) * kRows;
    const Pending pending{&visit, KeyScales(format, visit), first, end - first, group->keys, Hides(visit, kRows)};
    for (int i = 0; i < kKeyScales; ++i) group->taint += 0 * pending.scales[i];
    if (pending.hides) {
      ScorePanel<true>(format, pending, block, group);
    } else {
      ScorePanel<false>(format, pending, block, group);
    }
    group->pending[group->panels++] = pending;
    group->keys += pending.keys;
  }

  // The group's references and the factors that bring old and new results to the same one.
  static void SetReferences(SageBlock* block, Group* group) {
    for (int lane = 0; lane < Vectors(*block) * kWidth; lane += kWidth) {
      const Vector most = Lanes::Mul(Lanes::Load(group->most + lane), Lanes::Load(block->query_scale + lane));
      const Vector shown = Lanes::Max(Lanes::Set(kNoReference), Lanes::Sub(most, Lanes::Set(R::kTop)));
      const Vector offset = Lanes::Add(shown, Lanes::Set(group->taint));
      const Vector old_reference = Lanes::Load(block->flash.reference + lane);
      const Vector reference = Lanes::Max(old_reference, offset);
      const Vector new_factor =
          R::kOwnReference ? Exp2<F32Operands<Lanes>>(Lanes::Sub(offset, reference)) : Lanes::Set(1);
      Lanes::Store(group->offset + lane, R::kOwnReference ? offset : reference);
      Lanes::Store(group->old_factor + lane, Exp2<F32Operands<Lanes>>(Lanes::Sub(old_reference, reference)));
      Lanes::Store(group->new_factor + lane, new_factor);
      Lanes::Store(block->flash.reference + lane, reference);
      Lanes::Store(group->sum + lane, Lanes::Zero());
    }
  }

  template <bool kHides>
  static void ExponentiatePanel(const Pending& pending, SageBlock* block, Group* group) {
    for (int lane = 0; lane < Vectors(*block) * kWidth; lane += kWidth) {
      const Vector query_scale = Lanes::Load(block->query_scale + lane), offset = Lanes::Load(group->offset + lane);
      Vector scales[kKeyScales];
      for (int i = 0; i < kKeyScales; ++i) scales[i] = Lanes::Mul(query_scale, Lanes::Set(pending.scales[i]));
      const float* scores = block->scores + pending.row * kFlashBlock + lane;
      ValueWord* to = static_cast<ValueWord*>(block->flash.probabilities) + pending.row / kPair * kFlashBlock + lane;
      typename ValueOperands::Sum sum = ValueOperands::ZeroSum();
#pragma GCC unroll 2
      for (int key = 0; key < pending.keys; key += kQuad) {
        Vector rows[kQuad];
#pragma GCC unroll 4
        for (int i = 0; i < kQuad; ++i) {
          const Vector scale = scales[kKeyScales == 1 ? 0 : (pending.first + key + i) % 8 / 2];
          rows[i] = Exp2<R>(Lanes::MulSub(Lanes::Load(scores + (key + i) * kFlashBlock), scale, offset));
          if constexpr (kHides) {
            const uint64_t seen = QueriesSeeing(*pending.visit, pending.first + key + i) >> lane;
            rows[i] = Lanes::Select(seen, rows[i], Lanes::Zero());
          }
        }
#pragma GCC unroll 4
        for (int i = 0; i < kQuad; i += kPair) {
          sum = R::StoreProbabilities(to + (key + i) / kPair * kFlashBlock, rows + i, sum);
        }
      }
      Lanes::Store(group->sum + lane, Lanes::Add(Lanes::Load(group->sum + lane), ValueOperands::ToFloat(sum)));
    }
  }

  // Output of kRows channels from `channel` on.
  template <int NV>
  [[gnu::always_inline]] static inline void ValueTile(const Group& group, SageBlock* block, int channel, int lane) {
    typename ValueOperands::Sum sums[kRows][NV];
#pragma GCC unroll 16
    for (int i = 0; i < kRows; ++i) {
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sums[i][v] = ValueOperands::ZeroSum();
    }
    const ValueWord* probabilities = static_cast<const ValueWord*>(block->flash.probabilities) + lane;
    for (int n = 0; n < group.panels; ++n) {
      const Pending& pending = group.pending[n];
      const ValueWord* values = static_cast<const ValueWord*>(pending.visit->value_panel) + channel * kPanelWords +
                                pending.first / kPair * kRows;
      const int rows = pending.keys / kPair;
      for (int begin = 0; begin < rows; begin += R::kRowsPerRounding) {
        const int end = rows < begin + R::kRowsPerRounding ? rows : begin + R::kRowsPerRounding;
#pragma GCC unroll 4
        for (int j = begin; j < end; ++j) {
          MultiplyStep<ValueOperands, NV>(values + j * kRows, probabilities + j * kFlashBlock, sums);
        }
        if constexpr (R::kRoundsSums) RoundSums<NV>(sums);
      }
      probabilities += rows * kFlashBlock;
    }
    AddToOutput<NV>(group, block, channel, lane, sums);
  }

  template <int NV>
  static void RoundSums(Vector (&sums)[kRows][NV]) {
    for (int i = 0; i < kRows; ++i) {
      for (int v = 0; v < NV; ++v) {
        uint16_t halves[kWidth];
        Lanes::NarrowF16(halves, sums[i][v]);
        sums[i][v] = Lanes::WidenF16(halves);
      }
    }
  }

  template <int NV>
  [[gnu::always_inline]] static inline void AddToOutput(const Group& group, SageBlock* block, int channel, int lane,
                                                        const typename ValueOperands::Sum (&sums)[kRows][NV]) {
    const bool started = block->flash.started;
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v, lane += kWidth) {
      const Vector old_factor = Lanes::Load(group.old_factor + lane), new_factor = Lanes::Load(group.new_factor + lane);
#pragma GCC unroll 16
      for (int i = 0; i < kRows; ++i) {
        float* output = block->flash.output + (channel + i) * kFlashBlock + lane;
        Vector sum = Lanes::Mul(ValueOperands::ToFloat(sums[i][v]), new_factor);
        if (started) sum = Lanes::MulAdd(Lanes::Load(output), old_factor, sum);
        Lanes::Store(output, sum);
      }
    }
  }

  template <int NV>
  [[gnu::always_inline]] static inline void ValueVectors(const Group& group, SageBlock* block, int channel,
                                                         int vector) {
    const int vectors = Vectors(*block);
    for (; vector + NV <= vectors; vector += NV) ValueTile<NV>(group, block, channel, vector * kWidth);
    if constexpr (NV > 1) ValueVectors<NV - 1>(group, block, channel, vector);
  }

  static void FinishGroup(const SageFormat& format, SageBlock* block, Group* group) {
    if (group->panels == 0) return;
    SetReferences(block, group);
    for (int n = 0; n < group->panels; ++n) {
      if (group->pending[n].hides) {
        ExponentiatePanel<true>(group->pending[n], block, group);
      } else {
        ExponentiatePanel<false>(group->pending[n], block, group);
      }
    }
    for (int channel = 0; channel < format.rows.padded; channel += kRows) {
      ValueVectors<Lanes::kTileVectors>(*group, block, channel, 0);
    }
    AddSums(block, *group);
    block->flash.started = true;
  }

  static void AddSums(SageBlock* block, const Group& group) {
    for (int lane = 0; lane < Vectors(*block) * kWidth; lane += kWidth) {
      float* sum = block->flash.sum + lane;
      const Vector old_sum = Lanes::Mul(Lanes::Load(sum), Lanes::Load(group.old_factor + lane));
      Lanes::Store(sum, Lanes::MulAdd(Lanes::Load(group.sum + lane), Lanes::Load(group.new_factor + lane), old_sum));
    }
  }

  static void StartGroup(Group* group) {
    for (int lane = 0; lane < kFlashBlock; lane += kWidth) Lanes::Store(group->most + lane, Lanes::Set(-INFINITY));
    group->panels = group->keys = 0;
    group->taint = 0;
  }

  static void Attend(const SageFormat& format, const FlashVisit* visits, int count, SageBlock* block) {
    Group group;
    StartGroup(&group);
    for (const FlashVisit* visit = visits; visit != visits + count; ++visit) {
      if (visit->keys == 0) continue;
      AddPanel(format, *visit, block, &group);
      if (group.panels < R::kGroupPanels) continue;
      FinishGroup(format, block, &group);
      StartGroup(&group);
    }
    FinishGroup(format, block, &group);
  }
};

}  // namespace
}  // namespace tessera
