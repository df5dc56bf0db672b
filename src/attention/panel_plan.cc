#include "attention/panel_plan.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "base/check.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

static_assert(kWalkBlock == kFlashBlock);

constexpr size_t kMostPackedBytes = size_t{256} << 20;  // of keys and values at a time; one kv head at least
constexpr int64_t kPanelsPerItem = 4;                   // packed by one thread in one go
constexpr int64_t kChunk = 128;                         // queries of QueryScope::kChunk
constexpr size_t kAlignment = 64;

size_t Aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

PanelSizes Aligned(const PanelSizes& sizes) {
  return {Aligned(sizes.key_panel), Aligned(sizes.value_panel), Aligned(sizes.survey), Aligned(sizes.head),
          Aligned(sizes.scratch)};
}

int64_t ChunkOf(QueryScope scope) {
  if (scope == QueryScope::kHead) return INT64_MAX;
  return scope == QueryScope::kTwoChunks ? 2 * kChunk : kChunk;
}

// Of numbers without a sign: NaN is the largest.
float Larger(float a, float b) { return std::isnan(b) || b > a ? b : a; }

class PanelPlan final : public AttentionPlan {
 public:
  PanelPlan(const AttentionProblem& problem, std::unique_ptr<const PanelKernel> kernel)
      : problem_(problem), kernel_(std::move(kernel)), sizes_(Aligned(kernel_->sizes())) {
    panels_ = static_cast<size_t>((problem.kv_len + kFlashBlock - 1) / kFlashBlock);
    head_bytes_ = sizes_.head + panels_ * (sizes_.survey + sizes_.key_panel + sizes_.value_panel);
    const size_t fitting = kMostPackedBytes / std::max<size_t>(head_bytes_, 1);
    heads_at_once_ = std::clamp<int64_t>(static_cast<int64_t>(fitting), 1, problem.batch * problem.kv_heads);
  }

  size_t workspace_bytes() const noexcept override {
    return static_cast<size_t>(heads_at_once_) * head_bytes_ + static_cast<size_t>(Threads()) * sizes_.scratch;
  }

  std::string_view arithmetic() const noexcept override { return kernel_->arithmetic(); }

  void Run(const AttentionIO& io, std::span<std::byte> workspace) noexcept override {
    TESSERA_CHECK(workspace.size() >= workspace_bytes());
    const BlockWalk walk(problem_, io);
    const int heads_per_pack = walk.permutes_keys_per_head() ? 1 : problem_.heads / problem_.kv_heads;
    const int64_t packs = problem_.batch * (problem_.heads / heads_per_pack);
    for (int64_t first = 0; first < packs; first += heads_at_once_) {
      const Part part{io, walk, workspace.data(), first, std::min(heads_at_once_, packs - first), heads_per_pack};
      if (sizes_.survey != 0) Survey(part);
      Pack(part);
      Attend(part);
    }
  }

 private:
  // Packed heads [first, first + count); each serves `query_heads` neighbouring query heads.
  struct Part {
    const AttentionIO& io;
    const BlockWalk& walk;
    std::byte* workspace;
    int64_t first, count;
    int query_heads;
  };
  struct PanelRows {
    FlashRows keys, values;
    bool any = false;
  };

  // A packed head: what its surveys come to, the surveys, panels of keys, panels of values.
  std::byte* Head(const Part& part, int64_t n) const noexcept {
    return part.workspace + static_cast<size_t>(n) * head_bytes_;
  }
  std::byte* Surveys(const Part& part, int64_t n) const noexcept { return Head(part, n) + sizes_.head; }
  std::byte* Keys(const Part& part, int64_t n) const noexcept { return Surveys(part, n) + panels_ * sizes_.survey; }
  std::byte* Values(const Part& part, int64_t n) const noexcept { return Keys(part, n) + panels_ * sizes_.key_panel; }

  template <class Pointer>
  auto RowOf(const Bshd<Pointer>& rows, int64_t batch, int64_t token, int head) const noexcept {
    using Byte = std::conditional_t<std::is_const_v<std::remove_pointer_t<Pointer>>, const std::byte, std::byte>;
    const int64_t element = batch * rows.batch_stride + token * rows.seq_stride + head * rows.head_stride;
    return static_cast<Byte*>(rows.elements) + element * static_cast<int64_t>(SizeOf(problem_.dtype));
  }

  PanelRows RowsOf(const Part& part, int64_t n, int64_t panel) const noexcept {
    const int heads = problem_.heads / part.query_heads;
    const int64_t batch = (part.first + n) / heads;
    const int query_head = static_cast<int>((part.first + n) % heads) * part.query_heads;
    const int kv_head = query_head / (problem_.heads / problem_.kv_heads);
    PanelRows rows;
    for (int j = 0; j < kFlashBlock; ++j) {
      const int64_t token = part.walk.KeyToken(batch, query_head, panel * kFlashBlock + j);
      if (token < 0) continue;
      rows.any = true;
      rows.keys.row[j] = RowOf(part.io.k, batch, token, kv_head);
      rows.values.row[j] = RowOf(part.io.v, batch, token, kv_head);
    }
    return rows;
  }

  // body(n, panel) for every panel of the part.
  template <class Body>
  void ForPanels(const Part& part, const Body& body) const noexcept {
    const int64_t panels = part.walk.panels(), items = (panels + kPanelsPerItem - 1) / kPanelsPerItem;
    ParallelItems(part.count * items, [&](int64_t item, int) {
      const int64_t begin = item % items * kPanelsPerItem;
      for (int64_t panel = begin; panel < std::min(begin + kPanelsPerItem, panels); ++panel) body(item / items, panel);
    });
  }

  void Survey(const Part& part) const noexcept {
    ForPanels(part, [&](int64_t n, int64_t panel) {
      const PanelRows rows = RowsOf(part, n, panel);
      kernel_->Survey(rows.keys, rows.values, Surveys(part, n) + static_cast<size_t>(panel) * sizes_.survey);
    });
    ParallelItems(part.count, [&](int64_t n, int) {
      kernel_->Conclude({Surveys(part, n), panels_ * sizes_.survey}, sizes_.survey, Head(part, n));
    });
  }

  void Pack(const Part& part) const noexcept {
    ForPanels(part, [&](int64_t n, int64_t panel) {
      const PanelRows rows = RowsOf(part, n, panel);
      if (!rows.any) return;
      const auto at = static_cast<size_t>(panel);
      const std::array panels = {Keys(part, n) + at * sizes_.key_panel, Values(part, n) + at * sizes_.value_panel};
      kernel_->Pack(rows.keys, rows.values, Head(part, n), panels, KeyMagnitude(part, n, panel));
    });
  }

  float KeyMagnitude(const Part& part, int64_t n, int64_t panel) const noexcept {
    const int64_t count = kernel_->key_panels(), first = panel / count * count;
    if (count == 1) return 0;
    float most = 0;
    for (int64_t i = first; i < std::min(first + count, part.walk.panels()); ++i) {
      most = Larger(most, kernel_->KeyMagnitude(RowsOf(part, n, i).keys, Head(part, n)));
    }
    return most;
  }

  // Neighbouring items share keys and values. Windows go backwards: with a causal mask the longest come first.
  void Attend(const Part& part) const noexcept {
    const int64_t windows = part.walk.windows();
    std::byte* const scratch = part.workspace + static_cast<size_t>(heads_at_once_) * head_bytes_;
    ParallelItems(part.count * windows * part.query_heads, [&](int64_t item, int thread) {
      const int64_t n = item / (windows * part.query_heads), rest = item % (windows * part.query_heads);
      const int64_t head = (part.first + n) * part.query_heads + rest % part.query_heads;
      QueryBlock block{.batch = head / problem_.heads, .head = static_cast<int>(head % problem_.heads)};
      const int64_t window = windows - 1 - rest / part.query_heads;
      while (part.walk.NextBlock(window, &block)) {
        std::byte* const own_scratch = scratch + static_cast<size_t>(thread) * sizes_.scratch;
        if (kernel_->query_scope() != QueryScope::kBlock) LookAround(part, window, block, own_scratch);
        AttendBlock(part, n, block, own_scratch);
      }
    });
  }

  // Of a whole head, blocks look at all queries again: that is a 64th of what scoring them against as many keys takes.
  void LookAround(const Part& part, int64_t window, const QueryBlock& block, std::byte* scratch) const noexcept {
    const QueryRange range = part.walk.Around(window, block, ChunkOf(kernel_->query_scope()));
    for (int64_t begin = range.begin; begin < range.end; begin += kFlashBlock) {
      QueryBlock piece = block;
      piece.first = begin;
      FlashRows rows;
      for (int i = 0; i < std::min<int64_t>(kFlashBlock, range.end - begin); ++i) {
        rows.row[i] = RowOf(part.io.q, block.batch, part.walk.QueryToken(piece, i), block.head);
      }
      kernel_->LookAround(rows, begin - range.begin, scratch);
    }
  }

  void AttendBlock(const Part& part, int64_t n, const QueryBlock& block, std::byte* scratch) const noexcept {
    PanelQueries queries;
    queries.count = block.count;
    for (int i = 0; i < block.count; ++i) {
      const int64_t token = part.walk.QueryToken(block, i);
      queries.rows.row[i] = RowOf(part.io.q, block.batch, token, block.head);
      queries.out[i] = RowOf(part.io.out, block.batch, token, block.head);
    }
    PanelVisits visits(PanelCursor(part.walk, block), Keys(part, n), Values(part, n), sizes_);
    kernel_->Attend(Head(part, n), &visits, &queries, scratch);
    if (!problem_.needs_lse) return;
    float* lse = part.io.lse + (block.batch * problem_.heads + block.head) * problem_.q_len;
    for (int i = 0; i < block.count; ++i) lse[part.walk.QueryToken(block, i)] = queries.lse[i];
  }

  const AttentionProblem problem_;
  const std::unique_ptr<const PanelKernel> kernel_;
  const PanelSizes sizes_;
  size_t panels_ = 0;
  size_t head_bytes_ = 0;
  int64_t heads_at_once_ = 1;
};

}  // namespace

int PanelVisits::Next(std::span<FlashVisit> visits) noexcept {
  constexpr size_t kAtOnce = 64;
  std::array<PanelVisit, kAtOnce> panels;
  const int count = cursor_.Next(std::span(panels).first(std::min(kAtOnce, visits.size())));
  for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
    const PanelVisit& visit = panels[i];
    const auto at = static_cast<size_t>(visit.panel);
    visits[i] = {keys_ + at * sizes_.key_panel, values_ + at * sizes_.value_panel, visit.keys, visit.queries,
                 visit.diagonal};
  }
  return count;
}

std::unique_ptr<AttentionPlan> MakePanelPlan(const AttentionProblem& problem,
                                             std::unique_ptr<const PanelKernel> kernel) {
  return std::make_unique<PanelPlan>(problem, std::move(kernel));
}

}  // namespace tessera
