#include "tensor/difference.h"

#include <cmath>
#include <limits>

namespace tessera {
namespace {

// The larger one; a NaN stays.
double Larger(double a, double b) noexcept { return std::isnan(a) || a > b ? a : b; }

}  // namespace

void Difference::Add(double value, double reference) noexcept {
  const double difference = std::abs(value - reference);
  ++count_;
  absolute_ += difference;
  size_ += std::abs(reference);
  squared_ += difference * difference;
  product_ += value * reference;
  value_norm_ += value * value;
  reference_norm_ += reference * reference;
  max_abs_ = Larger(max_abs_, difference);
}

void Difference::Add(const Difference& other) noexcept {
  count_ += other.count_;
  absolute_ += other.absolute_;
  size_ += other.size_;
  squared_ += other.squared_;
  product_ += other.product_;
  value_norm_ += other.value_norm_;
  reference_norm_ += other.reference_norm_;
  max_abs_ = Larger(max_abs_, other.max_abs_);
}

double Difference::rel_l1() const noexcept {
  if (absolute_ == 0) return 0;
  return size_ == 0 ? std::numeric_limits<double>::infinity() : absolute_ / size_;
}

double Difference::one_minus_cos() const noexcept {
  if (value_norm_ == 0 && reference_norm_ == 0) return 0;
  if (value_norm_ == 0 || reference_norm_ == 0) return 1;
  return 1 - product_ / (std::sqrt(value_norm_) * std::sqrt(reference_norm_));
}

double Difference::rmse() const noexcept { return count_ == 0 ? 0 : std::sqrt(squared_ / static_cast<double>(count_)); }

}  // namespace tessera
