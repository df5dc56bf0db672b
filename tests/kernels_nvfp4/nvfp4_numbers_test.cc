// What kernels pack against the plain NVFP4 format, bit for bit.
#include <cmath>
#include <cstring>
#include <random>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "kernels_nvfp4/nvfp4_call.h"
#include "tensor/storage.h"

namespace tessera {
namespace {

constexpr size_t kBlock = kFlashBlock, kBytes = kBlock * kNvfp4MostChannels * 8;

std::shared_ptr<std::byte> Poisoned(size_t bytes) {
  auto memory = AllocateAligned(bytes);
  std::memset(memory.get(), 0xFF, bytes);
  return memory;
}

// Word `index` of memory, element `channel % kPair` of it.
float Element(const Nvfp4Kernel& kernel, const void* from, int index, int part) {
  if (kernel.element_bytes == 4) return static_cast<const float*>(from)[index];
  return ToFloat(static_cast<const BFloat16*>(from)[index * 2 + part]);
}

// Rows of one panel or block, packed by one kernel.
class Panel {
 public:
  Panel(const Nvfp4Variant& variant, std::span<const float> rows, int channels)
      : kernel_(*variant.kernel),
        tile_rows_(variant.isa >= Isa::kAvx512 ? 8 : 4),
        pair_(4 / kernel_.element_bytes),
        count_(static_cast<int>(rows.size()) / channels),
        memory_(Poisoned(kBytes)),
        mean_(Poisoned(kNvfp4MostChannels * sizeof(float))) {
    format_.rows = {DType::kF32, channels, (channels + 15) / 16 * 16, 1.0f};
    for (int i = 0; i < count_; ++i) rows_.row[i] = rows.data() + i * channels;
    for (int d = 0; d < format_.rows.padded; ++d) mean()[d] = d < channels ? std::sin(static_cast<float>(d)) / 8 : 0;
  }

  float* mean() const { return reinterpret_cast<float*>(mean_.get()); }
  std::span<const float> true_mean() const { return {mean(), static_cast<size_t>(format_.rows.channels)}; }

  void PackKeys() { kernel_.pack_keys(format_, rows_, mean(), memory_.get()); }
  void PackValues() { kernel_.pack_values(format_, rows_, memory_.get()); }
  void PackQueries() {
    const auto statistics = Poisoned(3 * kBlock * sizeof(float));
    Nvfp4Block block;
    block.flash.count = count_;
    block.flash.queries = memory_.get();
    block.flash.reference = reinterpret_cast<float*>(statistics.get());
    block.flash.sum = block.flash.reference + kBlock;
    block.mean_score = block.flash.sum + kBlock;
    block.query_mean = mean();
    kernel_.pack_queries(format_, rows_, mean(), &block);
  }

  float Query(int i, int d) const { return Element(kernel_, memory_.get(), d / pair_ * kFlashBlock + i, d % pair_); }
  float Key(int j, int d) const {
    const int words = format_.rows.padded / pair_;
    return Element(kernel_, memory_.get(),
                   j / tile_rows_ * tile_rows_ * words + d / pair_ * tile_rows_ + j % tile_rows_, d % pair_);
  }
  float Value(int j, int d) const {
    const int words = kFlashBlock / pair_;
    return Element(kernel_, memory_.get(),
                   d / tile_rows_ * tile_rows_ * words + j / pair_ * tile_rows_ + d % tile_rows_, j % pair_);
  }
  float PlainKey(int j, int d) const {
    const auto* plain = reinterpret_cast<const float*>(
        memory_.get() + kFlashBlock * static_cast<size_t>(format_.rows.padded * kernel_.element_bytes));
    return plain[d * kFlashBlock + j];
  }

 private:
  const Nvfp4Kernel& kernel_;
  const int tile_rows_, pair_, count_;
  std::shared_ptr<std::byte> memory_, mean_;
  Nvfp4Format format_;
  FlashRows rows_;
};

// Numbers of many magnitudes, among them groups that vanish and groups that saturate.
std::vector<float> Numbers(int rows, int channels) {
  std::mt19937_64 generator(static_cast<uint64_t>(channels));
  std::normal_distribution<float> normal;
  std::vector<float> numbers(static_cast<size_t>(rows * channels));
  for (size_t i = 0; i < numbers.size(); ++i) {
    const int row = static_cast<int>(i) / channels;
    const float factor = row % 7 == 3 ? 1e-4f : row % 7 == 5 ? 3e3f : std::ldexp(1.0f, row % 11 - 6);
    numbers[i] = normal(generator) * factor;
  }
  return numbers;
}

template <class Got>
void ExpectRows(const std::vector<float>& wanted, int channels, const Got& got) {
  for (int i = 0; i < static_cast<int>(wanted.size()); ++i) {
    ASSERT_EQ(got(i / channels, i % channels), wanted[static_cast<size_t>(i)])
        << "row " << i / channels << " channel " << i % channels;
  }
}

class Nvfp4Packing : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Channels, Nvfp4Packing, ::testing::Values(1, 16, 40, 64, 77, 96, 128, 256));

TEST_P(Nvfp4Packing, OfQueriesEqualsTheFormat) {
  const auto rows = Numbers(37, GetParam());
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    SCOPED_TRACE(variant.name);
    Panel panel(variant, rows, GetParam());
    panel.PackQueries();
    ExpectRows(RoundNvfp4Rows(rows, panel.true_mean()), GetParam(), [&](int i, int d) { return panel.Query(i, d); });
  }
}

TEST_P(Nvfp4Packing, OfKeysEqualsTheFormat) {
  const auto rows = Numbers(41, GetParam());
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    SCOPED_TRACE(variant.name);
    Panel panel(variant, rows, GetParam());
    panel.PackKeys();
    ExpectRows(RoundNvfp4Rows(rows, panel.true_mean()), GetParam(), [&](int j, int d) { return panel.Key(j, d); });
  }
}

TEST_P(Nvfp4Packing, KeepsKeysWithoutTheirMean) {
  const auto rows = Numbers(64, GetParam());
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    SCOPED_TRACE(variant.name);
    Panel panel(variant, rows, GetParam());
    panel.PackKeys();
    auto wanted = rows;
    for (size_t i = 0; i < wanted.size(); ++i) wanted[i] -= panel.mean()[i % static_cast<size_t>(GetParam())];
    ExpectRows(wanted, GetParam(), [&](int j, int d) { return panel.PlainKey(j, d); });
  }
}

TEST_P(Nvfp4Packing, OfValuesEqualsTheFormat) {
  const auto rows = Numbers(50, GetParam());
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    SCOPED_TRACE(variant.name);
    Panel panel(variant, rows, GetParam());
    panel.PackValues();
    ExpectRows(RoundNvfp4Columns(rows, GetParam()), GetParam(), [&](int j, int d) { return panel.Value(j, d); });
  }
}

TEST(Nvfp4Packing, FillsMissingRowsAndChannelsWithZeros) {
  const auto rows = Numbers(21, 40);
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    Panel panel(variant, rows, 40);
    panel.PackKeys();
    for (int d = 0; d < 48; ++d) ASSERT_EQ(panel.Key(d < 40 ? 30 : 20, d), 0) << variant.name << " " << d;
    panel.PackValues();
    for (int d = 0; d < 48; ++d) ASSERT_EQ(panel.Value(d < 40 ? 30 : 20, d), 0) << variant.name << " " << d;
  }
}

// Every e2m1 tie and its neighbours, under every scale.
TEST(Nvfp4Packing, RoundsTiesAsTheFormatUnderEveryScale) {
  constexpr float kTies[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 0.5f, 2, 4, 1.5f, 3, 1, 0.1f, 0};
  std::vector<float> rows;
  for (uint8_t scale = 1; scale < 0x7F; ++scale) {
    rows.push_back(6 * DecodeE4m3(scale));
    for (size_t i = 0; i < 15; ++i) {
      const float x = kTies[i] * DecodeE4m3(scale);
      rows.push_back(i % 2 == 0 ? x : std::nextafter(-x, scale % 2 == 0 ? 1.0f : -1e9f));
    }
  }
  for (const Nvfp4Variant& variant : Nvfp4Variants()) {
    SCOPED_TRACE(variant.name);
    for (size_t first = 0; first < rows.size(); first += 63 * 16) {
      const auto part = std::span(rows).subspan(first, std::min<size_t>(63 * 16, rows.size() - first));
      Panel panel(variant, part, 16);
      std::fill_n(panel.mean(), 16, 0.0f);
      panel.PackKeys();
      ExpectRows(RoundNvfp4Rows(part, panel.true_mean()), 16, [&](int j, int d) { return panel.Key(j, d); });
      if (HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace tessera
