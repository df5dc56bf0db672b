// Rounding to NVFP4 in lanes: sixteen vectors hold sixteen numbers that share a scale, one such group per lane.
#pragma once
#include "kernels/attention/nvfp4.h"
#include "kernels/attention/small_floats-inl.h"

namespace tessera {
namespace {

template <class Lanes>
struct Nvfp4Round {
  using Vector = typename Lanes::Vector;
  using Sixteen = Vector (&)[kNvfp4Group];

  // NaN and infinities make NaN, so that broken numbers show.
  [[gnu::always_inline]] static inline Vector LargestMagnitude(const Vector (&x)[kNvfp4Group]) {
    Vector most = Lanes::Zero();
#pragma GCC unroll 16
    for (int i = 0; i < kNvfp4Group; ++i) most = Lanes::MaxMagnitude(most, x[i]);
    return Lanes::Add(most, Lanes::Mul(most, Lanes::Zero()));
  }

  [[gnu::always_inline]] static inline Vector RoundedScale(Vector scale) {
    return Lanes::Add(RoundToE4m3<Lanes>(scale), Lanes::Mul(scale, Lanes::Zero()));
  }

  // Every number becomes what its code and the group's scale stand for.
  [[gnu::always_inline]] static inline void Numbers(Sixteen x) {
    const Vector scale = RoundedScale(Lanes::Div(LargestMagnitude(x), Lanes::Set(kNvfp4MostCode)));
#pragma GCC unroll 16
    for (int i = 0; i < kNvfp4Group; ++i) {
      const Vector code = RoundToE2m1<Lanes>(Lanes::Div(x[i], scale));
      x[i] = Lanes::ZeroWhereZero(scale, Lanes::Mul(code, scale));
    }
  }

  // The same for stretched probabilities, whose codes come from the scale before its rounding unless the format says
  // otherwise.
  [[gnu::always_inline]] static inline void Probabilities(const Nvfp4Format& format, Sixteen x) {
    const Vector scale = Lanes::Div(LargestMagnitude(x), Lanes::Set(kNvfp4MostCode)), rounded = RoundedScale(scale);
    const Vector inverse = Lanes::Div(Lanes::Set(1.0f), format.divide_rounded ? rounded : scale);
#pragma GCC unroll 16
    for (int i = 0; i < kNvfp4Group; ++i) {
      const Vector code = RoundToE2m1<Lanes>(Lanes::Mul(x[i], inverse));
      x[i] = Lanes::ZeroWhereZero(rounded, Lanes::Mul(code, rounded));
    }
  }
};

}  // namespace
}  // namespace tessera
