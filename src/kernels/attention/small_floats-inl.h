// Rounds lanes of f32 to what the small formats e4m3 (8 bits) and e2m1 (4 bits) hold, to nearest even and saturated.
#pragma once

namespace tessera {
namespace {

// Values beyond +-most become +-most; NaN stays.
template <class Lanes>
inline typename Lanes::Vector Saturated(typename Lanes::Vector x, float most) {
  return Lanes::Max(Lanes::Set(-most), Lanes::Min(Lanes::Set(most), x));
}

// Whole multiples of the step that belongs to `shift` = 1.5 * 2^23 * step, for x small beside it.
template <class Lanes>
inline typename Lanes::Vector Stepped(typename Lanes::Vector x, float shift) {
  return Lanes::Sub(Lanes::Add(x, Lanes::Set(shift)), Lanes::Set(shift));
}

// Three fraction bits down to 2^-6, steps of 2^-9 below; up to 448.
template <class Lanes>
inline typename Lanes::Vector RoundToE4m3(typename Lanes::Vector x) {
  constexpr float kMost = 448.0f, kSmall = 0x1p-6f, kShift = 0x1.8p14f;
  const auto limited = Saturated<Lanes>(x, kMost);
  return Lanes::SelectSmall(limited, kSmall, Stepped<Lanes>(limited, kShift),
                            Lanes::template RoundSignificand<4>(limited));
}

// The same for e4m3fnuz: one power of two lower, but up to 240.
template <class Lanes>
inline typename Lanes::Vector RoundToE4m3Fnuz(typename Lanes::Vector x) {
  constexpr float kMost = 240.0f, kSmall = 0x1p-7f, kShift = 0x1.8p13f;
  const auto limited = Saturated<Lanes>(x, kMost);
  return Lanes::SelectSmall(limited, kSmall, Stepped<Lanes>(limited, kShift),
                            Lanes::template RoundSignificand<4>(limited));
}

// 0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives.
template <class Lanes>
inline typename Lanes::Vector RoundToE2m1(typename Lanes::Vector x) {
  constexpr float kMost = 6.0f, kSmall = 1.0f, kShift = 0x1.8p22f;
  const auto limited = Saturated<Lanes>(x, kMost);
  return Lanes::SelectSmall(limited, kSmall, Stepped<Lanes>(limited, kShift),
                            Lanes::template RoundSignificand<2>(limited));
}

}  // namespace
}  // namespace tessera
