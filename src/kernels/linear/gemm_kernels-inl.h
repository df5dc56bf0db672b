// Packing and the register tile of products. The including file defines Arithmetic: whether a word is a pair, the
// height of a src panel, and the multiply-add of words.
#pragma once
#include "kernels/linear/gemm_kernels.h"
#include "kernels/simd/lanes-inl.h"
#include "kernels/simd/transpose-inl.h"

namespace tessera {
namespace {

constexpr int kVectors = 2;  // of outputs in the register tile
constexpr int64_t kOutputs = kVectors * kLanes;
constexpr int64_t kSrcRows = Arithmetic::kSrcRows;

// Calls f with a null pointer of the element type that loads as one word per lane.
template <class F>
inline void WithWords(GemmElement type, const F& f) {
  if (Arithmetic::kPairs || type == GemmElement::kF32) return f(static_cast<const float*>(nullptr));
  if (type == GemmElement::kBF16) return f(static_cast<const Bf16*>(nullptr));
  f(static_cast<const F16*>(nullptr));
}

// A row that is read word by word; a pair's second half behind an odd row's end is zero.
template <class T>
struct WordRow {
  const T* words;
  int64_t whole;  // words that lie in the row entirely
  bool half;      // and half a word more

  Lanes Get(int64_t word) const {
    if (word + kLanes <= whole) return Load(words + word);
    return Partial(word);
  }
  Lanes Partial(int64_t word) const {
    const int64_t left = whole - word;
    if (!half) return left > 0 ? Load(words + word, left) : Set(0);
    char bytes[sizeof(Lanes)] = {};
    if (left >= 0) memcpy(bytes, words + word, static_cast<size_t>(left) * sizeof(T) + sizeof(uint16_t));
    return Load(reinterpret_cast<const T*>(bytes));
  }
};

template <class T>
inline WordRow<T> RowOf(const GemmRows& rows, int64_t row, const T*) {
  const int64_t at = row * rows.in;
  if (!Arithmetic::kPairs) return {static_cast<const T*>(rows.elements) + at, rows.in, false};
  const auto* halves = static_cast<const uint16_t*>(rows.elements) + at;
  return {reinterpret_cast<const T*>(halves), rows.in / 2, rows.in % 2 != 0};
}

inline int64_t PaddedWords(int64_t in) {
  const int64_t words = Arithmetic::kPairs ? (in + 1) / 2 : in;
  return (words + kWordStep - 1) / kWordStep * kWordStep;
}

void PackSrc(const GemmRows& src, float* packed, int64_t begin, int64_t end) {
  const int64_t words = PaddedWords(src.in);
  WithWords(src.type, [&](auto* type) {
    for (int64_t row = begin * kSrcRows; row < end * kSrcRows; ++row) {
      float* to = packed + row / kSrcRows * kSrcRows * words + row % kSrcRows * kWordStep;
      const bool there = row < src.rows;
      const auto from = RowOf(src, there ? row : 0, type);
      for (int64_t word = 0; word < words; word += kLanes) {
        Store(to + word / kWordStep * kSrcRows * kWordStep + word % kWordStep, there ? from.Get(word) : Set(0));
      }
    }
  });
}

void PackWeight(const GemmRows& weight, int64_t first_word, int64_t words, float* packed) {
  WithWords(weight.type, [&](auto* type) {
    for (int64_t output = 0; output < weight.rows; output += kLanes) {
      float* to = packed + output / kOutputs * kOutputs * words + output % kOutputs;
      const int64_t there = weight.rows - output < kLanes ? weight.rows - output : kLanes;
      for (int64_t word = 0; word < words; word += kLanes) {
        Lanes square[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) {
          const auto row = RowOf(weight, output + i, type);
          square[i] = i < there ? row.Get(first_word + word) : Set(0);
          // The same words of the next square below: short stretches of far rows, which the hardware does not foresee.
          __builtin_prefetch(RowOf(weight, output + i + kLanes, type).words + first_word + word);
        }
        Transpose(square);
        for (int64_t i = 0; i < kLanes; ++i) Store(to + (word + i) * kOutputs, square[i]);
      }
    }
  });
}

// Adds what earlier stretches left, then leaves the sums for the next or writes the result.
template <int kRows>
inline void FinishTile(const GemmBlock& block, int64_t row, int64_t output, Lanes (&sums)[kRows][kVectors]) {
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = output + v * kLanes, left = block.outputs - at;
    if (left <= 0) return;
    const int64_t n = left < kLanes ? left : kLanes;
    const bool whole = n == kLanes;
    const Lanes bias =
        block.last && block.bias != nullptr ? (whole ? Load(block.bias + at) : Load(block.bias + at, n)) : Set(0);
    for (int r = 0; r < kRows; ++r) {
      float* partial = block.partial + (row + r) * block.partial_stride + at;
      Lanes sum = sums[r][v];
      if (!block.first) sum = sum + (whole ? Load(partial) : Load(partial, n));
      sum = sum + bias;
      const int64_t to = (row + r) * block.dst.stride + at;
      if (block.last && block.dst.type == GemmElement::kBF16) {
        auto* dst = static_cast<Bf16*>(block.dst.elements) + to;
        whole ? Store(dst, sum) : Store(dst, sum, n);
      } else {
        float* dst = block.last ? static_cast<float*>(block.dst.elements) + to : partial;
        whole ? Store(dst, sum) : Store(dst, sum, n);
      }
    }
  }
}

// The tile's targets are far apart and not in the near caches: asked for while the sums are formed.
template <int kRows>
inline void PrefetchTargets(const GemmBlock& block, int64_t row, int64_t output) {
  const bool halves = block.last && block.dst.type == GemmElement::kBF16;
  for (int64_t r = row; r < row + kRows; ++r) {
    if (!block.first) __builtin_prefetch(block.partial + r * block.partial_stride + output, 1);
    if (!block.first) __builtin_prefetch(block.partial + r * block.partial_stride + output + kOutputs - 1, 1);
    if (halves) __builtin_prefetch(static_cast<Bf16*>(block.dst.elements) + r * block.dst.stride + output, 1);
  }
}

template <int kRows>
void MultiplyTile(const GemmBlock& block, int64_t row, int64_t output) {
  PrefetchTargets<kRows>(block, row, output);
  const float* src = block.src + row / kSrcRows * block.src_panel;
  // Every tile fetches its share of the next src panel.
  const char* next = reinterpret_cast<const char*>(src + block.src_panel) +
                     output / kOutputs * (kSrcRows * block.words * 4 / (block.outputs / kOutputs + 1)) / 64 * 64;
  const float* weight = block.weight + output * block.words;
  Lanes sums[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) sums[r][v] = Set(0);
  }
  for (int64_t step = 0; step < block.words; step += kWordStep, src += kSrcRows * kWordStep, next += 128) {
    __builtin_prefetch(next, 0, 2);
    __builtin_prefetch(next + 64, 0, 2);
#pragma GCC unroll 4
    for (int64_t word = 0; word < kWordStep; ++word, weight += kOutputs) {
      const Lanes first = Load(weight), second = Load(weight + kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Lanes factor = Set(src[r * kWordStep + word]);
        sums[r][0] = Arithmetic::MulAddWords(factor, first, sums[r][0]);
        sums[r][1] = Arithmetic::MulAddWords(factor, second, sums[r][1]);
      }
    }
  }
  FinishTile<kRows>(block, row, output, sums);
}

// The tile for the rows left in the last panel: the table's entry i serves i + 1 rows.
using TileFunction = void (*)(const GemmBlock&, int64_t, int64_t);
template <int kRows>
struct TileTable {
  static void Fill(TileFunction* table) {
    table[kRows - 1] = MultiplyTile<kRows>;
    TileTable<kRows - 1>::Fill(table);
  }
};
template <>
struct TileTable<0> {
  static void Fill(TileFunction*) {}
};

void Multiply(const GemmBlock& block) {
  TileFunction tiles[kSrcRows];
  TileTable<kSrcRows>::Fill(tiles);
  for (int64_t row = 0; row < block.rows; row += kSrcRows) {
    const int64_t left = block.rows - row;
    const TileFunction tile = tiles[(left < kSrcRows ? left : kSrcRows) - 1];
    for (int64_t output = 0; output < block.outputs; output += kOutputs) tile(block, row, output);
  }
}

constexpr GemmKernels kGemmKernels = {kSrcRows, kOutputs, Arithmetic::kPairs ? 2 : 1, PackSrc, PackWeight, Multiply};

}  // namespace
}  // namespace tessera
