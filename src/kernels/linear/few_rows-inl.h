// Products with one to four rows of src: bound by reading the weights, so these are widened in registers and used once.
#pragma once
#include "kernels/linear/gemm_kernels.h"
#include "kernels/simd/lanes-inl.h"

namespace tessera {
namespace {

constexpr int kWeightRows = 4;  // read side by side, so that a load of src serves several

template <int kRows, class T>
void DotRows(const FewRowsProduct& product, const T* weight, int64_t outputs, float (&sums)[kRows][kWeightRows]) {
  const int64_t in = product.weight.in;
  const T* rows[kWeightRows];
  for (int64_t w = 0; w < kWeightRows; ++w) rows[w] = weight + (w < outputs ? w : 0) * in;
  Lanes lanes[kRows][kWeightRows];
#pragma GCC unroll 4
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 4
    for (int w = 0; w < kWeightRows; ++w) lanes[r][w] = Set(0);
  }
  const auto add = [&](const auto& load, int64_t k) {
    Lanes words[kWeightRows];
#pragma GCC unroll 4
    for (int w = 0; w < kWeightRows; ++w) words[w] = load(rows[w] + k);
#pragma GCC unroll 4
    for (int r = 0; r < kRows; ++r) {
      const Lanes x = load(product.src + r * in + k);
#pragma GCC unroll 4
      for (int w = 0; w < kWeightRows; ++w) lanes[r][w] = MulAdd(x, words[w], lanes[r][w]);
    }
  };
  int64_t k = 0;
  for (; k + kLanes <= in; k += kLanes) add([](const auto* p) { return Load(p); }, k);
  if (k < in) add([left = in - k](const auto* p) { return Load(p, left); }, k);
  for (int r = 0; r < kRows; ++r) {
    for (int w = 0; w < kWeightRows; ++w) sums[r][w] = Sum(lanes[r][w]);
  }
}

template <int kRows, class T>
void FewRows(const FewRowsProduct& product, int64_t begin, int64_t end) {
  const auto* weight = static_cast<const T*>(product.weight.elements);
  for (int64_t first = begin; first < end; first += kWeightRows) {
    const int64_t outputs = end - first < kWeightRows ? end - first : kWeightRows;
    float sums[kRows][kWeightRows];
    DotRows(product, weight + first * product.weight.in, outputs, sums);
    for (int64_t r = 0; r < kRows; ++r) {
      for (int64_t w = 0; w < outputs; ++w) {
        const Lanes sum = Set(sums[r][w] + (product.bias != nullptr ? product.bias[first + w] : 0.0f));
        const int64_t to = r * product.dst.stride + first + w;
        if (product.dst.type == GemmElement::kF32) {
          Store(static_cast<float*>(product.dst.elements) + to, sum, 1);
        } else {
          Store(static_cast<Bf16*>(product.dst.elements) + to, sum, 1);
        }
      }
    }
  }
}

template <class T>
void FewRowsOf(const FewRowsProduct& product, int64_t begin, int64_t end) {
  switch (product.rows) {
    case 1:
      return FewRows<1, T>(product, begin, end);
    case 2:
      return FewRows<2, T>(product, begin, end);
    case 3:
      return FewRows<3, T>(product, begin, end);
    default:
      return FewRows<4, T>(product, begin, end);
  }
}

void MultiplyFew(const FewRowsProduct& product, int64_t begin, int64_t end) {
  switch (product.weight.type) {
    case GemmElement::kF32:
      return FewRowsOf<float>(product, begin, end);
    case GemmElement::kBF16:
      return FewRowsOf<Bf16>(product, begin, end);
    case GemmElement::kF16:
      return FewRowsOf<F16>(product, begin, end);
  }
}

}  // namespace
}  // namespace tessera
