#include "attention/flash_plan.h"

#include <array>
#include <cmath>

#include "attention/panel_plan.h"
#include "base/check.h"

namespace tessera {
namespace {

constexpr size_t kVisitsAtOnce = 64;
constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;

const FlashKernel& KernelOf(Isa isa, FlashArithmetic arithmetic) {
  if (arithmetic == FlashArithmetic::kBf16Dot) return FlashAvx512Bf16();
  if (isa >= Isa::kAvx512) return FlashAvx512();
  return isa == Isa::kAvx2 ? FlashAvx2() : FlashScalar();
}

FlashFormat FormatOf(const AttentionProblem& problem, const FlashKernel& kernel) {
  const int step = kernel.channel_step;
  const double scale = problem.softmax_scale();
  return {problem.dtype, problem.head_dim, (problem.head_dim + step - 1) / step * step,
          static_cast<float>(scale * kLog2E)};
}

class FlashPanels final : public PanelKernel {
 public:
  FlashPanels(const AttentionProblem& problem, const FlashKernel& kernel)
      : kernel_(kernel), format_(FormatOf(problem, kernel)) {}

  std::string_view arithmetic() const noexcept override {
    return kernel_.arithmetic == FlashArithmetic::kBf16Dot ? "bf16" : "f32";
  }
  PanelSizes sizes() const noexcept override {
    const size_t panel = static_cast<size_t>(kFlashBlock) * static_cast<size_t>(format_.padded * kernel_.element_bytes);
    return {.key_panel = panel,
            .value_panel = panel,
            .survey = 0,
            .head = 0,
            .scratch = 2 * QueryBytes() + kProbabilityBytes + 2 * kStatisticBytes};
  }

  void Pack(const FlashRows& keys, const FlashRows& values, const std::byte*, std::span<std::byte* const, 2> panels,
            float) const noexcept override {
    kernel_.pack_keys(format_, keys, panels[0]);
    kernel_.pack_values(format_, values, panels[1]);
  }

  bool writes_f32() const noexcept override { return true; }
  void Attend(const std::byte*, PanelVisits* panels, PanelQueries* queries,
              std::byte* scratch) const noexcept override {
    FlashBlock block = BlockIn(scratch);
    block.count = queries->count;
    kernel_.pack_queries(format_, queries->rows, &block);
    std::array<FlashVisit, kVisitsAtOnce> visits;
    while (const int count = panels->Next(visits)) kernel_.attend(format_, visits.data(), count, &block);
    FlashFormat written = format_;
    written.dtype = queries->out_dtype;
    kernel_.finish(written, block, queries->out);
    for (int i = 0; i < block.count; ++i) {
      const double log2_sum = static_cast<double>(block.reference[i]) + std::log2(block.sum[i]);
      queries->lse[i] = block.sum[i] == 0 ? -INFINITY : static_cast<float>(log2_sum * kLn2);
    }
  }

 private:
  static constexpr size_t kProbabilityBytes = sizeof(float) * kFlashBlock * kFlashGroupRows;
  static constexpr size_t kStatisticBytes = sizeof(float) * kFlashBlock;
  size_t QueryBytes() const noexcept { return sizeof(float) * kFlashBlock * static_cast<size_t>(format_.padded); }

  FlashBlock BlockIn(std::byte* at) const noexcept {
    FlashBlock block;
    block.queries = at;
    block.output = reinterpret_cast<float*>(at += QueryBytes());
    block.probabilities = at += QueryBytes();
    block.reference = reinterpret_cast<float*>(at += kProbabilityBytes);
    block.sum = reinterpret_cast<float*>(at + kStatisticBytes);
    return block;
  }

  const FlashKernel& kernel_;
  const FlashFormat format_;
};

}  // namespace

FlashArithmetic FlashArithmeticFor(DType dtype, const Device& device) noexcept {
  const bool dot = dtype == DType::kBF16 && device.isa >= Isa::kAvx512Bf16 && device.bf16_dot_pays;
  return dot ? FlashArithmetic::kBf16Dot : FlashArithmetic::kF32;
}

std::unique_ptr<AttentionPlan> MakeFlashPlan(const AttentionProblem& problem, Isa isa, FlashArithmetic arithmetic) {
  TESSERA_CHECK(arithmetic == FlashArithmetic::kF32 || (problem.dtype == DType::kBF16 && isa >= Isa::kAvx512Bf16));
  return MakePanelPlan(problem, std::make_unique<FlashPanels>(problem, KernelOf(isa, arithmetic)));
}

}  // namespace tessera
