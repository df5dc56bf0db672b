#include "attention/nvfp4_plan.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "attention/panel_plan.h"
#include "base/check.h"

namespace tessera {
namespace {

constexpr size_t kVisitsAtOnce = 64;
constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;
constexpr size_t kStatisticBytes = sizeof(float) * kFlashBlock;
constexpr size_t kGroupBytes = kStatisticBytes * kNvfp4GroupPanels * kFlashBlock;
static_assert(kNvfp4MeanQueries == 2 * kFlashBlock);  // QueryScope::kChunk

const Nvfp4Kernel& KernelOf(Isa isa, FlashArithmetic arithmetic) {
  if (arithmetic == FlashArithmetic::kBf16Dot) return Nvfp4Avx512Bf16();
  if (isa >= Isa::kAvx512) return Nvfp4Avx512();
  return isa == Isa::kAvx2 ? Nvfp4Avx2() : Nvfp4Scalar();
}

Nvfp4Format FormatOf(const AttentionProblem& problem, const Nvfp4Options& options) {
  const auto scale_log2 = static_cast<float>(static_cast<double>(problem.softmax_scale()) * kLog2E);
  const int padded = (problem.head_dim + kNvfp4Group - 1) / kNvfp4Group * kNvfp4Group;
  return {{problem.dtype, problem.head_dim, padded, scale_log2}, options.sum_quantized, options.divide_rounded};
}

class Nvfp4Panels final : public PanelKernel {
 public:
  Nvfp4Panels(const AttentionProblem& problem, const Nvfp4Kernel& kernel, const Nvfp4Options& options)
      : kernel_(kernel), format_(FormatOf(problem, options)), options_(options) {}

  PanelSizes sizes() const noexcept override {
    const size_t elements = kFlashBlock * Padded();
    const size_t element_bytes = static_cast<size_t>(kernel_.element_bytes);
    return {.key_panel = elements * (element_bytes + sizeof(float)),
            .value_panel = elements * element_bytes,
            .survey = SurveyBytes(),
            .head = RowBytes(),
            .scratch = SurveyBytes() + 2 * QueryBytes() + 2 * kGroupBytes + (3 + kNvfp4GroupPanels) * kStatisticBytes};
  }

  std::string_view arithmetic() const noexcept override {
    return kernel_.arithmetic == FlashArithmetic::kBf16Dot ? "bf16" : "f32";
  }

  void Survey(const FlashRows& keys, const FlashRows& /*values*/, std::byte* survey) const noexcept override {
    Clear(survey);
    AddUp(keys, survey);
  }

  void Conclude(std::span<const std::byte> surveys, size_t stride, std::byte* head) const noexcept override {
    auto* const mean = reinterpret_cast<float*>(head);
    std::fill_n(mean, Padded(), 0.0f);
    if (!options_.smooth_k) return;
    float count = 0;
    for (size_t at = 0; at < surveys.size(); at += stride) {
      const auto* sums = reinterpret_cast<const float*>(surveys.data() + at);
      for (size_t channel = 0; channel < Padded(); ++channel) mean[channel] += sums[channel];
      count += sums[Padded()];
    }
    for (size_t channel = 0; channel < Padded() && count > 0; ++channel) mean[channel] /= count;
  }

  void Pack(const FlashRows& keys, const FlashRows& values, const std::byte* head,
            std::span<std::byte* const, 2> panels, float /*key_magnitude*/) const noexcept override {
    kernel_.pack_keys(format_, keys, reinterpret_cast<const float*>(head), panels[0]);
    kernel_.pack_values(format_, values, panels[1]);
  }

  QueryScope query_scope() const noexcept override {
    return options_.per_block_mean ? QueryScope::kChunk : QueryScope::kHead;
  }

  void LookAround(const FlashRows& queries, int64_t before, std::byte* scratch) const noexcept override {
    if (before == 0) Clear(scratch);
    AddUp(queries, scratch);
  }

  void Attend(const std::byte* head, PanelVisits* panels, PanelQueries* queries,
              std::byte* scratch) const noexcept override {
    Nvfp4Block block = BlockIn(scratch);
    const float count = block.query_mean[Padded()];
    for (size_t channel = 0; channel < Padded(); ++channel) block.query_mean[channel] /= count;
    block.flash.count = queries->count;
    kernel_.pack_queries(format_, queries->rows, reinterpret_cast<const float*>(head), &block);
    std::array<FlashVisit, kVisitsAtOnce> visits;
    while (const int visited = panels->Next(visits)) kernel_.attend(format_, visits.data(), visited, &block);
    kernel_.finish(format_, block, queries->out);
    for (int i = 0; i < block.flash.count; ++i) {
      const float sum = block.flash.sum[i];
      const double log2_sum = static_cast<double>(block.flash.reference[i]) + std::log2(sum);
      const auto mean_score = static_cast<double>(block.mean_score[i]);
      queries->lse[i] = sum == 0 ? -INFINITY : static_cast<float>((log2_sum + mean_score) * kLn2);
    }
  }

 private:
  size_t Padded() const noexcept { return static_cast<size_t>(format_.rows.padded); }
  size_t RowBytes() const noexcept { return sizeof(float) * Padded(); }
  size_t SurveyBytes() const noexcept { return RowBytes() + kStatisticBytes; }  // sums, then how many
  size_t QueryBytes() const noexcept { return kStatisticBytes * Padded(); }

  void Clear(std::byte* sums) const noexcept { std::fill_n(reinterpret_cast<float*>(sums), Padded() + 1, 0.0f); }
  void AddUp(const FlashRows& rows, std::byte* to) const noexcept {
    auto* const sums = reinterpret_cast<float*>(to);
    sums[Padded()] += static_cast<float>(kernel_.add_rows(format_, rows, sums));
  }

  // The mean query stands first, where LookAround adds it up.
  Nvfp4Block BlockIn(std::byte* at) const noexcept {
    const auto take = [&at](size_t bytes) {
      auto* const taken = reinterpret_cast<float*>(at);
      at += bytes;
      return taken;
    };
    Nvfp4Block block;
    block.query_mean = take(SurveyBytes());
    block.flash.queries = take(QueryBytes());
    block.flash.output = take(QueryBytes());
    block.flash.probabilities = take(kGroupBytes);
    block.scores = take(kGroupBytes);
    block.flash.reference = take(kStatisticBytes);
    block.flash.sum = take(kStatisticBytes);
    block.mean_score = take(kStatisticBytes);
    block.mean_scores = take(kStatisticBytes * kNvfp4GroupPanels);
    return block;
  }

  const Nvfp4Kernel& kernel_;
  const Nvfp4Format format_;
  const Nvfp4Options options_;
};

}  // namespace

std::unique_ptr<AttentionPlan> MakeNvfp4Plan(const AttentionProblem& problem, Isa isa, FlashArithmetic arithmetic,
                                             const Nvfp4Options& options) {
  TESSERA_CHECK(problem.head_dim <= kNvfp4MostChannels);
  TESSERA_CHECK(arithmetic == FlashArithmetic::kF32 || isa >= Isa::kAvx512Bf16);
  return MakePanelPlan(problem, std::make_unique<Nvfp4Panels>(problem, KernelOf(isa, arithmetic), options));
}

}  // namespace tessera
