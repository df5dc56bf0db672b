// Codes, scales and whole-number scores of SageAttention's kernels against the plain recipe, bit for bit.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "kernels_sage/sage_call.h"
#include "tensor/storage.h"

namespace tessera {
namespace {

constexpr size_t kBlock = kFlashBlock;

// One block of queries and one panel of keys and values of a kernel.
class Tile {
 public:
  Tile(const SageKernel& kernel, int channels, SageGranularity granularity, SageRounding rounding)
      : kernel_(kernel), queries_(channels == 77 ? 37 : 64), keys_(channels == 96 ? 41 : 64) {
    const int step = kernel.channel_step, padded = (channels + step - 1) / step * step;
    const float scale_log2 = rounding == SageRounding::kEven ? 1.0f : 0.1275f;
    format_ = {{DType::kF32, channels, padded, scale_log2}, (padded + 15) / 16 * 16, granularity, SageValues::kInt8};
    format_.rounding = rounding;
    memory_ = AllocateAligned(kBytes);
    std::memset(memory_.get(), 0xFF, kBytes);
    q_ = Draw(queries_, 1);
    k_ = Draw(keys_, 2);
    mean_ = Fill(0), ones_ = Fill(1), zeros_ = Fill(0);
    for (int d = 0; d < channels; ++d) mean_[d] = std::sin(static_cast<float>(d)) / 8;
  }

  void Pack() {
    block_.flash.count = queries_;
    block_.flash.queries = Take(kBlock * 256 * 4);
    block_.flash.probabilities = Take(kBlock * 256 * 4);
    block_.flash.output = Take(kBlock * 256 * 4);
    block_.scores = Take(kBlock * 256 * 4);
    block_.flash.reference = Take(kBlock * 4);
    block_.flash.sum = Take(kBlock * 4);
    block_.query_scale = Take(kBlock * 4);
    block_.mean_score = Take(kBlock * 4);
    key_panel_ = Take(kBlock * 256 * 4 + kSageKeyTailBytes);
    value_panel_ = Take(kBlock * 256 * 4);
    const SageHead head{mean_, zeros_, ones_, ones_};
    kernel_.pack_queries(format_, RowsOf(q_), head, &block_);
    kernel_.pack_keys(format_, RowsOf(k_), head, key_panel_);
    kernel_.pack_values(format_, RowsOf(k_), head, value_panel_);
    const FlashVisit visit{key_panel_, value_panel_, kAllLanes >> (kFlashBlock - keys_), kAllLanes, kNoDiagonal};
    kernel_.attend(format_, &visit, 1, &block_);
  }

  int queries() const { return queries_; }
  int keys() const { return keys_; }
  int QueryCode(int query, int channel) const { return Code(block_.flash.queries, kFlashBlock, 0, query, channel); }
  int KeyCode(int key, int channel) const {
    const int rows = kernel_.channel_step;
    return Code(key_panel_, rows, key / rows * rows * format_.rows.padded, key % rows, channel);
  }
  float KeyScale(int key) const {
    const auto* tail =
        reinterpret_cast<const std::byte*>(key_panel_) + kFlashBlock * format_.rows.padded * kernel_.code_bytes;
    return reinterpret_cast<const float*>(tail + kFlashBlock * sizeof(int32_t))[key % 8 / 2];
  }
  float QueryScale(int query) const { return block_.query_scale[query]; }
  float Score(int query, int key) const { return block_.scores[key * kFlashBlock + query]; }

  SageCodes QueryReference() const { return QuantizeSageQueries(q_, format_); }
  SageCodes KeyReference() const {
    const std::vector<float> mean(mean_, mean_ + format_.rows.channels);
    return QuantizeSageKeys(k_, mean, format_);
  }

 private:
  static constexpr size_t kBytes = size_t{1} << 21;

  std::vector<float> Draw(int rows, uint64_t seed) const {
    Rows drawn(DType::kBF16, 1, rows, 1, format_.rows.channels);
    drawn.FillNormal(seed, 1);
    return HeadRows(drawn, rows, format_.rows.channels, 0);
  }
  FlashRows RowsOf(const std::vector<float>& values) const {
    FlashRows rows;
    const auto channels = static_cast<size_t>(format_.rows.channels);
    for (size_t i = 0; i * channels < values.size(); ++i) rows.row[i] = values.data() + i * channels;
    return rows;
  }
  float* Take(size_t bytes) {
    auto* const taken = reinterpret_cast<float*>(memory_.get() + used_);
    used_ += (bytes + 63) / 64 * 64;
    return taken;
  }
  float* Fill(float value) {
    float* const row = Take(static_cast<size_t>(format_.stride) * sizeof(float));
    std::fill_n(row, format_.stride, value);
    return row;
  }
  // Codes lie in words of 4 neighbouring channels, `lanes` words a row, or in f32. Queries' bytes are 128 too large.
  int Code(const void* from, int lanes, int first, int lane, int channel) const {
    if (kernel_.code_bytes == 4)
      return static_cast<int>(static_cast<const float*>(from)[first + channel * lanes + lane]);
    const auto* bytes = static_cast<const int8_t*>(from) + first;
    const int8_t byte = bytes[(channel / 4 * lanes + lane) * 4 + channel % 4];
    return from == block_.flash.queries ? static_cast<uint8_t>(byte) - 128 : byte;
  }

  const SageKernel& kernel_;
  SageFormat format_;
  int queries_, keys_;
  std::shared_ptr<std::byte> memory_;
  size_t used_ = 0;
  std::vector<float> q_, k_;
  SageBlock block_;
  float *mean_ = nullptr, *ones_ = nullptr, *zeros_ = nullptr, *key_panel_ = nullptr, *value_panel_ = nullptr;
};

void ExpectSameCodes(const Tile& tile, int channels) {
  const int queries = tile.queries(), keys = tile.keys();
  const SageCodes q = tile.QueryReference(), k = tile.KeyReference();
  const auto dim = static_cast<size_t>(channels);
  for (int i = 0; i < queries; ++i) {
    const auto row = static_cast<size_t>(i);
    ASSERT_EQ(tile.QueryScale(i), q.scales[row]) << i;
    for (int d = 0; d < channels; ++d) ASSERT_EQ(tile.QueryCode(i, d), q.codes[row * dim + static_cast<size_t>(d)]);
  }
  for (int j = 0; j < keys; ++j) {
    const auto row = static_cast<size_t>(j);
    ASSERT_EQ(tile.KeyScale(j), k.scales[row]) << j;
    for (int d = 0; d < channels; ++d) ASSERT_EQ(tile.KeyCode(j, d), k.codes[row * dim + static_cast<size_t>(d)]);
  }
  for (int i = 0; i < queries; ++i) {
    const auto q_row = q.codes.begin() + i * channels;
    for (int j = 0; j < keys; ++j) {
      const int32_t score = std::inner_product(q_row, q_row + channels, k.codes.begin() + j * channels, 0);
      ASSERT_EQ(tile.Score(i, j), static_cast<float>(score)) << i << " " << j;
    }
  }
}

TEST(SageCodes, AndScoresEqualTheRecipeBitForBit) {
  for (const SageVariant& variant : SageVariants()) {
    for (const int channels : {64, 96, 128, 40, 3, 77, 256}) {
      for (const SageGranularity granularity : kAllSageGranularities) {
        for (const SageRounding rounding : {SageRounding::kEven, SageRounding::kAway}) {
          SCOPED_TRACE(fmt::format("{} d{} granularity {} rounding {}", variant.name, channels,
                                   static_cast<int>(granularity), static_cast<int>(rounding)));
          Tile tile(*variant.kernel, channels, granularity, rounding);
          tile.Pack();
          ExpectSameCodes(tile, channels);
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST(SageCodes, E4m3HasItsValuesTiesAndLimits) {
  EXPECT_EQ(RoundToE4m3Reference(448), 448);
  EXPECT_EQ(RoundToE4m3Reference(500), 448);
  EXPECT_EQ(RoundToE4m3Reference(-1e9f), -448);
  EXPECT_EQ(RoundToE4m3Reference(17), 16);  // half way: to even
  EXPECT_EQ(RoundToE4m3Reference(19), 20);
  EXPECT_EQ(RoundToE4m3Reference(0x1p-9f), 0x1p-9f);
  EXPECT_EQ(RoundToE4m3Reference(0x1p-10f), 0);
  EXPECT_EQ(RoundToE4m3Reference(0x1.8p-9f), 0x1p-8f);
  EXPECT_EQ(RoundToE4m3Reference(0x1.0fp-6f), 0x1p-6f);
}

TEST(SageCodes, E4m3FnuzLiesOnePowerOfTwoLower) {
  EXPECT_EQ(RoundToE4m3FnuzReference(240), 240);
  EXPECT_EQ(RoundToE4m3FnuzReference(300), 240);
  EXPECT_EQ(RoundToE4m3FnuzReference(-1e9f), -240);
  EXPECT_EQ(RoundToE4m3FnuzReference(17), 16);
  EXPECT_EQ(RoundToE4m3FnuzReference(0x1p-10f), 0x1p-10f);
  EXPECT_EQ(RoundToE4m3FnuzReference(0x1p-11f), 0);
  EXPECT_EQ(RoundToE4m3FnuzReference(0x1.8p-10f), 0x1p-9f);
}

// Halves go away from zero: rows of 127 and of halves have a scale of 1.
TEST(SageCodes, RoundHalvesAwayFromZeroWhenAsked) {
  SageFormat format{{DType::kF32, 4, 4, 1.0f}, 16, SageGranularity::kPerBlock, SageValues::kInt8};
  const std::vector<float> rows = {127, 0.5f, -0.5f, 2.5f}, mean(4);
  EXPECT_EQ(QuantizeSageKeys(rows, mean, format).codes, (std::vector<int32_t>{127, 0, 0, 2}));
  format.rounding = SageRounding::kAway;
  EXPECT_EQ(QuantizeSageKeys(rows, mean, format).codes, (std::vector<int32_t>{127, 1, -1, 3}));
  EXPECT_EQ(QuantizeSageKeys(std::vector<float>(4), mean, format).scales[0], 1);
}

// Probabilities and the output of every recipe; ties of codes may fall either way.
TEST(SageRecipe, IsWhatEveryKernelComputes) {
  for (const SageValues values : kAllSageValues) {
    for (const SageGranularity granularity : kAllSageGranularities) {
      const bool smooth_v = granularity == SageGranularity::kPerThread || granularity == SageGranularity::kPerBlock;
      const SageOptions options{.granularity = granularity, .values = values, .smooth_v = smooth_v};
      AttentionCall call = MakeSageCall("f32 b1 h1/1 d64 q190 kv700 mask=none", Operands::kBiased);
      const SageReferenceResult wanted = SolveByRecipe(call, 0, options, nullptr);
      for (const SageVariant& variant : SageVariants()) {
        SCOPED_TRACE(variant.name + " " + NameOf(values));
        RunSage(&call, variant.isa, options);
        EXPECT_LE(Between(call.out.HeadsFirst(), wanted.out).relative, 2e-3);
        for (size_t i = 0; i < wanted.lse.size(); ++i) ASSERT_NEAR(call.lse[i], wanted.lse[i], 5e-4) << i;
      }
    }
  }
}

// Scales that blocks of queries and panels of keys have in common; a last block that is cut.
TEST(SageRecipe, SharesScalesAmongBlocks) {
  for (const SageBlocks blocks : {SageBlocks::k128x64, SageBlocks::k256x128}) {
    for (const SageRounding rounding : {SageRounding::kEven, SageRounding::kAway}) {
      for (const SageValues values : {SageValues::kInt8, SageValues::kFp8Unit, SageValues::kFp8UnitFnuz}) {
        const SageOptions options{
            .granularity = SageGranularity::kPerBlock, .values = values, .rounding = rounding, .blocks = blocks};
        AttentionCall call = MakeSageCall("f32 b1 h1/1 d40 q420 kv460 mask=none", Operands::kBiased);
        for (int d = 0; d < 40; ++d) {
          call.q.Set(0, 200, 0, d, 6 * call.q.Get(0, 200, 0, d));
          call.k.Set(0, 70, 0, d, 6 * call.k.Get(0, 70, 0, d));
        }
        const SageReferenceResult wanted = SolveByRecipe(call, 0, options, nullptr);
        SageOptions own = options;
        own.blocks = SageBlocks::k64x64;
        for (const SageVariant& variant : SageVariants()) {
          SCOPED_TRACE(variant.name + " " + NameOf(values));
          RunSage(&call, variant.isa, options);
          EXPECT_LE(Between(call.out.HeadsFirst(), wanted.out).relative, 2e-3);
          for (size_t i = 0; i < wanted.lse.size(); ++i) ASSERT_NEAR(call.lse[i], wanted.lse[i], 5e-4) << i;
          const auto out = call.out.bytes();
          RunSage(&call, variant.isa, own);
          EXPECT_NE(out, call.out.bytes());
        }
      }
    }
  }
}

TEST(SageRecipe, GroupsPanelsOfACausalMaskAlike) {
  AttentionCall call = MakeSageCall("f32 b1 h1/1 d40 q400 kv450 mask=causal");
  for (const SageValues values : kAllSageValues) {
    const SageOptions options{.values = values};
    const SageReferenceResult wanted = SolveByRecipe(call, 0, options, VisibilityOf(call));
    for (const SageVariant& variant : SageVariants()) {
      RunSage(&call, variant.isa, options);
      EXPECT_LE(Between(call.out.HeadsFirst(), wanted.out).relative, 2e-3) << variant.name << " " << NameOf(values);
    }
  }
}

}  // namespace
}  // namespace tessera
