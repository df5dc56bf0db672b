#include "attention/flash_plan.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "attention/block_walk.h"
#include "base/check.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

static_assert(kWalkBlock == kFlashBlock);

constexpr size_t kMostPackedBytes = size_t{256} << 20;  // of keys and values at a time; one kv head at least
constexpr int64_t kPanelsPerItem = 4;                   // packed by one thread in one go
constexpr int kVisitsAtOnce = 64;
constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;

const FlashKernel& KernelOf(Isa isa, FlashArithmetic arithmetic) {
  if (arithmetic == FlashArithmetic::kBf16Dot) return FlashAvx512Bf16();
  if (isa >= Isa::kAvx512) return FlashAvx512();
  return isa == Isa::kAvx2 ? FlashAvx2() : FlashScalar();
}

FlashFormat FormatOf(const AttentionProblem& problem, const FlashKernel& kernel) {
  const int step = kernel.channel_step;
  const double scale = problem.softmax_scale();
  return {problem.dtype, problem.head_dim, (problem.head_dim + step - 1) / step * step, static_cast<float>(scale * kLog2E)};
}

class FlashPlan final : public AttentionPlan {
 public:
  FlashPlan(const AttentionProblem& problem, const FlashKernel& kernel)
      : problem_(problem), kernel_(kernel), format_(FormatOf(problem, kernel)) {
    const int64_t panels = (problem.kv_len + kFlashBlock - 1) / kFlashBlock;
    panel_bytes_ = static_cast<size_t>(kFlashBlock) * format_.padded * kernel.element_bytes;
    head_bytes_ = 2 * static_cast<size_t>(panels) * panel_bytes_;
    const size_t fitting = kMostPackedBytes / std::max<size_t>(head_bytes_, 1);
    heads_at_once_ = std::clamp<int64_t>(static_cast<int64_t>(fitting), 1, problem.batch * problem.kv_heads);
  }

  size_t workspace_bytes() const noexcept override {
    return heads_at_once_ * head_bytes_ + static_cast<size_t>(Threads()) * BlockBytes();
  }

  void Run(const AttentionIO& io, std::span<std::byte> workspace) noexcept override {
    TESSERA_CHECK(workspace.size() >= workspace_bytes());
    const BlockWalk walk(problem_, io);
    const int heads_per_pack = walk.permutes_keys_per_head() ? 1 : problem_.heads / problem_.kv_heads;
    const int64_t packs = problem_.batch * (problem_.heads / heads_per_pack);
    for (int64_t first = 0; first < packs; first += heads_at_once_) {
      const Part part{io, walk, workspace, first, std::min(heads_at_once_, packs - first), heads_per_pack};
      Pack(part);
      Attend(part);
    }
  }

 private:
  // Packed heads [first, first + count); each serves `query_heads` neighbouring query heads.
  struct Part {
    const AttentionIO& io;
    const BlockWalk& walk;
    std::span<std::byte> workspace;
    int64_t first, count;
    int query_heads;
  };

  size_t QueryBytes() const noexcept { return sizeof(float) * kFlashBlock * static_cast<size_t>(format_.padded); }
  static constexpr size_t kProbabilityBytes = sizeof(float) * kFlashBlock * kFlashGroupKeys;
  static constexpr size_t kStatisticBytes = sizeof(float) * kFlashBlock;
  size_t BlockBytes() const noexcept { return 2 * QueryBytes() + kProbabilityBytes + 2 * kStatisticBytes; }

  // What thread `thread` works in.
  FlashBlock BlockOf(const Part& part, int thread) const noexcept {
    std::byte* at = part.workspace.data() + heads_at_once_ * head_bytes_ + static_cast<size_t>(thread) * BlockBytes();
    FlashBlock block;
    block.queries = at;
    block.output = reinterpret_cast<float*>(at += QueryBytes());
    block.probabilities = at += QueryBytes();
    block.reference = reinterpret_cast<float*>(at += kProbabilityBytes);
    block.sum = reinterpret_cast<float*>(at + kStatisticBytes);
    return block;
  }

  // Panels of keys, then panels of values of packed head `n` of the part.
  std::byte* KeyPanel(const Part& part, int64_t n, int64_t panel) const noexcept {
    return part.workspace.data() + static_cast<size_t>(n) * head_bytes_ + static_cast<size_t>(panel) * panel_bytes_;
  }
  std::byte* ValuePanel(const Part& part, int64_t n, int64_t panel) const noexcept {
    return KeyPanel(part, n, panel) + head_bytes_ / 2;
  }

  template <class Pointer>
  auto RowOf(const Bshd<Pointer>& rows, int64_t batch, int64_t token, int head) const noexcept {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const std::byte, std::byte>;
    const int64_t element = batch * rows.batch_stride + token * rows.seq_stride + head * rows.head_stride;
    return static_cast<Byte*>(rows.elements) + element * static_cast<int64_t>(SizeOf(problem_.dtype));
  }

  void Pack(const Part& part) const noexcept {
    const int64_t panels = part.walk.panels(), items = (panels + kPanelsPerItem - 1) / kPanelsPerItem;
    ParallelItems(part.count * items, [&](int64_t item, int) {
      const int64_t begin = item % items * kPanelsPerItem;
      for (int64_t panel = begin; panel < std::min(begin + kPanelsPerItem, panels); ++panel) {
        PackPanel(part, item / items, panel);
      }
    });
  }

  void PackPanel(const Part& part, int64_t n, int64_t panel) const noexcept {
    const int heads = problem_.heads / part.query_heads;
    const int64_t batch = (part.first + n) / heads;
    const int query_head = static_cast<int>((part.first + n) % heads) * part.query_heads;
    const int kv_head = query_head / (problem_.heads / problem_.kv_heads);
    FlashRows keys, values;
    bool any = false;
    for (int j = 0; j < kFlashBlock; ++j) {
      const int64_t token = part.walk.KeyToken(batch, query_head, panel * kFlashBlock + j);
      if (token < 0) continue;
      any = true;
      keys.row[j] = RowOf(part.io.k, batch, token, kv_head);
      values.row[j] = RowOf(part.io.v, batch, token, kv_head);
    }
    if (!any) return;
    kernel_.pack_keys(format_, keys, KeyPanel(part, n, panel));
    kernel_.pack_values(format_, values, ValuePanel(part, n, panel));
  }

  // Neighbouring items share keys and values. Windows go backwards: with a causal mask the longest come first.
  void Attend(const Part& part) const noexcept {
    const int64_t windows = part.walk.windows();
    ParallelItems(part.count * windows * part.query_heads, [&](int64_t item, int thread) {
      const int64_t n = item / (windows * part.query_heads), rest = item % (windows * part.query_heads);
      const int64_t head = (part.first + n) * part.query_heads + rest % part.query_heads;
      QueryBlock queries{.batch = head / problem_.heads, .head = static_cast<int>(head % problem_.heads)};
      FlashBlock block = BlockOf(part, thread);
      const int64_t window = windows - 1 - rest / part.query_heads;
      while (part.walk.NextBlock(window, &queries)) AttendBlock(part, n, queries, &block);
    });
  }

  void AttendBlock(const Part& part, int64_t n, const QueryBlock& queries, FlashBlock* block) const noexcept {
    FlashRows rows;
    std::array<void*, kFlashBlock> out_rows;
    for (int i = 0; i < queries.count; ++i) {
      const int64_t token = part.walk.QueryToken(queries, i);
      rows.row[i] = RowOf(part.io.q, queries.batch, token, queries.head);
      out_rows[static_cast<size_t>(i)] = RowOf(part.io.out, queries.batch, token, queries.head);
    }
    block->count = queries.count;
    kernel_.pack_queries(format_, rows, block);
    VisitPanels(part, n, queries, block);
    kernel_.finish(format_, *block, out_rows.data());
    if (problem_.needs_lse) StoreLse(part, queries, *block);
  }

  void VisitPanels(const Part& part, int64_t n, const QueryBlock& queries, FlashBlock* block) const noexcept {
    PanelCursor cursor(part.walk, queries);
    std::array<PanelVisit, kVisitsAtOnce> panels;
    std::array<FlashVisit, kVisitsAtOnce> visits;
    while (const int count = cursor.Next(panels)) {
      for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
        const PanelVisit& visit = panels[i];
        visits[i] = {KeyPanel(part, n, visit.panel), ValuePanel(part, n, visit.panel), visit.keys, visit.queries,
                     visit.diagonal};
      }
      kernel_.attend(format_, visits.data(), count, block);
    }
  }

  void StoreLse(const Part& part, const QueryBlock& queries, const FlashBlock& block) const noexcept {
    float* lse = part.io.lse + (queries.batch * problem_.heads + queries.head) * problem_.q_len;
    for (int i = 0; i < block.count; ++i) {
      const double log2_sum = static_cast<double>(block.reference[i]) + std::log2(block.sum[i]);
      const float value = block.sum[i] == 0 ? -INFINITY : static_cast<float>(log2_sum * kLn2);
      lse[part.walk.QueryToken(queries, i)] = value;
    }
  }

  const AttentionProblem problem_;
  const FlashKernel& kernel_;
  const FlashFormat format_;
  size_t panel_bytes_ = 0;
  size_t head_bytes_ = 0;
  int64_t heads_at_once_ = 1;
};

}  // namespace

FlashArithmetic FlashArithmeticFor(DType dtype, const Device& device) noexcept {
  const bool dot = dtype == DType::kBF16 && device.isa >= Isa::kAvx512Bf16 && device.bf16_dot_pays;
  return dot ? FlashArithmetic::kBf16Dot : FlashArithmetic::kF32;
}

std::unique_ptr<AttentionPlan> MakeFlashPlan(const AttentionProblem& problem, Isa isa, FlashArithmetic arithmetic) {
  TESSERA_CHECK(arithmetic == FlashArithmetic::kF32 || (problem.dtype == DType::kBF16 && isa >= Isa::kAvx512Bf16));
  return std::make_unique<FlashPlan>(problem, KernelOf(isa, arithmetic));
}

}  // namespace tessera
