#include "tensor/difference.h"

#include <cmath>

#include <gtest/gtest.h>

namespace tessera {
namespace {

TEST(Difference, FollowsItsDefinitions) {
  Difference difference;
  difference.Add(1, 2);
  difference.Add(-3, -1);
  EXPECT_EQ(difference.count(), 2);
  EXPECT_DOUBLE_EQ(difference.rel_l1(), 3.0 / 3.0);
  EXPECT_DOUBLE_EQ(difference.max_abs(), 2);
  EXPECT_DOUBLE_EQ(difference.rmse(), std::sqrt(5.0 / 2.0));
  EXPECT_DOUBLE_EQ(difference.one_minus_cos(), 1 - 5.0 / (std::sqrt(10.0) * std::sqrt(5.0)));
}

TEST(Difference, SumsOfPartsAreTheWhole) {
  Difference whole, first, second;
  for (int i = 0; i < 10; ++i) {
    whole.Add(i, i * i);
    (i < 4 ? first : second).Add(i, i * i);
  }
  first.Add(second);
  EXPECT_EQ(first.count(), whole.count());
  EXPECT_DOUBLE_EQ(first.rel_l1(), whole.rel_l1());
  EXPECT_DOUBLE_EQ(first.one_minus_cos(), whole.one_minus_cos());
  EXPECT_DOUBLE_EQ(first.max_abs(), whole.max_abs());
}

TEST(Difference, IsZeroForNothing) {
  const Difference nothing;
  EXPECT_EQ(nothing.rel_l1(), 0);
  EXPECT_EQ(nothing.one_minus_cos(), 0);
  EXPECT_EQ(nothing.rmse(), 0);
}

TEST(Difference, AZeroReferenceIsInfinitelyFar) {
  Difference difference;
  difference.Add(1, 0);
  EXPECT_TRUE(std::isinf(difference.rel_l1()));
  EXPECT_EQ(difference.one_minus_cos(), 1);
}

TEST(Difference, ANanStays) {
  Difference difference;
  difference.Add(NAN, 1);
  difference.Add(5, 1);
  EXPECT_TRUE(std::isnan(difference.max_abs()));
  EXPECT_TRUE(std::isnan(difference.rel_l1()));
}

}  // namespace
}  // namespace tessera
