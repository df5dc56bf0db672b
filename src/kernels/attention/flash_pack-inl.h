// Packing of queries, keys and values into the layouts of flash_attend-inl.h, and the way back of its output.
#pragma once
#include <string.h>

#include "kernels/attention/flash_attend-inl.h"

namespace tessera {
namespace {

template <class A>
struct FlashPacking {
  using Lanes = typename A::Lanes;
  using Vector = typename Lanes::Vector;
  using Word = typename A::Word;
  static constexpr int kWidth = Lanes::kWidth;
  static constexpr int kRows = Lanes::kTileRows;
  static constexpr int kSlices = kWidth / kRows;  // tiles a vector of keys spans

  // Words [word, word + kWidth) of a row; zero past its channels, of which nothing is read.
  template <class Element>
  static Vector RowWords(const FlashFormat& format, const void* row, int word) {
    if (row == nullptr) return Lanes::Zero();
    const Element* from = static_cast<const Element*>(row) + word * A::kPair;
    const int left = format.channels - word * A::kPair;
    if (left >= kWidth * A::kPair) return A::WordsOf(from);
    Element tail[kWidth * A::kPair] = {};
    if (left > 0) memcpy(tail, from, static_cast<size_t>(left) * sizeof(Element));
    return A::WordsOf(tail);
  }

  // rows[i] = word `word + i` of kWidth rows from row `first` on.
  template <class Element>
  static void GatherWords(const FlashFormat& format, const void* const* rows, int word, Vector (&words)[kWidth]) {
    for (int i = 0; i < kWidth; ++i) words[i] = RowWords<Element>(format, rows[i], word);
    Lanes::Transpose(words);
  }

  // Panel: [64 / kRows][padded / kPair][kRows].
  template <class Element>
  static void PackKeys(const FlashFormat& format, const FlashRows& rows, void* panel) {
    const int words = format.padded / A::kPair;
    for (int key = 0; key < kFlashBlock; key += kWidth) {
      Word* tiles = static_cast<Word*>(panel) + key * words;
      for (int word = 0; word < words; word += kWidth) {
        Vector columns[kWidth];
        GatherWords<Element>(format, rows.row + key, word, columns);
        const int count = words - word < kWidth ? words - word : kWidth;
        for (int i = 0; i < count; ++i) StoreSlices(tiles + (word + i) * kRows, words * kRows, columns[i]);
      }
    }
  }

  // kSlices runs of kRows words, `stride` words apart.
  static void StoreSlices(Word* to, int stride, Vector x) {
    for (int slice = 0; slice < kSlices; ++slice) StoreSlice(to + slice * stride, x, slice);
  }
  static void StoreSlice(Word* to, Vector x, int slice) {
    if constexpr (kSlices == 1) {
      Lanes::Store(reinterpret_cast<float*>(to), x);
    } else {
      Lanes::StoreHalf(reinterpret_cast<float*>(to), x, slice);
    }
  }

  // Words of `channel`.. of kPair neighbouring keys; a missing key is zero.
  template <class Element>
  static Vector ValueWords(const FlashFormat& format, const void* const* rows, int channel) {
    Element tails[A::kPair][kWidth];
    const Element* from[A::kPair];
    const int left = format.channels - channel;
    for (int p = 0; p < A::kPair; ++p) {
      from[p] = static_cast<const Element*>(rows[p]) + channel;
      if (rows[p] != nullptr && left >= kWidth) continue;
      memset(tails[p], 0, sizeof tails[p]);
      if (rows[p] != nullptr && left > 0) memcpy(tails[p], from[p], static_cast<size_t>(left) * sizeof(Element));
      from[p] = tails[p];
    }
    return A::WordsAcross(from);
  }

  // Panel: [padded / kRows][64 / kPair][kRows].
  template <class Element>
  static void PackValues(const FlashFormat& format, const FlashRows& rows, void* panel) {
    constexpr int kPairs = kFlashBlock / A::kPair;
    for (int channel = 0; channel < format.padded; channel += kWidth) {
      const int slices = (format.padded - channel) / kRows < kSlices ? (format.padded - channel) / kRows : kSlices;
      Word* to = static_cast<Word*>(panel) + channel * kPairs;
      for (int pair = 0; pair < kPairs; ++pair, to += kRows) {
        const Vector words = ValueWords<Element>(format, rows.row + pair * A::kPair, channel);
        for (int slice = 0; slice < slices; ++slice) StoreSlice(to + slice * kPairs * kRows, words, slice);
      }
    }
  }

  // Block: [padded / kPair][64]; vectors past the last query are left alone.
  template <class Element>
  static void PackQueries(const FlashFormat& format, const FlashRows& rows, FlashBlock* block) {
    const int words = format.padded / A::kPair;
    for (int lane = 0; lane < block->count; lane += kWidth) {
      float* to = static_cast<float*>(block->queries) + lane;
      for (int word = 0; word < words; word += kWidth) {
        Vector columns[kWidth];
        GatherWords<Element>(format, rows.row + lane, word, columns);
        const int count = words - word < kWidth ? words - word : kWidth;
        for (int i = 0; i < count; ++i) Lanes::Store(to + (word + i) * kFlashBlock, columns[i]);
      }
      Lanes::Store(block->reference + lane, Lanes::Set(kNoReference));
      Lanes::Store(block->sum + lane, Lanes::Zero());
    }
    block->started = false;
  }

  static void Narrow(float* to, Vector x) { Lanes::Narrow(to, x); }
  static void Narrow(BFloat16* to, Vector x) { Lanes::NarrowBf16(reinterpret_cast<uint16_t*>(to), x); }
  static void Narrow(Float16* to, Vector x) { Lanes::NarrowF16(reinterpret_cast<uint16_t*>(to), x); }

  template <class Element>
  static void StoreRow(const FlashFormat& format, void* row, int channel, Vector x) {
    Element* to = static_cast<Element*>(row) + channel;
    const int left = format.channels - channel;
    if (left >= kWidth) {
      Narrow(to, x);
      return;
    }
    Element tail[kWidth];
    Narrow(tail, x);
    memcpy(to, tail, static_cast<size_t>(left) * sizeof(Element));
  }

  template <class Element>
  static void Finish(const FlashFormat& format, const FlashBlock& block, void* const* rows) {
    for (int lane = 0; lane < block.count; lane += kWidth) {
      const Vector sum = Lanes::Load(block.sum + lane);
      const Vector inverse = Lanes::Div(Lanes::Set(1.0f), sum);
      const int queries = block.count - lane < kWidth ? block.count - lane : kWidth;
      for (int channel = 0; channel < format.channels; channel += kWidth) {
        Vector columns[kWidth];
        for (int i = 0; i < kWidth; ++i) {
          const float* from = block.output + (channel + i) * kFlashBlock + lane;
          const bool inside = block.started && channel + i < format.padded;
          columns[i] = inside ? Lanes::ZeroWhereZero(sum, Lanes::Mul(inverse, Lanes::Load(from))) : Lanes::Zero();
        }
        Lanes::Transpose(columns);
        for (int i = 0; i < queries; ++i) StoreRow<Element>(format, rows[lane + i], channel, columns[i]);
      }
    }
  }
};

// Calls body(element) with a value of the format's element type.
template <class Body>
void ForElement(const FlashFormat& format, Body body) {
  if (format.dtype == DType::kF32) {
    body(float{});
  } else if (format.dtype == DType::kBF16) {
    body(BFloat16{});
  } else {
    body(Float16{});
  }
}

// The exported table of f32 arithmetic.
template <class A>
struct F32Flash {
  using Packing = FlashPacking<A>;
  static void PackKeys(const FlashFormat& format, const FlashRows& rows, void* panel) {
    ForElement(format, [&](auto x) { Packing::template PackKeys<decltype(x)>(format, rows, panel); });
  }
  static void PackValues(const FlashFormat& format, const FlashRows& rows, void* panel) {
    ForElement(format, [&](auto x) { Packing::template PackValues<decltype(x)>(format, rows, panel); });
  }
  static void PackQueries(const FlashFormat& format, const FlashRows& rows, FlashBlock* block) {
    ForElement(format, [&](auto x) { Packing::template PackQueries<decltype(x)>(format, rows, block); });
  }
  static void Finish(const FlashFormat& format, const FlashBlock& block, void* const* rows) {
    ForElement(format, [&](auto x) { Packing::template Finish<decltype(x)>(format, block, rows); });
  }
  static constexpr FlashKernel kTable{FlashArithmetic::kF32, A::Lanes::kTileRows, sizeof(float), PackKeys, PackValues,
                                      PackQueries,           Flash<A>::Attend,    Finish};
};

}  // namespace
}  // namespace tessera
