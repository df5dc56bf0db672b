// How SageAttention's codes, probabilities and values are rounded and stored. Codes that lie in f32 multiply exactly.
#pragma once
#include <stdint.h>

#include "kernels/attention/flash_operands_f32-inl.h"
#include "kernels/attention/sage.h"
#include "kernels/attention/small_floats-inl.h"

namespace tessera {
namespace {

template <class LanesType>
struct F32Codes : F32Operands<LanesType> {
  using Lanes = LanesType;
  using Vector = typename Lanes::Vector;
  using Sum = Vector;
  static Sum ZeroSum() { return Lanes::Zero(); }
  static Sum Start(const int32_t*) { return Lanes::Zero(); }
  static Vector ToFloat(Sum sum) { return sum; }

  // kPair vectors of whole numbers, of neighbouring channels or of neighbouring rows, as words.
  static Vector KeyWords(const Vector* codes) { return codes[0]; }
  static Vector QueryWords(const Vector* codes) { return codes[0]; }
  static Vector ValueWords(const Vector* codes) { return codes[0]; }
  // What the sums of a key's products start from; adds up over the key's words.
  static int32_t StartOf(Vector /*words*/) { return 0; }

  static Sum StoreWeights(float* to, const Vector* rows, Sum sum) {
    const Vector weights = Lanes::Min(Lanes::Set(kSageInt8Levels), Lanes::RoundEven(rows[0]));
    Lanes::Store(to, weights);
    return Lanes::Add(sum, weights);
  }
};

// To the nearest whole number, halves away from zero.
template <class Lanes>
inline typename Lanes::Vector RoundAway(typename Lanes::Vector x) {
  const auto zero = Lanes::Zero(), half = Lanes::Set(0.5f);
  const auto above = Lanes::RoundUp(Lanes::Sub(zero, Lanes::Add(Lanes::Max(x, zero), half)));
  const auto below = Lanes::RoundUp(Lanes::Sub(Lanes::Min(x, zero), half));
  return Lanes::Sub(below, above);
}

template <class C>
struct Int8Recipe {
  using Lanes = typename C::Lanes;
  using Vector = typename Lanes::Vector;
  using Operands = C;
  static constexpr float kTop = kSageLog2Int8;
  static constexpr bool kOwnReference = true;  // probabilities are relative to their own group's largest
  static constexpr int kGroupPanels = kSageGroupPanels;
  static constexpr bool kRoundsSums = false;
  static constexpr int kRowsPerRounding = kFlashBlock / C::kPair;
  // Degree 3: 7.5e-5, far below the rounding to whole numbers up to 255.
  static constexpr float kExp2[] = {0x1.fff692p-1f, 0x1.62f31ap-1f, 0x1.f0de1ap-3f, 0x1.c3f76p-5f};

  // Returns the sum of what was stored, so that weights add up to exactly 1.
  static typename C::Sum StoreProbabilities(typename C::Word* to, const Vector* rows, typename C::Sum sum) {
    return C::StoreWeights(to, rows, sum);
  }
  static Vector RoundValue(Vector x) { return Lanes::RoundEven(x); }
};

template <class LanesType>
struct Fp16Recipe {
  using Lanes = LanesType;
  using Vector = typename Lanes::Vector;
  using Operands = F32Codes<Lanes>;
  static constexpr float kTop = 0;
  static constexpr bool kOwnReference = false;
  static constexpr int kGroupPanels = kSageGroupPanels;
  static constexpr bool kRoundsSums = false;
  static constexpr int kRowsPerRounding = kFlashBlock;
  static constexpr auto& kExp2 = F32Operands<Lanes>::kExp2;

  static Vector StoreProbabilities(float* to, const Vector* rows, Vector sum) {
    Lanes::Store(to, rows[0]);
    return Lanes::Add(sum, rows[0]);
  }
  static Vector RoundValue(Vector x) { return x; }
};

// Every panel has its own reference, and what it adds is summed by itself (arXiv 2411.10958, section 3.4).
template <class LanesType>
struct Fp8Recipe : Fp16Recipe<LanesType> {
  using Lanes = LanesType;
  using Vector = typename Lanes::Vector;
  static constexpr float kTop = kSageLog2Fp8;
  static constexpr int kGroupPanels = 1;

  static Vector StoreProbabilities(float* to, const Vector* rows, Vector sum) {
    Lanes::Store(to, RoundToE4m3<Lanes>(rows[0]));
    return Lanes::Add(sum, rows[0]);
  }
  static Vector RoundValue(Vector x) { return RoundToE4m3<Lanes>(x); }
};

template <class LanesType>
struct Fp8PlusRecipe : Fp8Recipe<LanesType> {
  static constexpr bool kRoundsSums = true;
  static constexpr int kRowsPerRounding = kSageHalfKeys;
};

// Probabilities are rounded as they are, relative to the largest score so far.
template <class LanesType>
struct Fp8UnitRecipe : Fp8Recipe<LanesType> {
  static constexpr float kTop = 0;
  static constexpr int kGroupPanels = kSageUnitPanels;
};

template <class LanesType>
struct Fp8UnitFnuzRecipe : Fp8UnitRecipe<LanesType> {
  using Lanes = LanesType;
  using Vector = typename Lanes::Vector;

  static Vector StoreProbabilities(float* to, const Vector* rows, Vector sum) {
    Lanes::Store(to, RoundToE4m3Fnuz<Lanes>(rows[0]));
    return Lanes::Add(sum, rows[0]);
  }
  static Vector RoundValue(Vector x) { return RoundToE4m3Fnuz<Lanes>(x); }
};

}  // namespace
}  // namespace tessera
