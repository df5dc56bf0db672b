#include "attention/partial_sum.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace tessera {
namespace {

struct Sums {
  std::vector<std::byte> memory = std::vector<std::byte>(PartialSum::Bytes(2, 3));
  PartialSum sum{memory.data(), 2, 3};
};

TEST(PartialSum, WeighsRowsByTheirLogSumExp) {
  Sums sums;
  sums.sum.Clear();
  const float first[] = {1, 2, 3}, second[] = {5, 6, 7};
  for (const bool swapped : {false, true}) {
    const int64_t query = swapped ? 1 : 0;
    sums.sum.Add(query, swapped ? second : first, swapped ? std::log(3.0f) : 0.0f);
    sums.sum.Add(query, swapped ? first : second, swapped ? 0.0f : std::log(3.0f));
    float row[3];
    EXPECT_NEAR(sums.sum.Write(query, DType::kF32, row), std::log(4.0f), 1e-6);
    for (int d = 0; d < 3; ++d) EXPECT_NEAR(row[d], (first[d] + 3 * second[d]) / 4, 1e-6);
  }
}

TEST(PartialSum, RowsWithoutKeysAddNothing) {
  Sums sums;
  sums.sum.Clear();
  const float any[] = {NAN, NAN, NAN};
  sums.sum.Add(0, any, -INFINITY);
  float row[3] = {9, 9, 9};
  EXPECT_EQ(sums.sum.Write(0, DType::kF32, row), -INFINITY);
  for (const float x : row) EXPECT_EQ(x, 0);
}

TEST(PartialSum, FarApartSumsStayFinite) {
  Sums sums;
  sums.sum.Clear();
  const float first[] = {1, 1, 1}, second[] = {2, 2, 2};
  sums.sum.Add(0, first, -1000);
  sums.sum.Add(0, second, 1000);
  sums.sum.Add(0, first, -1000);
  float row[3];
  EXPECT_EQ(sums.sum.Write(0, DType::kF32, row), 1000);
  for (const float x : row) EXPECT_EQ(x, 2);
}

}  // namespace
}  // namespace tessera
