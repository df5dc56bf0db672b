#include "support/relative_error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

namespace tessera {

double RelativeError(const Tensor& got, const Tensor& want) {
  EXPECT_EQ(got.numel(), want.numel());
  const Tensor a = got.To(DType::kF32), b = want.To(DType::kF32);
  double error = 0, largest = 0;
  for (int64_t i = 0; i < std::min(a.numel(), b.numel()); ++i) {
    const double difference = static_cast<double>(a.data<float>()[i]) - b.data<float>()[i];
    if (!std::isfinite(difference)) return INFINITY;
    error = std::max(error, std::abs(difference));
    largest = std::max(largest, std::abs(static_cast<double>(b.data<float>()[i])));
  }
  return error / largest;
}

}  // namespace tessera
