// What the stand-ins for vendors' libraries compute: attention over strided 16-bit operands in double precision.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace vendors {

enum class Number { kBf16, kF16 };
enum class Diagonal { kNone, kTopLeft, kBottomRight };

inline double FromBits(uint16_t bits, Number number) {
  if (number == Number::kBf16) {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return static_cast<double>(value);
  }
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const double sign = (bits & 0x8000) != 0 ? -1 : 1;
  if (exponent == 31) return fraction != 0 ? NAN : sign * INFINITY;
  return sign * (exponent == 0 ? std::ldexp(fraction, -24) : std::ldexp(1024 + fraction, exponent - 25));
}

// Round to nearest, ties to even.
inline uint16_t ToBits(double value, Number number) {
  if (number == Number::kBf16) {
    const float narrow = static_cast<float>(value);
    uint32_t bits;
    std::memcpy(&bits, &narrow, sizeof bits);
    return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
  }
  const double size = std::fabs(value);
  const int sign = std::signbit(value) ? 0x8000 : 0;
  if (size < std::ldexp(1.0, -14))
    return static_cast<uint16_t>(sign | static_cast<int>(std::nearbyint(std::ldexp(size, 24))));
  int exponent = 0;
  const double fraction = std::frexp(size, &exponent);
  const int bits = ((exponent + 14) << 10) + static_cast<int>(std::nearbyint(fraction * 2048)) - 1024;
  return static_cast<uint16_t>(sign | std::min(bits, 0x7C00));
}

// Channel d of token s of head h is at elements[s * row + h * head + d].
struct View {
  const uint16_t* elements = nullptr;
  int64_t row = 0, head = 0;
};

// One batch entry or one packed sequence. The log-sum-exp of token s of head h goes to lse[s * lse_row + h * lse_head].
struct Sequence {
  Number number = Number::kBf16;
  View q, k, v;
  uint16_t* out = nullptr;
  int64_t out_row = 0, out_head = 0;
  float* lse = nullptr;
  int64_t lse_row = 0, lse_head = 0;
  int64_t heads = 1, kv_heads = 1, width = 0, q_len = 0, kv_len = 0;
  double scale = 1;
  Diagonal diagonal = Diagonal::kNone;
  int64_t diagonal_kv_len = 0;  // that a bottom-right diagonal ends at
  double empty_lse = -INFINITY;
};

inline void AttendQuery(const Sequence& s, int64_t head, int64_t i) {
  const int64_t kv_head = head / (s.heads / s.kv_heads);
  int64_t keys = s.kv_len;
  if (s.diagonal == Diagonal::kTopLeft) keys = std::min(keys, i + 1);
  if (s.diagonal == Diagonal::kBottomRight) keys = std::min(keys, i + 1 + s.diagonal_kv_len - s.q_len);
  std::vector<double> scores, sum(static_cast<size_t>(s.width), 0.0);
  double greatest = -INFINITY, weight = 0;
  for (int64_t j = 0; j < keys; ++j) {
    double score = 0;
    for (int64_t d = 0; d < s.width; ++d) {
      score += FromBits(s.q.elements[i * s.q.row + head * s.q.head + d], s.number) *
               FromBits(s.k.elements[j * s.k.row + kv_head * s.k.head + d], s.number);
    }
    scores.push_back(score * s.scale);
    greatest = std::max(greatest, scores.back());
  }
  for (int64_t j = 0; j < keys; ++j) {
    const double share = std::exp(scores[static_cast<size_t>(j)] - greatest);
    weight += share;
    for (int64_t d = 0; d < s.width; ++d) {
      sum[static_cast<size_t>(d)] += share * FromBits(s.v.elements[j * s.v.row + kv_head * s.v.head + d], s.number);
    }
  }
  for (int64_t d = 0; d < s.width; ++d) {
    const double value = weight > 0 ? sum[static_cast<size_t>(d)] / weight : 0;
    s.out[i * s.out_row + head * s.out_head + d] = ToBits(value, s.number);
  }
  if (s.lse == nullptr) return;
  s.lse[i * s.lse_row + head * s.lse_head] = static_cast<float>(weight > 0 ? greatest + std::log(weight) : s.empty_lse);
}

inline void Attend(const Sequence& sequence) {
  for (int64_t head = 0; head < sequence.heads; ++head) {
    for (int64_t i = 0; i < sequence.q_len; ++i) AttendQuery(sequence, head, i);
  }
}

}  // namespace vendors
