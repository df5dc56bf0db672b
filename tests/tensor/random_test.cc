#include "tensor/random.h"

#include <bit>
#include <charconv>
#include <cmath>

#include <gmock/gmock.h>

#include "weights/safetensors.h"

namespace tessera {
namespace {

const std::string kGolden = TESSERA_SOURCE_FOLDER "/tests/golden/";

// The number that follows the last `mark` of a key such as "randn_f32_seed42_n3".
uint64_t NumberAfter(const std::string& key, const std::string& mark) {
  uint64_t number = 0;
  const size_t place = key.rfind(mark) + mark.size();
  EXPECT_EQ(std::from_chars(key.data() + place, key.data() + key.size(), number).ec, std::errc()) << key;
  return number;
}

void ExpectSameBits(const Tensor& drawn, const Tensor& expected, const std::string& key) {
  ASSERT_EQ(drawn.shape(), expected.shape()) << key;
  ASSERT_EQ(drawn.dtype(), expected.dtype()) << key;
  EXPECT_EQ(std::memcmp(drawn.raw(), expected.raw(), expected.bytes()), 0) << key;
}

TEST(TorchGenerator, DrawsTheMersenneTwistersSequence) {
  TorchGenerator generator(5489);
  EXPECT_EQ(generator.Next32(), 3499211612u);
  for (int i = 0; i < 9998; ++i) generator.Next32();
  EXPECT_EQ(generator.Next32(), 4123659995u);  // the 10000th value, from the C++ standard
}

TEST(TorchGenerator, OnlyTheLow32BitsOfTheSeedCount) {
  EXPECT_EQ(TorchGenerator(7).Next32(), TorchGenerator((uint64_t{1} << 32) + 7).Next32());
}

TEST(TorchGenerator, MatchesTorchBitForBit) {
  const SafetensorsFile golden(kGolden + "rng.safetensors");
  int checked = 0;
  for (const SafetensorsEntry& entry : golden.header().entries) {
    TorchGenerator generator(NumberAfter(entry.key, "seed"));
    const Tensor drawn =
        entry.key.starts_with("randn") ? generator.Randn(entry.shape, entry.dtype) : generator.Rand(entry.shape);
    ExpectSameBits(drawn, golden.View(entry), entry.key);
    ++checked;
  }
  EXPECT_EQ(checked, 10);
}

TEST(TorchGenerator, MatchesTheNoiseOfPipelinesBitForBit) {
  const SafetensorsFile golden(kGolden + "noise.safetensors");
  ASSERT_GT(golden.header().entries.size(), 10u);
  for (const SafetensorsEntry& entry : golden.header().entries) {
    TorchGenerator generator(NumberAfter(entry.key, "seed"));
    ExpectSameBits(generator.Randn(entry.shape, entry.dtype), golden.View(entry), entry.key);
  }
}

TEST(TorchGenerator, KeepsTheSecondOfAPairOfScalarDraws) {
  TorchGenerator one(3), two(3);
  const Tensor three = one.Randn({3}, DType::kF32), first = two.Randn({1}, DType::kF32),
               rest = two.Randn({2}, DType::kF32);
  EXPECT_EQ(three.data<float>()[0], first.data<float>()[0]);
  EXPECT_EQ(three.data<float>()[1], rest.data<float>()[0]);
  EXPECT_EQ(three.data<float>()[2], rest.data<float>()[1]);
}

TEST(TorchGenerator, FewBF16DrawsAreTheRoundedScalarDraws) {
  const Tensor wide = TorchGenerator(1).Randn({15}, DType::kF32), narrow = TorchGenerator(1).Randn({15}, DType::kBF16);
  for (int i = 0; i < 15; ++i) EXPECT_EQ(narrow.data<BFloat16>()[i].bits, ToBFloat16(wide.data<float>()[i]).bits);
}

TEST(TorchGenerator, DrawsNothingForAnEmptyShape) {
  TorchGenerator generator(5489);
  EXPECT_EQ(generator.Randn({0, 3}, DType::kF32).numel(), 0);
  EXPECT_EQ(generator.Next32(), 3499211612u);
}

TEST(TorchGenerator, ManyDrawsAreFiniteAndNormal) {
  constexpr int64_t kCount = (1 << 20) + 5;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Tensor drawn = TorchGenerator(11).Randn({kCount}, dtype).To(DType::kF32);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < kCount; ++i) {
      const double value = drawn.data<float>()[i];
      ASSERT_TRUE(std::isfinite(value)) << i;
      sum += value;
      squares += value * value;
    }
    // bf16 angles take 256 values and its radii at most sqrt(2 ln 256): hence the wider bounds.
    EXPECT_NEAR(sum / kCount, 0.0, dtype == DType::kF32 ? 0.004 : 0.02);
    EXPECT_NEAR(squares / kCount, 1.0, dtype == DType::kF32 ? 0.006 : 0.03);
  }
}

}  // namespace
}  // namespace tessera
