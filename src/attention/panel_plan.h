// The plan that panel kernels share: packs keys and values once per kv head, then walks query blocks in parallel.
#pragma once
#include <cstddef>
#include <memory>
#include <span>

#include "attention/backend.h"
#include "attention/block_walk.h"
#include "kernels/attention/flash.h"

namespace tessera {

// Bytes a kernel works in; the plan rounds each up to 64.
struct PanelSizes {
  size_t key_panel = 0, value_panel = 0;
  size_t survey = 0;   // what is learnt of one panel before packing; 0: nothing has to be
  size_t head = 0;     // what all surveys of a packed head come to
  size_t scratch = 0;  // per thread, for one block of queries
};

// Panels one behind the other.
struct PackedPanels {
  std::byte *keys = nullptr, *values = nullptr;
};

// Hands out the visits of one block of queries, in pieces: what the cursor lists of a head's panels, then `edge_keys`
// keys from the front of panels of their own.
class PanelVisits {
 public:
  PanelVisits(PanelCursor cursor, const PackedPanels& head, const PackedPanels& edges, int64_t edge_keys,
              const PanelSizes& sizes) noexcept
      : cursor_(cursor), head_(head), edges_(edges), edge_keys_(edge_keys), sizes_(sizes) {}
  // Fills `visits` from the front; 0 at the end.
  int Next(std::span<FlashVisit> visits) noexcept;

 private:
  FlashVisit VisitOf(const PackedPanels& panels, int64_t panel) const noexcept;

  PanelCursor cursor_;
  const PackedPanels head_, edges_;
  const int64_t edge_keys_;
  int64_t visited_edges_ = 0;
  const PanelSizes& sizes_;
};

// The queries that a kernel looks at together with a block of them: those of its 128 or 256 positions or of its head,
// in the same packed sequence.
enum class QueryScope { kBlock, kChunk, kTwoChunks, kHead };

// A block of queries and where its results go.
struct PanelQueries {
  int count = 0;  // 1..64
  FlashRows rows;
  DType out_dtype = DType::kF32;  // the problem's, or f32 where the kernel writes_f32()
  void* out[kFlashBlock] = {};
  float lse[kFlashBlock] = {};  // natural log; -inf where no key was seen
};

// What differs between panel kernels, bound to one problem. Called from many threads at a time.
class PanelKernel {
 public:
  virtual ~PanelKernel() = default;
  virtual PanelSizes sizes() const noexcept = 0;
  virtual std::string_view arithmetic() const noexcept { return "f32"; }  // see AttentionPlan

  // One panel's rows; hidden keys are null. Only called when sizes().survey is not 0.
  virtual void Survey(const FlashRows& /*keys*/, const FlashRows& /*values*/, std::byte* /*survey*/) const noexcept {}
  // Survey n of a head starts at surveys + n * stride.
  virtual void Conclude(std::span<const std::byte> /*surveys*/, size_t /*stride*/, std::byte* /*head*/) const noexcept {
  }

  // How many neighbouring panels of keys share a scale. When more than one, Pack is told the largest KeyMagnitude of
  // them.
  virtual int64_t key_panels() const noexcept { return 1; }
  virtual float KeyMagnitude(const FlashRows& /*keys*/, const std::byte* /*head*/) const noexcept { return 0; }
  virtual void Pack(const FlashRows& keys, const FlashRows& values, const std::byte* head,
                    std::span<std::byte* const, 2> panels, float key_magnitude) const noexcept = 0;
  // Called before Attend with all queries of the scope, 64 or fewer at a time, after `before` others. Not called for
  // kBlock.
  virtual QueryScope query_scope() const noexcept { return QueryScope::kBlock; }
  virtual void LookAround(const FlashRows& /*queries*/, int64_t /*before*/, std::byte* /*scratch*/) const noexcept {}
  // Whether Attend honours out_dtype = f32 when the problem has another one.
  virtual bool writes_f32() const noexcept { return false; }
  // Writes queries->out and queries->lse.
  virtual void Attend(const std::byte* head, PanelVisits* visits, PanelQueries* queries,
                      std::byte* scratch) const noexcept = 0;
};

std::unique_ptr<AttentionPlan> MakePanelPlan(const AttentionProblem& problem,
                                             std::unique_ptr<const PanelKernel> kernel);

}  // namespace tessera
