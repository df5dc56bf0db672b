#include "kernels/elementwise/reference.h"

#include <cmath>

namespace tessera::reference {
namespace {

// Element (row, channel) of a tensor whose last axis is contiguous.
int64_t Offset(const Tensor& t, int64_t row, int64_t channel) noexcept {
  return row * (t.rank() == 2 ? t.stride(0) : t.dim(t.rank() - 1)) + channel;
}
double Get(const Tensor& t, int64_t offset) noexcept {
  return t.dtype() == DType::kF32 ? static_cast<double>(t.data<float>()[offset])
                                  : static_cast<double>(ToFloat(t.data<BFloat16>()[offset]));
}
void Put(Tensor& t, int64_t offset, double value) noexcept {
  const auto number = static_cast<float>(value);
  if (t.dtype() == DType::kF32) {
    t.mutable_data<float>()[offset] = number;
  } else {
    t.mutable_data<BFloat16>()[offset] = ToBFloat16(number);
  }
}
double RoundedAs(DType dtype, double value) noexcept {
  const auto number = static_cast<float>(value);
  return static_cast<double>(dtype == DType::kBF16 ? ToFloat(ToBFloat16(number)) : number);
}
int64_t Channels(const Tensor& t) noexcept { return t.dim(t.rank() - 1); }
int64_t Rows(const Tensor& t) noexcept { return t.numel() / Channels(t); }
double SiluOf(double x) noexcept { return x / (1.0 + std::exp(-x)); }
double GeluTanhOf(double x) noexcept {
  const double root = std::sqrt(2.0 / 3.14159265358979323846);
  return 0.5 * x * (1.0 + std::tanh(root * (x + 0.044715 * x * x * x)));
}

double RmsFactor(const Tensor& x, int64_t offset, int64_t count, float eps) noexcept {
  double squares = 0;
  for (int64_t i = 0; i < count; ++i) squares += Get(x, offset + i) * Get(x, offset + i);
  return 1.0 / std::sqrt(squares / static_cast<double>(count) + static_cast<double>(eps));
}

// Rotates the pair (first, second) of x by the angle whose cosine and sine are given.
void Rotate(Tensor& x, int64_t first, int64_t second, double cos, double sin) noexcept {
  const double a = Get(x, first), b = Get(x, second);
  Put(x, first, a * cos - b * sin);
  Put(x, second, b * cos + a * sin);
}

}  // namespace

void LayerNormModulate(const Tensor& src, const Tensor& scale, const Tensor& shift, float eps, Tensor& dst) noexcept {
  const int64_t channels = Channels(src);
  for (int64_t row = 0; row < Rows(src); ++row) {
    double mean = 0, variance = 0;
    for (int64_t c = 0; c < channels; ++c) mean += Get(src, Offset(src, row, c));
    mean /= static_cast<double>(channels);
    for (int64_t c = 0; c < channels; ++c) {
      const double difference = Get(src, Offset(src, row, c)) - mean;
      variance += difference * difference;
    }
    const double deviation = std::sqrt(variance / static_cast<double>(channels) + static_cast<double>(eps));
    for (int64_t c = 0; c < channels; ++c) {
      const double x = (Get(src, Offset(src, row, c)) - mean) / deviation;
      Put(dst, Offset(dst, row, c), x * (1.0 + Get(scale, c)) + Get(shift, c));
    }
  }
}

void RmsNorm(const Tensor& src, const Tensor& weight, float eps, Tensor& dst) noexcept {
  for (int64_t row = 0; row < Rows(src); ++row) {
    const double factor = RmsFactor(src, Offset(src, row, 0), Channels(src), eps);
    for (int64_t c = 0; c < Channels(src); ++c) {
      Put(dst, Offset(dst, row, c), RoundedAs(dst.dtype(), Get(src, Offset(src, row, c)) * factor) * Get(weight, c));
    }
  }
}

void ApplyQkNormRotary(QkNormRotary& operands) noexcept {
  Tensor& x = operands.x;
  const int64_t heads = x.dim(1), head_dim = x.dim(2), half = head_dim / 2;
  // The rotated value is rounded once, from the normalised value rounded to the tensor's type.
  for (int64_t item = 0; item < x.dim(0) * heads; ++item) {
    const int64_t row = item / heads, begin = row * x.stride(0) + item % heads * head_dim;
    if (operands.weight.defined()) {
      const double factor = RmsFactor(x, begin, head_dim, operands.eps);
      for (int64_t i = 0; i < head_dim; ++i) {
        Put(x, begin + i, RoundedAs(x.dtype(), Get(x, begin + i) * factor) * Get(operands.weight, i));
      }
    }
    for (int64_t i = 0; operands.cos.defined() && i < half; ++i) {
      const bool interleaved = operands.kind == RotaryKind::kInterleaved;
      const int64_t first = begin + (interleaved ? 2 * i : i), second = interleaved ? first + 1 : first + half;
      Rotate(x, first, second, Get(operands.cos, row * half + i), Get(operands.sin, row * half + i));
    }
  }
}

void AddGated(Tensor& residual, const Tensor& update, const Tensor& gate) noexcept {
  for (int64_t row = 0; row < Rows(residual); ++row) {
    for (int64_t c = 0; c < Channels(residual); ++c) {
      const int64_t at = Offset(residual, row, c);
      const double factor = gate.defined() ? Get(gate, c) : 1.0;
      Put(residual, at, Get(residual, at) + factor * Get(update, Offset(update, row, c)));
    }
  }
}

void SwiGlu(const Tensor& src, Tensor& dst) noexcept {
  const int64_t channels = Channels(dst);
  for (int64_t row = 0; row < Rows(dst); ++row) {
    for (int64_t c = 0; c < channels; ++c) {
      const double gate = Get(src, Offset(src, row, c)), up = Get(src, Offset(src, row, c + channels));
      Put(dst, Offset(dst, row, c), SiluOf(gate) * up);
    }
  }
}

void SiluMultiply(const Tensor& gate, const Tensor& up, Tensor& dst) noexcept {
  for (int64_t row = 0; row < Rows(dst); ++row) {
    for (int64_t c = 0; c < Channels(dst); ++c) {
      Put(dst, Offset(dst, row, c), SiluOf(Get(gate, Offset(gate, row, c))) * Get(up, Offset(up, row, c)));
    }
  }
}

void Silu(const Tensor& src, Tensor& dst) noexcept {
  for (int64_t i = 0; i < dst.numel(); ++i) Put(dst, i, SiluOf(Get(src, i)));
}

void GeluTanh(const Tensor& src, Tensor& dst) noexcept {
  for (int64_t i = 0; i < dst.numel(); ++i) Put(dst, i, GeluTanhOf(Get(src, i)));
}

void GeluTanhMultiply(const Tensor& gate, const Tensor& up, Tensor& dst) noexcept {
  for (int64_t i = 0; i < dst.numel(); ++i) Put(dst, i, GeluTanhOf(Get(gate, i)) * Get(up, i));
}

void GeluErf(const Tensor& src, Tensor& dst) noexcept {
  for (int64_t i = 0; i < dst.numel(); ++i) {
    const double x = Get(src, i);
    Put(dst, i, 0.5 * x * (1.0 + std::erf(x / std::sqrt(2.0))));
  }
}

void Add(const Tensor& a, const Tensor& b, Tensor& dst) noexcept {
  for (int64_t i = 0; i < dst.numel(); ++i) Put(dst, i, Get(a, i) + Get(b, i));
}

void GroupNorm(const Tensor& src, const Tensor& weight, const Tensor& bias, const GroupNormShape& shape,
               Tensor& dst) noexcept {
  const int64_t channels = Channels(src), pixels = src.numel() / (src.dim(0) * channels);
  const int64_t width = channels / shape.groups, count = pixels * width;
  const auto at = [&](int64_t n, int64_t g, int64_t i) {
    return (n * pixels + i / width) * channels + g * width + i % width;
  };
  for (int64_t item = 0; item < src.dim(0) * shape.groups; ++item) {
    const int64_t n = item / shape.groups, g = item % shape.groups;
    double mean = 0, variance = 0;
    for (int64_t i = 0; i < count; ++i) mean += Get(src, at(n, g, i));
    mean /= static_cast<double>(count);
    for (int64_t i = 0; i < count; ++i) variance += std::pow(Get(src, at(n, g, i)) - mean, 2);
    const double deviation = std::sqrt(variance / static_cast<double>(count) + static_cast<double>(shape.eps));
    for (int64_t i = 0; i < count; ++i) {
      const int64_t c = g * width + i % width;
      const double y = (Get(src, at(n, g, i)) - mean) / deviation * Get(weight, c) + Get(bias, c);
      Put(dst, at(n, g, i), shape.activation == Activation::kSilu ? SiluOf(y) : y);
    }
  }
}

void UpsampleNearest2x(const Tensor& src, Tensor& dst) noexcept {
  const int64_t height = dst.dim(1), width = dst.dim(2), channels = dst.dim(3);
  for (int64_t i = 0; i < dst.numel(); ++i) {
    const int64_t c = i % channels, x = i / channels % width, y = i / channels / width % height;
    const int64_t n = i / channels / width / height;
    Put(dst, i, Get(src, ((n * height / 2 + y / 2) * (width / 2) + x / 2) * channels + c));
  }
}

}  // namespace tessera::reference
