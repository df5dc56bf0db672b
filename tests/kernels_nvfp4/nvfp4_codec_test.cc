// The number formats of NVFP4, every code of them.
#include <bit>
#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "kernels/attention/nvfp4_reference.h"

namespace tessera {
namespace {

constexpr float kE2m1[] = {0, 0.5f, 1, 1.5f, 2, 3, 4, 6};

TEST(E2m1, HasSixteenCodes) {
  for (uint8_t code = 0; code < 8; ++code) {
    EXPECT_EQ(DecodeE2m1(code), kE2m1[code]);
    EXPECT_EQ(DecodeE2m1(code | 8), -kE2m1[code]);
    EXPECT_TRUE(std::signbit(DecodeE2m1(code | 8)));
  }
}

TEST(E2m1, EncodesWhatItDecodes) {
  for (uint8_t code = 0; code < 16; ++code) EXPECT_EQ(EncodeE2m1(DecodeE2m1(code)), code);
}

TEST(E2m1, RoundsTiesToEvenCodes) {
  constexpr std::pair<float, float> kTies[] = {{0.25f, 0}, {0.75f, 1}, {1.25f, 1}, {1.75f, 2},
                                               {2.5f, 2},  {3.5f, 4},  {5, 4}};
  for (const auto& [x, wanted] : kTies) {
    EXPECT_EQ(DecodeE2m1(EncodeE2m1(x)), wanted) << x;
    EXPECT_EQ(DecodeE2m1(EncodeE2m1(-x)), -wanted) << -x;
  }
}

TEST(E2m1, RoundsToTheNearerBesideTies) {
  for (int code = 0; code < 7; ++code) {
    const float tie = (kE2m1[code] + kE2m1[code + 1]) / 2;
    EXPECT_EQ(DecodeE2m1(EncodeE2m1(std::nextafter(tie, 0.0f))), kE2m1[code]) << tie;
    EXPECT_EQ(DecodeE2m1(EncodeE2m1(std::nextafter(tie, 9.0f))), kE2m1[code + 1]) << tie;
  }
}

TEST(E2m1, Saturates) {
  for (const float x : {6.0f, 6.9f, 7.0f, 100.0f, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(DecodeE2m1(EncodeE2m1(x)), 6) << x;
    EXPECT_EQ(DecodeE2m1(EncodeE2m1(-x)), -6) << x;
  }
}

// Sign, 4 bits of exponent, 3 of fraction: the value by integer arithmetic on the code.
TEST(E4m3, HasTwoHundredFiftySixCodes) {
  for (int code = 0; code < 256; ++code) {
    const float got = DecodeE4m3(static_cast<uint8_t>(code));
    if ((code & 0x7F) == 0x7F) {
      EXPECT_TRUE(std::isnan(got)) << code;
      continue;
    }
    const int exponent = code >> 3 & 15, fraction = code & 7;
    const int units = exponent == 0 ? fraction : (8 + fraction) << (exponent - 1);  // of 2^-9
    EXPECT_EQ(std::abs(got), static_cast<float>(units) / 512) << code;
    EXPECT_EQ(std::signbit(got), code >= 128) << code;
  }
  EXPECT_EQ(DecodeE4m3(0x7E), 448);
}

TEST(E4m3, EncodesWhatItDecodes) {
  for (int code = 0; code < 256; ++code) {
    if ((code & 0x7F) == 0x7F) continue;
    EXPECT_EQ(EncodeE4m3(DecodeE4m3(static_cast<uint8_t>(code))), code);
  }
}

TEST(E4m3, RoundsTiesToEvenCodesAndBesideThemToTheNearer) {
  for (uint8_t code = 0; code < 0x7E; ++code) {
    const float low = DecodeE4m3(code), high = DecodeE4m3(static_cast<uint8_t>(code + 1));
    const float tie = (low + high) / 2;
    EXPECT_EQ(EncodeE4m3(tie), code % 2 == 0 ? code : code + 1) << tie;
    EXPECT_EQ(EncodeE4m3(std::nextafter(tie, 0.0f)), code) << tie;
    EXPECT_EQ(EncodeE4m3(std::nextafter(tie, 500.0f)), code + 1) << tie;
  }
}

TEST(E4m3, SaturatesAndKeepsNan) {
  EXPECT_EQ(EncodeE4m3(460), 0x7E);
  EXPECT_EQ(EncodeE4m3(1e30f), 0x7E);
  EXPECT_EQ(EncodeE4m3(-1e30f), 0xFE);
  EXPECT_TRUE(std::isnan(DecodeE4m3(EncodeE4m3(std::numeric_limits<float>::quiet_NaN()))));
}

TEST(Nvfp4Format, PutsTheEvenNumberInTheLowHalf) {
  std::vector<float> numbers(32);
  numbers[0] = 6;
  numbers[1] = -1;
  numbers[31] = 3;
  const Nvfp4Numbers got = QuantizeNvfp4(numbers);
  ASSERT_EQ(got.codes.size(), 16U);
  EXPECT_EQ(got.codes[0], 0xA7);
  EXPECT_EQ(got.codes[15], 0x70);
  EXPECT_EQ(got.scales, (std::vector<uint8_t>{EncodeE4m3(1), EncodeE4m3(0.5f)}));
}

TEST(Nvfp4Format, DividesByTheRoundedScale) {
  std::vector<float> numbers(16);
  numbers[0] = 6.5f;   // scale 1.0833 rounds to 1.125
  numbers[1] = 4.9f;   // / 1.125 = 4.36 is nearer to 4; / 1.0833 = 4.52 too
  numbers[2] = 1.38f;  // / 1.125 = 1.227 -> 1; / 1.0833 = 1.274 would give 1.5
  const auto got = DequantizeNvfp4(QuantizeNvfp4(numbers));
  EXPECT_EQ(got[0], 6.75f);
  EXPECT_EQ(got[1], 4.5f);
  EXPECT_EQ(got[2], 1.125f);
}

TEST(Nvfp4Format, LosesGroupsWhoseScaleVanishes) {
  std::vector<float> numbers(16, 6 * 0x1p-10f);
  for (const float x : DequantizeNvfp4(QuantizeNvfp4(numbers))) EXPECT_EQ(x, 0);
  numbers.assign(16, std::nextafter(6 * 0x1p-10f, 1.0f));
  for (const float x : DequantizeNvfp4(QuantizeNvfp4(numbers))) EXPECT_EQ(x, 6 * 0x1p-9f * 0.5f);
}

TEST(Nvfp4Format, SaturatesAt2688) {
  std::vector<float> numbers(16, 1e6f);
  numbers[1] = -1e6f;
  const auto got = DequantizeNvfp4(QuantizeNvfp4(numbers));
  EXPECT_EQ(got[0], 2688);
  EXPECT_EQ(got[1], -2688);
}

// Every code times every scale holds in 8 bits of significand, so that bf16 products are those of 4-bit hardware.
TEST(Nvfp4Format, IsExactInBf16) {
  for (uint8_t code = 0; code < 16; ++code) {
    for (uint8_t scale = 0; scale < 0x7F; ++scale) {
      const float value = DecodeE2m1(code) * DecodeE4m3(scale);
      EXPECT_EQ(std::bit_cast<uint32_t>(value) & 0xFFFF, 0U) << int{code} << " " << int{scale};
    }
  }
}

}  // namespace
}  // namespace tessera
