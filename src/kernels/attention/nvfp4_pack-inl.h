// Packing of queries, keys and values as NVFP4 numbers into the layouts of flash_attend-inl.h, and the exported table.
#pragma once
#include <string.h>

#include "kernels/attention/flash_operands_f32-inl.h"
#include "kernels/attention/flash_pack-inl.h"
#include "kernels/attention/nvfp4_attend-inl.h"

namespace tessera {
namespace {

template <class A>
struct Nvfp4Packing {
  using Lanes = typename A::Lanes;
  using Vector = typename Lanes::Vector;
  using Word = typename A::Word;
  using Rows = FlashPacking<F32Operands<Lanes>>;
  static constexpr int kWidth = Lanes::kWidth;
  static constexpr int kRows = Lanes::kTileRows;
  static constexpr int kPair = A::kPair;
  static constexpr int kGroupWords = kNvfp4Group / kPair;

  template <class Element>
  static int AddRows(const Nvfp4Format& format, const FlashRows& rows, float* sums) {
    int count = 0;
    for (const void* row : rows.row) {
      if (row == nullptr) continue;
      ++count;
      for (int channel = 0; channel < format.rows.padded; channel += kWidth) {
        const Vector x = Rows::template RowWords<Element>(format.rows, row, channel);
        Lanes::Store(sums + channel, Lanes::Add(Lanes::Load(sums + channel), x));
      }
    }
    return count;
  }

  // columns[i]: channel `channel + i` of kWidth rows, less its mean; a missing row is zero.
  template <class Element>
  static void Columns(const Nvfp4Format& format, const void* const* rows, const float* mean, int channel,
                      Vector (&columns)[kNvfp4Group]) {
    for (int part = 0; part < kNvfp4Group; part += kWidth) {
      Vector square[kWidth];
      for (int i = 0; i < kWidth; ++i) {
        const Vector x = Rows::template RowWords<Element>(format.rows, rows[i], channel + part);
        square[i] = rows[i] == nullptr ? x : Lanes::Sub(x, Lanes::Load(mean + channel + part));
      }
      Lanes::Transpose(square);
      for (int i = 0; i < kWidth; ++i) columns[part + i] = square[i];
    }
  }

  // A vector of words as runs of kRows words, `stride` words apart.
  static void StoreRuns(Word* to, int stride, const Vector* vectors) {
    alignas(64) Word words[kWidth];
    A::StoreProbabilities(words, vectors);
    for (int n = 0; n < kWidth / kRows; ++n) memcpy(to + n * stride, words + n * kRows, kRows * sizeof(Word));
  }

  template <class Element>
  static void PackKeys(const Nvfp4Format& format, const FlashRows& rows, const float* key_mean, void* panel) {
    const int words = format.rows.padded / kPair;
    Word* const tiles = static_cast<Word*>(panel);
    float* const plain = reinterpret_cast<float*>(tiles + kFlashBlock * words);
    for (int key = 0; key < kFlashBlock; key += kWidth) {
      for (int channel = 0; channel < format.rows.padded; channel += kNvfp4Group) {
        Vector columns[kNvfp4Group];
        Columns<Element>(format, rows.row + key, key_mean, channel, columns);
        for (int i = 0; i < kNvfp4Group; ++i) Lanes::Store(plain + (channel + i) * kFlashBlock + key, columns[i]);
        Nvfp4Round<Lanes>::Numbers(columns);
        Word* const to = tiles + key * words + channel / kPair * kRows;
        for (int i = 0; i < kGroupWords; ++i) StoreRuns(to + i * kRows, words * kRows, columns + i * kPair);
      }
    }
  }

  template <class Element>
  static void PackValues(const Nvfp4Format& format, const FlashRows& rows, void* panel) {
    constexpr int kPanelWords = kFlashBlock / kPair;
    for (int channel = 0; channel < format.rows.padded; channel += kWidth) {
      for (int key = 0; key < kFlashBlock; key += kNvfp4Group) {
        Vector values[kNvfp4Group];
        for (int i = 0; i < kNvfp4Group; ++i) {
          values[i] = Rows::template RowWords<Element>(format.rows, rows.row[key + i], channel);
        }
        Nvfp4Round<Lanes>::Numbers(values);
        Word* const to = static_cast<Word*>(panel) + channel * kPanelWords + key / kPair * kRows;
        for (int i = 0; i < kGroupWords; ++i) StoreRuns(to + i * kRows, kPanelWords * kRows, values + i * kPair);
      }
    }
  }

  template <class Element>
  static void PackQueries(const Nvfp4Format& format, const FlashRows& rows, const float* key_mean, Nvfp4Block* block) {
    for (int lane = 0; lane < block->flash.count; lane += kWidth) {
      Word* const to = static_cast<Word*>(block->flash.queries) + lane;
      for (int channel = 0; channel < format.rows.padded; channel += kNvfp4Group) {
        Vector columns[kNvfp4Group];
        Columns<Element>(format, rows.row + lane, block->query_mean, channel, columns);
        Nvfp4Round<Lanes>::Numbers(columns);
        for (int i = 0; i < kGroupWords; ++i) {
          A::StoreProbabilities(to + (channel / kPair + i) * kFlashBlock, columns + i * kPair);
        }
      }
      Lanes::Store(block->flash.reference + lane, Lanes::Set(kNoReference));
      Lanes::Store(block->flash.sum + lane, Lanes::Zero());
    }
    for (int i = 0; i < block->flash.count; ++i) {
      block->mean_score[i] = format.rows.scale_log2 * MeanScore<Element>(format, rows.row[i], key_mean);
    }
    block->flash.started = false;
  }

  template <class Element>
  static float MeanScore(const Nvfp4Format& format, const void* row, const float* mean) {
    Vector sum = Lanes::Zero();
    for (int channel = 0; channel < format.rows.padded; channel += kWidth) {
      const Vector x = Rows::template RowWords<Element>(format.rows, row, channel);
      sum = Lanes::MulAdd(x, Lanes::Load(mean + channel), sum);
    }
    alignas(64) float sums[kWidth];
    Lanes::Store(sums, sum);
    float total = 0;
    for (int i = 0; i < kWidth; ++i) total += sums[i];
    return total;
  }
};

// The exported table.
template <class A, FlashArithmetic kArithmetic>
struct Nvfp4Table {
  using Packing = Nvfp4Packing<A>;

  static int AddRows(const Nvfp4Format& format, const FlashRows& rows, float* sums) {
    int count = 0;
    ForElement(format.rows, [&](auto x) { count = Packing::template AddRows<decltype(x)>(format, rows, sums); });
    return count;
  }
  static void PackKeys(const Nvfp4Format& format, const FlashRows& rows, const float* key_mean, void* panel) {
    ForElement(format.rows, [&](auto x) { Packing::template PackKeys<decltype(x)>(format, rows, key_mean, panel); });
  }
  static void PackValues(const Nvfp4Format& format, const FlashRows& rows, void* panel) {
    ForElement(format.rows, [&](auto x) { Packing::template PackValues<decltype(x)>(format, rows, panel); });
  }
  static void PackQueries(const Nvfp4Format& format, const FlashRows& rows, const float* key_mean, Nvfp4Block* block) {
    ForElement(format.rows, [&](auto x) { Packing::template PackQueries<decltype(x)>(format, rows, key_mean, block); });
  }
  static void Finish(const Nvfp4Format& format, const Nvfp4Block& block, void* const* rows) {
    ForElement(format.rows,
               [&](auto x) { Packing::Rows::template Finish<decltype(x)>(format.rows, block.flash, rows); });
  }

  static constexpr Nvfp4Kernel kTable{kArithmetic, sizeof(float) / A::kPair, AddRows, PackKeys, PackValues,
                                      PackQueries, Nvfp4<A>::Attend,         Finish};
};

}  // namespace
}  // namespace tessera
