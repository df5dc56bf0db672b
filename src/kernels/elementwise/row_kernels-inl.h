// Bodies of the row kernels; each instruction set's file includes this once.
#pragma once
#include "kernels/elementwise/row_kernels.h"
#include "kernels/simd/lanes-inl.h"

namespace tessera {
namespace {

// Calls f with null pointers of the element types, so that it is compiled for each.
template <class F>
inline void WithType(Element type, const F& f) {
  if (type == Element::kF32) {
    f(static_cast<float*>(nullptr));
  } else {
    f(static_cast<Bf16*>(nullptr));
  }
}
template <class F>
inline void WithTypes(Element a, Element b, const F& f) {
  WithType(a, [&](auto* x) { WithType(b, [&](auto* y) { f(x, y); }); });
}
template <class T>
inline const T* Row(const SourceRows& rows, int64_t row, T*) {
  return static_cast<const T*>(rows.elements) + row * rows.stride;
}
template <class T>
inline T* Row(const TargetRows& rows, int64_t row, T*) {
  return static_cast<T*>(rows.elements) + row * rows.stride;
}

// step(offset) per full register, tail(offset, lanes) for the rest.
template <class Step, class Tail>
inline void ForLanes(int64_t count, const Step& step, const Tail& tail) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) step(i);
  if (i < count) tail(i, count - i);
}

// Sum over i of term(x[i]), in four interleaved chains; term(sum, x) adds one register to a chain.
template <class T, class Term>
inline float SumOf(const T* x, int64_t count, const Term& term) {
  Lanes sums[4] = {Set(0), Set(0), Set(0), Set(0)};
  int64_t i = 0;
  for (; i + 4 * kLanes <= count; i += 4 * kLanes) {
    for (int j = 0; j < 4; ++j) sums[j] = term(sums[j], Load(x + i + j * kLanes));
  }
  for (; i + kLanes <= count; i += kLanes) sums[0] = term(sums[0], Load(x + i));
  float sum = 0;
  for (; i < count; ++i) {
    Lanes one = Set(0);
    one = term(one, Load(x + i, 1));
    sum += one[0];
  }
  return sum + Sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

inline float RootOf(float x) { return __builtin_sqrtf(x); }

template <class S, class D>
void LayerNormRow(const S* src, D* dst, const NormRows& rows) {
  const auto count = static_cast<float>(rows.channels);
  const float mean = SumOf(src, rows.channels, [](Lanes sum, Lanes x) { return sum + x; }) / count;
  const Lanes center = Set(mean);
  const float squares =
      SumOf(src, rows.channels, [&](Lanes sum, Lanes x) { return MulAdd(x - center, x - center, sum); });
  const Lanes factor = Set(1.0f / RootOf(squares / count + rows.eps)), one = Set(1.0f);
  ForLanes(
      rows.channels,
      [&](int64_t c) {
        const Lanes x = (Load(src + c) - center) * factor;
        Store(dst + c, MulAdd(x, one + Load(rows.scale + c), Load(rows.shift + c)));
      },
      [&](int64_t c, int64_t n) {
        const Lanes x = (Load(src + c, n) - center) * factor;
        Store(dst + c, MulAdd(x, one + Load(rows.scale + c, n), Load(rows.shift + c, n)), n);
      });
}

void LayerNormRows(const NormRows& rows, int64_t begin, int64_t end) {
  WithTypes(rows.src.type, rows.dst.type, [&](auto* s, auto* d) {
    for (int64_t i = begin; i < end; ++i) LayerNormRow(Row(rows.src, i, s), Row(rows.dst, i, d), rows);
  });
}

// What storing as the type and loading again gives.
inline Lanes RoundAs(float*, Lanes x) { return x; }
inline Lanes RoundAs(Bf16*, Lanes x) { return RoundToBf16(x); }

template <class T>
inline float RmsFactor(const T* x, int64_t count, float eps) {
  const float squares = SumOf(x, count, [](Lanes sum, Lanes v) { return MulAdd(v, v, sum); });
  return 1.0f / RootOf(squares / static_cast<float>(count) + eps);
}

template <class S, class D>
void RmsNormRow(const S* src, D* dst, const NormRows& rows) {
  const Lanes factor = Set(RmsFactor(src, rows.channels, rows.eps));
  ForLanes(
      rows.channels, [&](int64_t c) { Store(dst + c, RoundAs(dst, Load(src + c) * factor) * Load(rows.scale + c)); },
      [&](int64_t c, int64_t n) {
        Store(dst + c, RoundAs(dst, Load(src + c, n) * factor) * Load(rows.scale + c, n), n);
      });
}

void RmsNormRows(const NormRows& rows, int64_t begin, int64_t end) {
  WithTypes(rows.src.type, rows.dst.type, [&](auto* s, auto* d) {
    for (int64_t i = begin; i < end; ++i) RmsNormRow(Row(rows.src, i, s), Row(rows.dst, i, d), rows);
  });
}

// x in place: pairs (2i, 2i + 1).
inline void RotateInterleaved(float* x, const float* cos, const float* sin, int64_t head_dim) {
  ForLanes(
      head_dim,
      [&](int64_t i) {
        const Lanes v = Load(x + i);
        Store(x + i, MulSubAdd(v, LoadTwice(cos + i / 2), SwapPairs(v) * LoadTwice(sin + i / 2)));
      },
      [&](int64_t first, int64_t n) {
        for (int64_t i = first; i < first + n; i += 2) {
          const float a = x[i], b = x[i + 1], c = cos[i / 2], s = sin[i / 2];
          x[i] = a * c - b * s;
          x[i + 1] = b * c + a * s;
        }
      });
}

// x in place: pairs (i, i + head_dim / 2).
inline void RotateHalves(float* x, const float* cos, const float* sin, int64_t head_dim) {
  float* second = x + head_dim / 2;
  const auto rotate = [](Lanes a, Lanes b, Lanes c, Lanes s) { return MulAdd(a, c, b * s); };
  ForLanes(
      head_dim / 2,
      [&](int64_t i) {
        const Lanes a = Load(x + i), b = Load(second + i), c = Load(cos + i), s = Load(sin + i);
        Store(x + i, rotate(a, -b, c, s));
        Store(second + i, rotate(b, a, c, s));
      },
      [&](int64_t i, int64_t n) {
        const Lanes a = Load(x + i, n), b = Load(second + i, n), c = Load(cos + i, n), s = Load(sin + i, n);
        Store(x + i, rotate(a, -b, c, s), n);
        Store(second + i, rotate(b, a, c, s), n);
      });
}

template <class T>
void QkNormRotaryHead(T* x, const RotaryRows& rows, const float* cos, const float* sin) {
  float head[kMaxHeadDim];
  const int64_t head_dim = rows.head_dim;
  const Lanes factor = Set(rows.weight != nullptr ? RmsFactor(x, head_dim, rows.eps) : 1.0f);
  const auto scaled = [&](Lanes v, Lanes weight) { return RoundAs(x, RoundAs(x, v * factor) * weight); };
  ForLanes(
      head_dim,
      [&](int64_t i) {
        const Lanes v = Load(x + i);
        Store(head + i, rows.weight != nullptr ? scaled(v, Load(rows.weight + i)) : v);
      },
      [&](int64_t i, int64_t n) {
        const Lanes v = Load(x + i, n);
        Store(head + i, rows.weight != nullptr ? scaled(v, Load(rows.weight + i, n)) : v, n);
      });
  if (cos != nullptr && rows.half_split) RotateHalves(head, cos, sin, head_dim);
  if (cos != nullptr && !rows.half_split) RotateInterleaved(head, cos, sin, head_dim);
  ForLanes(
      head_dim, [&](int64_t i) { Store(x + i, Load(head + i)); },
      [&](int64_t i, int64_t n) { Store(x + i, Load(head + i, n), n); });
}

void QkNormRotaryRows(const RotaryRows& rows, int64_t begin, int64_t end) {
  WithType(rows.x.type, [&](auto* type) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t angle = i * (rows.head_dim / 2);
      const float* cos = rows.cos == nullptr ? nullptr : rows.cos + angle;
      const float* sin = rows.cos == nullptr ? nullptr : rows.sin + angle;
      auto* row = Row(rows.x, i, type);
      for (int64_t h = 0; h < rows.heads; ++h) QkNormRotaryHead(row + h * rows.head_dim, rows, cos, sin);
    }
  });
}

template <class D, class Term>
inline void StoreRow(D* dst, int64_t channels, const Term& term) {
  ForLanes(
      channels, [&](int64_t c) { Store(dst + c, term(c)); },
      [&](int64_t c, int64_t n) { Store(dst + c, term(c, n), n); });
}

// Both spellings of a load, so that one expression serves full registers and tails.
template <class T>
struct Elements {
  const T* row;
  Lanes operator()(int64_t c) const { return Load(row + c); }
  Lanes operator()(int64_t c, int64_t n) const { return Load(row + c, n); }
};
template <class T>
inline Elements<T> ElementsOf(const T* row) {
  return {row};
}

void AddRows(const BinaryRows& rows, int64_t begin, int64_t end) {
  const auto gate = ElementsOf(rows.gate);
  WithTypes(rows.a.type, rows.b.type, [&](auto* ta, auto* tb) {
    WithType(rows.dst.type, [&](auto* td) {
      for (int64_t i = begin; i < end; ++i) {
        const auto a = ElementsOf(Row(rows.a, i, ta));
        const auto b = ElementsOf(Row(rows.b, i, tb));
        auto* dst = Row(rows.dst, i, td);
        if (rows.gate != nullptr) {
          StoreRow(dst, rows.channels, [&](auto... at) { return MulAdd(gate(at...), b(at...), a(at...)); });
        } else {
          StoreRow(dst, rows.channels, [&](auto... at) { return a(at...) + b(at...); });
        }
      }
    });
  });
}

// x * sigmoid(2 u) with u = sqrt(2 / pi) (x + 0.044715 x^3): what 0.5 x (1 + tanh u) is.
inline Lanes GeluLanes(Lanes x) {
  const Lanes twice = x * MulAdd(x * x, Set(2 * 0.7978845608028654f * 0.044715f), Set(2 * 0.7978845608028654f));
  return x * Reciprocal(Set(1.0f) + Exp(-twice));
}

// dst = f(a).
template <class F>
inline void MapRows(const BinaryRows& rows, int64_t begin, int64_t end, const F& f) {
  WithTypes(rows.a.type, rows.dst.type, [&](auto* ta, auto* td) {
    for (int64_t i = begin; i < end; ++i) {
      const auto a = ElementsOf(Row(rows.a, i, ta));
      StoreRow(Row(rows.dst, i, td), rows.channels, [&](auto... at) { return f(a(at...)); });
    }
  });
}

// dst = f(a) * b.
template <class F>
inline void MapMultiplyRows(const BinaryRows& rows, int64_t begin, int64_t end, const F& f) {
  WithTypes(rows.a.type, rows.b.type, [&](auto* ta, auto* tb) {
    WithType(rows.dst.type, [&](auto* td) {
      for (int64_t i = begin; i < end; ++i) {
        const auto a = ElementsOf(Row(rows.a, i, ta));
        const auto b = ElementsOf(Row(rows.b, i, tb));
        StoreRow(Row(rows.dst, i, td), rows.channels, [&](auto... at) { return f(a(at...)) * b(at...); });
      }
    });
  });
}

void SiluRows(const BinaryRows& rows, int64_t begin, int64_t end) {
  MapRows(rows, begin, end, [](Lanes x) { return SiluLanes(x); });
}
void SiluMultiplyRows(const BinaryRows& rows, int64_t begin, int64_t end) {
  MapMultiplyRows(rows, begin, end, [](Lanes x) { return SiluLanes(x); });
}
void GeluRows(const BinaryRows& rows, int64_t begin, int64_t end) {
  MapRows(rows, begin, end, [](Lanes x) { return GeluLanes(x); });
}
void GeluMultiplyRows(const BinaryRows& rows, int64_t begin, int64_t end) {
  MapMultiplyRows(rows, begin, end, [](Lanes x) { return GeluLanes(x); });
}

// f32 sums over at most this many pixels go to the doubles: keeps them accurate to ~1e-7 for any picture size.
constexpr int64_t kPixelsPerPartialSum = 32;

inline void AddTo(double* totals, Lanes sums, int64_t n) {
  float part[kLanes];
  Store(part, sums);
  for (int64_t i = 0; i < n; ++i) totals[i] += static_cast<double>(part[i]);
}

struct PixelRange {
  int64_t begin, end;
};

// Sums of kVectors registers of channels from `c` on; load(pixel's channels, vector) gives one of them.
template <int kVectors, class T, class LoadAt>
inline void AddSums(const GroupNormRows& rows, PixelRange pixels, int64_t c, const LoadAt& load, ChannelTotals totals) {
  T* type = nullptr;
  Lanes sums[kVectors], squares[kVectors], pivots[kVectors];
#pragma GCC unroll 8
  for (int v = 0; v < kVectors; ++v) {
    sums[v] = squares[v] = Set(0);
    pivots[v] = load(rows.pivot + c, v);
  }
  for (int64_t i = pixels.begin; i < pixels.end; ++i) {
    const T* pixel = Row(rows.src, i, type) + c;
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      const Lanes x = load(pixel, v) - pivots[v];
      sums[v] = sums[v] + x;
      squares[v] = MulAdd(x, x, squares[v]);
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const int64_t at = c + v * kLanes, left = rows.channels - at < kLanes ? rows.channels - at : kLanes;
    AddTo(totals.sums + at, sums[v], left);
    AddTo(totals.squares + at, squares[v], left);
  }
}

template <class T>
void GroupSumsOf(const GroupNormRows& rows, PixelRange pixels, ChannelTotals totals) {
  constexpr int kWide = kLanes == 16 ? 8 : 4;  // as many registers as sums and squares leave room for
  const auto load = [](const auto* p, int64_t v) { return Load(p + v * kLanes); };
  int64_t c = 0;
  for (; c + kWide * kLanes <= rows.channels; c += kWide * kLanes) AddSums<kWide, T>(rows, pixels, c, load, totals);
  for (; c + kLanes <= rows.channels; c += kLanes) AddSums<1, T>(rows, pixels, c, load, totals);
  const int64_t left = rows.channels - c;
  if (left > 0)
    AddSums<1, T>(
        rows, pixels, c, [left](const auto* p, int64_t) { return Load(p, left); }, totals);
}

void GroupSums(const GroupNormRows& rows, int64_t begin, int64_t end, ChannelTotals totals) {
  for (int64_t i = begin; i < end; i += kPixelsPerPartialSum) {
    const int64_t next = i + kPixelsPerPartialSum < end ? i + kPixelsPerPartialSum : end;
    const PixelRange pixels{i, next};
    if (rows.src.type == Element::kF32) {
      GroupSumsOf<float>(rows, pixels, totals);
    } else {
      GroupSumsOf<Bf16>(rows, pixels, totals);
    }
  }
}

void GroupNormApply(const GroupNormRows& rows, int64_t begin, int64_t end) {
  const auto mean = ElementsOf(rows.mean), scale = ElementsOf(rows.scale), shift = ElementsOf(rows.shift);
  WithTypes(rows.src.type, rows.dst.type, [&](auto* ts, auto* td) {
    for (int64_t i = begin; i < end; ++i) {
      const auto x = ElementsOf(Row(rows.src, i, ts));
      auto* dst = Row(rows.dst, i, td);
      const auto norm = [&](auto... at) { return MulAdd(x(at...) - mean(at...), scale(at...), shift(at...)); };
      if (rows.silu) {
        StoreRow(dst, rows.channels, [&](auto... at) { return SiluLanes(norm(at...)); });
      } else {
        StoreRow(dst, rows.channels, norm);
      }
    }
  });
}

constexpr RowKernels kRowKernels = {LayerNormRows,    RmsNormRows, QkNormRotaryRows, AddRows,   SiluRows,
                                    SiluMultiplyRows, GeluRows,    GeluMultiplyRows, GroupSums, GroupNormApply};

}  // namespace
}  // namespace tessera
