#include "attention/sage_plan.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "attention/panel_plan.h"
#include "base/check.h"

namespace tessera {
namespace {

constexpr size_t kVisitsAtOnce = 64;
constexpr int kRowStep = 16;  // channels of a row of means or scales
constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;
constexpr size_t kStatisticBytes = sizeof(float) * kFlashBlock;

const SageKernel& KernelOf(Isa isa) {
  switch (isa) {
    case Isa::kScalar:
      return SageScalar();
    case Isa::kAvx2:
      return SageAvx2();
    case Isa::kAvx512:
      return SageAvx512();
    case Isa::kAvx512Bf16:
      return SageAvx512Vnni();
  }
  return SageScalar();
}

int RoundedUp(int count, int step) { return (count + step - 1) / step * step; }

SageFormat FormatOf(const AttentionProblem& problem, const SageKernel& kernel, const SageOptions& options) {
  const auto scale_log2 = static_cast<float>(static_cast<double>(problem.softmax_scale()) * kLog2E);
  const int padded = RoundedUp(problem.head_dim, kernel.channel_step);
  return {{problem.dtype, problem.head_dim, padded, scale_log2},
          RoundedUp(padded, kRowStep),
          options.granularity,
          options.values,
          options.rounding};
}

// The largest magnitude of rounded values.
float LevelsOf(SageValues values) {
  switch (values) {
    case SageValues::kInt8:
      return kSageLevels;
    case SageValues::kFp16:
      return 1;
    case SageValues::kFp8:
    case SageValues::kFp8Unit:
      return kSageMostFp8;
    case SageValues::kFp8UnitFnuz:
      return kSageMostFnuz;
    case SageValues::kFp8Plus:
      return kSageMostFp8Plus;
  }
  return 1;
}

class SagePanels final : public PanelKernel {
 public:
  SagePanels(const AttentionProblem& problem, const SageKernel& kernel, const SageOptions& options)
      : kernel_(kernel), format_(FormatOf(problem, kernel, options)), options_(options) {}

  // Whole numbers on both sides need integer dot products and int8 values; f32 products limit the rest.
  std::string_view arithmetic() const noexcept override {
    return kernel_.code_bytes == 1 && options_.values == SageValues::kInt8 ? "int8" : "f32";
  }
  PanelSizes sizes() const noexcept override {
    const auto elements = static_cast<size_t>(kFlashBlock * format_.rows.padded);
    const auto code_bytes = static_cast<size_t>(kernel_.code_bytes);
    const size_t value_bytes = options_.values == SageValues::kInt8 ? code_bytes : sizeof(float);
    return {.key_panel = elements * code_bytes + kSageKeyTailBytes,
            .value_panel = elements * value_bytes,
            .survey = kSageSurveyRows * RowBytes(),
            .head = kHeadRows * RowBytes(),
            .scratch = 2 * QueryBytes() + 2 * kGroupBytes + 5 * kStatisticBytes};
  }

  void Survey(const FlashRows& keys, const FlashRows& values, std::byte* survey) const noexcept override {
    kernel_.survey(format_, keys, values, reinterpret_cast<float*>(survey));
  }

  void Conclude(std::span<const std::byte> surveys, size_t stride, std::byte* head) const noexcept override {
    for (size_t channel = 0; channel < static_cast<size_t>(format_.stride); ++channel) {
      std::array<float, kSageSurveyRows> whole{};
      whole[kSageValueLeast] = INFINITY;
      whole[kSageValueMost] = -INFINITY;
      for (size_t at = 0; at < surveys.size(); at += stride) {
        const auto* survey = reinterpret_cast<const float*>(surveys.data() + at) + channel;
        const auto row = [&](size_t n) { return survey[n * static_cast<size_t>(format_.stride)]; };
        for (const size_t n : {kSageKeySum, kSageValueSum, kSageKeyCount}) whole[n] += row(n);
        whole[kSageValueLeast] = std::min(whole[kSageValueLeast], row(kSageValueLeast));
        whole[kSageValueMost] = std::max(whole[kSageValueMost], row(kSageValueMost));
      }
      ConcludeChannel(whole, reinterpret_cast<float*>(head) + channel);
    }
  }

  void Pack(const FlashRows& keys, const FlashRows& values, const std::byte* head,
            std::span<std::byte* const, 2> panels, float key_magnitude) const noexcept override {
    SageHead known = HeadAt(head);
    if (key_panels() > 1) known.key_magnitude = &key_magnitude;
    kernel_.pack_keys(format_, keys, known, panels[0]);
    kernel_.pack_values(format_, values, known, panels[1]);
  }

  int64_t key_panels() const noexcept override {
    return SharesScales() && options_.blocks == SageBlocks::k256x128 ? 2 : 1;
  }
  float KeyMagnitude(const FlashRows& keys, const std::byte* head) const noexcept override {
    return kernel_.magnitude(format_, keys, HeadAt(head).key_mean);
  }

  QueryScope query_scope() const noexcept override {
    if (!SharesScales()) return QueryScope::kBlock;
    return options_.blocks == SageBlocks::k256x128 ? QueryScope::kTwoChunks : QueryScope::kChunk;
  }
  void LookAround(const FlashRows& queries, int64_t before, std::byte* scratch) const noexcept override {
    float* const most = BlockIn(scratch).around;
    const float magnitude = kernel_.magnitude(format_, queries, nullptr);
    if (before == 0 || magnitude > *most || std::isnan(magnitude)) *most = magnitude;
  }

  bool writes_f32() const noexcept override { return true; }
  void Attend(const std::byte* head, PanelVisits* panels, PanelQueries* queries,
              std::byte* scratch) const noexcept override {
    const Scratch own = BlockIn(scratch);
    SageBlock block = own.block;
    block.flash.count = queries->count;
    if (SharesScales()) block.magnitude = own.around;
    kernel_.pack_queries(format_, queries->rows, HeadAt(head), &block);
    std::array<FlashVisit, kVisitsAtOnce> visits;
    while (const int count = panels->Next(visits)) kernel_.attend(format_, visits.data(), count, &block);
    SageFormat written = format_;
    written.rows.dtype = queries->out_dtype;
    kernel_.finish(written, HeadAt(head), &block, queries->out);
    for (int i = 0; i < block.flash.count; ++i) {
      const float sum = block.flash.sum[i];
      const double log2_sum = static_cast<double>(block.flash.reference[i]) + std::log2(sum);
      queries->lse[i] = sum == 0 ? -INFINITY : static_cast<float>((log2_sum + block.mean_score[i]) * kLn2);
    }
  }

 private:
  enum HeadRow { kKeyMean, kValueMean, kValueInverse, kValueScale, kHeadRows };
  struct Scratch {
    SageBlock block;
    float* around = nullptr;  // the largest magnitude of the queries that share the block's scale
  };
  static constexpr size_t kGroupBytes = kStatisticBytes * kSageGroupPanels * kFlashBlock;

  // Whether blocks of queries have scales in common.
  bool SharesScales() const noexcept {
    return options_.granularity == SageGranularity::kPerBlock && options_.blocks != SageBlocks::k64x64;
  }
  size_t RowBytes() const noexcept { return sizeof(float) * static_cast<size_t>(format_.stride); }
  size_t QueryBytes() const noexcept { return kStatisticBytes * static_cast<size_t>(format_.rows.padded); }

  // A channel whose values are not all finite scales to NaN, so that they show in the result.
  void ConcludeChannel(const std::array<float, kSageSurveyRows>& whole, float* head) const noexcept {
    const float count = whole[kSageKeyCount], levels = LevelsOf(options_.values);
    const float value_mean = options_.smooth_v && count > 0 ? whole[kSageValueSum] / count : 0;
    const float above = count > 0 ? whole[kSageValueMost] - value_mean : 0;
    const float below = count > 0 ? value_mean - whole[kSageValueLeast] : 0;
    const float least = options_.rounding == SageRounding::kEven ? kSageLeastMagnitude : 0;
    const float most = std::max({above, below, least}) + 0 * whole[kSageValueSum];
    const bool scales = options_.values != SageValues::kFp16;
    const bool vanishes = std::isinf(levels / most);  // values whose scale cannot be inverted count as 0
    const auto stride = static_cast<size_t>(format_.stride);
    head[kKeyMean * stride] = options_.smooth_k && count > 0 ? whole[kSageKeySum] / count : 0;
    head[kValueMean * stride] = value_mean;
    head[kValueInverse * stride] = !scales ? 1 : vanishes ? 0 : levels / most;
    head[kValueScale * stride] = !scales ? 1 : vanishes ? 0 : most / levels;
  }

  SageHead HeadAt(const std::byte* head) const noexcept {
    const auto* rows = reinterpret_cast<const float*>(head);
    const auto stride = static_cast<size_t>(format_.stride);
    return {rows + kKeyMean * stride, rows + kValueMean * stride, rows + kValueInverse * stride,
            rows + kValueScale * stride};
  }

  Scratch BlockIn(std::byte* at) const noexcept {
    const auto take = [&at](size_t bytes) {
      auto* const taken = reinterpret_cast<float*>(at);
      at += bytes;
      return taken;
    };
    SageBlock block;
    block.flash.queries = take(QueryBytes());
    block.flash.output = take(QueryBytes());
    block.flash.probabilities = take(kGroupBytes);
    block.scores = take(kGroupBytes);
    block.flash.reference = take(kStatisticBytes);
    block.flash.sum = take(kStatisticBytes);
    block.query_scale = take(kStatisticBytes);
    block.mean_score = take(kStatisticBytes);
    return {block, take(kStatisticBytes)};
  }

  const SageKernel& kernel_;
  const SageFormat format_;
  const SageOptions options_;
};

}  // namespace

std::unique_ptr<AttentionPlan> MakeSagePlan(const AttentionProblem& problem, Isa isa, const SageOptions& options) {
  TESSERA_CHECK(problem.head_dim <= kSageMostChannels);
  return MakePanelPlan(problem, std::make_unique<SagePanels>(problem, KernelOf(isa), options));
}

}  // namespace tessera
