// How far values are from a reference: sums in double precision over any number of values.
#pragma once
#include <cstdint>

namespace tessera {

class Difference {
 public:
  void Add(double value, double reference) noexcept;
  void Add(const Difference& other) noexcept;

  int64_t count() const noexcept { return count_; }
  double rel_l1() const noexcept;         // sum |x - y| / sum |y|; infinite when only the reference is zero
  double one_minus_cos() const noexcept;  // 1 - x.y / (|x| |y|); 0 when both are zero, 1 when one is
  double rmse() const noexcept;           // sqrt(mean (x - y)^2)
  // NaN when a value was NaN, as the others then are.
  double max_abs() const noexcept { return max_abs_; }

 private:
  int64_t count_ = 0;
  double absolute_ = 0, size_ = 0, squared_ = 0;  // sums of |x - y|, |y|, (x - y)^2
  double product_ = 0, value_norm_ = 0, reference_norm_ = 0;
  double max_abs_ = 0;
};

}  // namespace tessera
