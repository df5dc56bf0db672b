#include "attention/panel_plan.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "attention/partial_sum.h"
#include "base/check.h"
#include "base/round_up.h"
#include "parallel/parallel_for.h"

namespace tessera {
namespace {

static_assert(kWalkBlock == kFlashBlock);

constexpr size_t kMostPackedBytes = size_t{256} << 20;  // of keys and values at a time; one kv head at least
constexpr int64_t kPanelsPerItem = 4;                   // packed by one thread in one go
constexpr int64_t kChunk = 128;                         // queries of QueryScope::kChunk
constexpr int64_t kMostEdgePanels = 64;                 // of a thread; further edges are visited where they lie
constexpr int64_t kStretchWords = 32;                   // of 64 queries each that are regrouped together
constexpr int64_t kCallKeys = 24;                       // a regrouped call costs about this many keys besides its own

PanelSizes AlignedSizes(const PanelSizes& sizes) {
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
      : problem_(problem), kernel_(std::move(kernel)), sizes_(AlignedSizes(kernel_->sizes())) {
    panels_ = static_cast<size_t>((problem.kv_len + kFlashBlock - 1) / kFlashBlock);
    head_bytes_ = sizes_.head + panels_ * (sizes_.survey + sizes_.key_panel + sizes_.value_panel);
    const size_t fitting = kMostPackedBytes / std::max<size_t>(head_bytes_, 1);
    heads_at_once_ = std::clamp<int64_t>(static_cast<int64_t>(fitting), 1, problem.batch * problem.kv_heads);
    stretch_ = std::min(kStretchWords * kFlashBlock, problem.q_len);
    edge_panels_ = std::min(static_cast<int64_t>(panels_), kMostEdgePanels);
  }

  size_t workspace_bytes() const noexcept override {
    return static_cast<size_t>(heads_at_once_) * head_bytes_ + static_cast<size_t>(Threads()) * ThreadBytes();
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
  // What one thread works in: the kernel's scratch, panels of edge keys, their positions.
  struct Thread {
    std::byte* scratch;
    PackedPanels edges;
    int32_t* positions;
    std::byte* sums;  // of a stretch of regrouped queries
    float* partial;   // [64][head_dim]
    int64_t edge_keys = 0;
  };
  size_t PositionBytes() const noexcept {
    return Aligned(static_cast<size_t>(edge_panels_ * kFlashBlock) * sizeof(int32_t));
  }
  size_t SumBytes() const noexcept { return Aligned(PartialSum::Bytes(stretch_, problem_.head_dim)); }
  size_t EdgeBytes() const noexcept {
    return static_cast<size_t>(edge_panels_) * (sizes_.key_panel + sizes_.value_panel);
  }
  size_t ThreadBytes() const noexcept {
    return sizes_.scratch + EdgeBytes() + PositionBytes() + SumBytes() +
           Aligned(static_cast<size_t>(kFlashBlock * problem_.head_dim) * sizeof(float));
  }
  Thread ThreadAt(const Part& part, int thread) const noexcept {
    std::byte* const begin = part.workspace + static_cast<size_t>(heads_at_once_) * head_bytes_ +
                             static_cast<size_t>(thread) * ThreadBytes();
    std::byte* const keys = begin + sizes_.scratch;
    std::byte* const values = keys + static_cast<size_t>(edge_panels_) * sizes_.key_panel;
    std::byte* const positions = keys + EdgeBytes();
    std::byte* const sums = positions + PositionBytes();
    return {begin,
            {keys, values},
            reinterpret_cast<int32_t*>(positions),
            sums,
            reinterpret_cast<float*>(sums + SumBytes())};
  }

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
    const QueryBlock block{.batch = batch, .head = static_cast<int>((part.first + n) % heads) * part.query_heads};
    PanelRows rows;
    for (int64_t j = 0; j < kFlashBlock; ++j) SetRow(part, block, panel * kFlashBlock + j, j, &rows);
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
    ParallelItems(part.count * windows * part.query_heads, [&](int64_t item, int index) {
      const int64_t n = item / (windows * part.query_heads), rest = item % (windows * part.query_heads);
      const int64_t head = (part.first + n) * part.query_heads + rest % part.query_heads;
      QueryBlock block{.batch = head / problem_.heads, .head = static_cast<int>(head % problem_.heads)};
      AttendWindow(part, n, windows - 1 - rest / part.query_heads, &block, ThreadAt(part, index));
    });
  }

  void AttendWindow(const Part& part, int64_t n, int64_t window, QueryBlock* block, Thread thread) const noexcept {
    const bool regroups =
        part.walk.chooses_by_query() && kernel_->writes_f32() && kernel_->query_scope() == QueryScope::kBlock;
    int64_t regrouped = 0;  // queries of the window that are done
    for (bool first = true; part.walk.NextBlock(window, block); first = false) {
      if (regroups && block->mask_word % kStretchWords == 0 && PaysToRegroup(part, window, *block)) {
        regrouped = block->mask_word * int64_t{kFlashBlock} + Regroup(part, n, window, *block, thread);
      }
      if (block->mask_word * int64_t{kFlashBlock} < regrouped) continue;
      if (first) GatherEdges(part, n, block, &thread);
      if (kernel_->query_scope() != QueryScope::kBlock) LookAround(part, window, *block, thread.scratch);
      AttendBlock(part, n, *block, thread);
    }
  }

  // Queries of the stretch that begins with the block.
  int64_t StretchLength(const Part& part, int64_t window, const QueryBlock& block) const noexcept {
    const int64_t left = part.walk.WindowLength(window, block) - block.mask_word * int64_t{kFlashBlock};
    return std::min(left, stretch_);
  }

  // Of the block's stretch, those in the 64 from `word` on that see an entry.
  uint64_t QueriesOf(const Part& part, const QueryBlock& block, int64_t entry, int64_t word,
                     int64_t length) const noexcept {
    const int64_t left = length - word * kFlashBlock;
    const uint64_t all = left < kFlashBlock ? kAllLanes >> (kFlashBlock - left) : kAllLanes;
    return part.walk.QueriesOf(entry, block.mask_word + word) & all;
  }

  // Where few queries of every block see an entry, those of many blocks together fill the lanes better.
  bool PaysToRegroup(const Part& part, int64_t window, const QueryBlock& block) const noexcept {
    constexpr int64_t kLanes = 16;
    const auto lanes = [](int64_t queries) { return (queries + kLanes - 1) / kLanes * kLanes; };
    const int64_t length = StretchLength(part, window, block);
    double in_place = 0, regrouped = 0;
    for (int64_t entry = block.entry_begin; entry < block.entry_end; ++entry) {
      int64_t seeing = 0, computed = 0;
      for (int64_t word = 0; word * kFlashBlock < length; ++word) {
        const uint64_t queries = QueriesOf(part, block, entry, word, length);
        seeing += std::popcount(queries);
        if (queries != 0) computed += lanes(std::min<int64_t>(length - word * kFlashBlock, kFlashBlock));
      }
      const int64_t keys = part.walk.KeysOf(block, entry);
      in_place += static_cast<double>(computed * keys);
      regrouped += static_cast<double>(lanes(seeing) * (keys + kCallKeys));
    }
    return regrouped < in_place;
  }

  // Attends entry by entry, each with the queries that see it, and adds up; returns how many queries were served.
  int64_t Regroup(const Part& part, int64_t n, int64_t window, const QueryBlock& block,
                  const Thread& thread) const noexcept {
    const int64_t length = StretchLength(part, window, block);
    PartialSum sum(thread.sums, length, problem_.head_dim);
    sum.Clear();
    for (int64_t entry = block.entry_begin; entry < block.entry_end; ++entry) {
      std::array<int64_t, kFlashBlock> chosen;
      size_t count = 0;
      for (int64_t word = 0; word * kFlashBlock < length; ++word) {
        for (uint64_t left = QueriesOf(part, block, entry, word, length); left != 0; left &= left - 1) {
          chosen[count++] = word * kFlashBlock + std::countr_zero(left);
          if (count < chosen.size()) continue;
          AddEntry(part, n, block, entry, chosen, thread, &sum);
          count = 0;
        }
      }
      if (count > 0) AddEntry(part, n, block, entry, std::span(chosen).first(count), thread, &sum);
    }
    const int64_t lse_row = (block.batch * problem_.heads + block.head) * problem_.q_len;
    for (int64_t i = 0; i < length; ++i) {
      const int64_t token = part.walk.QueryToken(block, static_cast<int>(i));
      const float lse = sum.Write(i, problem_.dtype, RowOf(part.io.out, block.batch, token, block.head));
      if (problem_.needs_lse) part.io.lse[lse_row + token] = lse;
    }
    return length;
  }

  // One entry for up to 64 queries, counted from the first of the block.
  void AddEntry(const Part& part, int64_t n, const QueryBlock& block, int64_t entry, std::span<const int64_t> chosen,
                const Thread& thread, PartialSum* sum) const noexcept {
    QueryBlock piece = block;
    piece.count = static_cast<int>(chosen.size());
    piece.entry_begin = entry;
    piece.entry_end = entry + 1;
    piece.mask_word = kNoMask;
    PanelQueries queries;
    queries.count = piece.count;
    for (size_t i = 0; i < chosen.size(); ++i) {
      const int64_t token = part.walk.QueryToken(block, static_cast<int>(chosen[i]));
      queries.rows.row[i] = RowOf(part.io.q, block.batch, token, block.head);
      queries.out[i] = thread.partial + static_cast<int64_t>(i) * problem_.head_dim;
    }
    PanelVisits visits(PanelCursor(part.walk, piece), {Keys(part, n), Values(part, n)}, thread.edges, 0, sizes_);
    kernel_->Attend(Head(part, n), &visits, &queries, thread.scratch);
    for (size_t i = 0; i < chosen.size(); ++i) {
      sum->Add(chosen[i], static_cast<const float*>(queries.out[i]), queries.lse[i]);
    }
  }

  // All blocks of a window visit the same keys.
  void GatherEdges(const Part& part, int64_t n, QueryBlock* block, Thread* thread) const noexcept {
    if (kernel_->key_panels() != 1) return;  // the panel would lose its neighbours
    const std::span positions(thread->positions, static_cast<size_t>(edge_panels_ * kFlashBlock));
    thread->edge_keys = EdgeKeys::Collect(part.walk, block, positions);
    for (int64_t first = 0; first < thread->edge_keys; first += kFlashBlock) {
      PanelRows rows;
      for (int64_t j = 0; j < std::min<int64_t>(kFlashBlock, thread->edge_keys - first); ++j) {
        SetRow(part, *block, positions[static_cast<size_t>(first + j)], j, &rows);
      }
      const auto at = static_cast<size_t>(first / kFlashBlock);
      const std::array panels = {thread->edges.keys + at * sizes_.key_panel,
                                 thread->edges.values + at * sizes_.value_panel};
      kernel_->Pack(rows.keys, rows.values, Head(part, n), panels, 0);
    }
  }

  void SetRow(const Part& part, const QueryBlock& block, int64_t position, int64_t j, PanelRows* rows) const noexcept {
    const int kv_head = block.head / (problem_.heads / problem_.kv_heads);
    const int64_t token = part.walk.KeyToken(block.batch, block.head, position);
    if (token < 0) return;
    rows->any = true;
    rows->keys.row[j] = RowOf(part.io.k, block.batch, token, kv_head);
    rows->values.row[j] = RowOf(part.io.v, block.batch, token, kv_head);
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

  void AttendBlock(const Part& part, int64_t n, const QueryBlock& block, const Thread& thread) const noexcept {
    PanelQueries queries;
    queries.count = block.count;
    queries.out_dtype = problem_.dtype;
    for (int i = 0; i < block.count; ++i) {
      const int64_t token = part.walk.QueryToken(block, i);
      queries.rows.row[i] = RowOf(part.io.q, block.batch, token, block.head);
      queries.out[i] = RowOf(part.io.out, block.batch, token, block.head);
    }
    PanelVisits visits(PanelCursor(part.walk, block), {Keys(part, n), Values(part, n)}, thread.edges, thread.edge_keys,
                       sizes_);
    kernel_->Attend(Head(part, n), &visits, &queries, thread.scratch);
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
  int64_t edge_panels_ = 0, stretch_ = 0;
};

}  // namespace

FlashVisit PanelVisits::VisitOf(const PackedPanels& panels, int64_t panel) const noexcept {
  const auto at = static_cast<size_t>(panel);
  return {panels.keys + at * sizes_.key_panel, panels.values + at * sizes_.value_panel};
}

int PanelVisits::Next(std::span<FlashVisit> visits) noexcept {
  constexpr size_t kAtOnce = 64;
  std::array<PanelVisit, kAtOnce> panels;
  const size_t room = std::min(kAtOnce, visits.size());
  auto count = static_cast<size_t>(cursor_.Next(std::span(panels).first(room)));
  for (size_t i = 0; i < count; ++i) {
    visits[i] = VisitOf(head_, panels[i].panel);
    visits[i].keys = panels[i].keys;
    visits[i].queries = panels[i].queries;
    visits[i].diagonal = panels[i].diagonal;
  }
  for (; count < room && visited_edges_ < edge_keys_; visited_edges_ += kFlashBlock) {
    const int64_t left = edge_keys_ - visited_edges_;
    visits[count] = VisitOf(edges_, visited_edges_ / kFlashBlock);
    if (left < kFlashBlock) visits[count].keys = kAllLanes >> (kFlashBlock - left);
    ++count;
  }
  return static_cast<int>(count);
}

std::unique_ptr<AttentionPlan> MakePanelPlan(const AttentionProblem& problem,
                                             std::unique_ptr<const PanelKernel> kernel) {
  return std::make_unique<PanelPlan>(problem, std::move(kernel));
}

}  // namespace tessera
