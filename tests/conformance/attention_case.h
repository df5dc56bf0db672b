// A problem with operands in guarded memory, everything else than the problem drawn from a seed.
#pragma once
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "attention/attention_io.h"
#include "attention/block_plan.h"
#include "attention/problem.h"
#include "conformance/guarded_memory.h"

namespace tessera {

enum class Layout { kPacked, kGaps, kHeadsFirst };
// Independent normal numbers; with channel means, as in real activations; queries 30 times larger.
enum class Values { kNormal, kBiased, kSharp };
enum class BiasKind { kF32, kBF16, kF16, kBool };
enum class BiasShape { kFull, kPerQueryKey, kPerKey };  // the others by strides of 0
enum class PlanKind { kNone, kShared, kPermuted, kPerHead, kQueryMasks };
// Keys that hold NaN and infinities: those beyond key_lengths, or all that no query sees.
enum class Poison { kPadding, kUnseen };

struct CaseSpec {
  AttentionProblem problem;
  Layout layout = Layout::kPacked;
  Values values = Values::kNormal;
  BiasKind bias = BiasKind::kF32;
  BiasShape bias_shape = BiasShape::kFull;
  PlanKind plan = PlanKind::kNone;
  Poison poison = Poison::kPadding;
  uint64_t seed = 0;
  std::string ToString() const;
};

// Rows of one operand with gaps that hold NaN.
struct Operand {
  std::unique_ptr<GuardedMemory> memory;
  int64_t batch_stride = 0, seq_stride = 0, head_stride = 0;
  DType dtype = DType::kF32;

  int64_t At(int64_t batch, int64_t token, int64_t head) const {
    return batch * batch_stride + token * seq_stride + head * head_stride;
  }
  float Get(int64_t index) const;
  void Set(int64_t index, float value);
};

class AttentionCase {
 public:
  explicit AttentionCase(const CaseSpec& spec);

  const CaseSpec& spec() const { return spec_; }
  const AttentionProblem& problem() const { return spec_.problem; }
  // Fresh poisoned outputs; the views stay valid until the next call.
  AttentionIO NewIO();

  const Operand& q() const { return q_; }
  const Operand& k() const { return k_; }
  const Operand& v() const { return v_; }
  Operand& mutable_k() { return k_; }
  Operand& mutable_v() { return v_; }
  const Operand& out() const { return out_; }
  std::span<const float> lse() const;

  // Whether the masks and the block plan let query i of head h see key j. Written independently of the kernels.
  bool Visible(int64_t batch, int64_t head, int64_t i, int64_t j) const;
  // From now on Visible follows this decision instead of the case's own plan; null: every key.
  void ShowOnly(const BlockPlan* decision);
  // The additive part of the bias, 0 without one.
  double Bias(int64_t batch, int64_t head, int64_t i, int64_t j) const;

 private:
  void DrawMasks();
  void DrawBias();
  void DrawPlan();
  void DrawOperands();
  void PoisonKeys();
  bool HoldsPoison(int64_t batch, int64_t kv_head, int64_t j) const;
  bool StructureShows(int64_t batch, int64_t head, int64_t i, int64_t j) const;
  int64_t BiasAt(int64_t batch, int64_t head, int64_t i, int64_t j) const;

  CaseSpec spec_;
  std::mt19937_64 random_;
  Operand q_, k_, v_, out_;
  std::unique_ptr<GuardedMemory> lse_;
  std::unique_ptr<GuardedMemory> bias_;
  AttentionBias bias_view_;
  std::vector<int32_t> key_lengths_, cu_q_, cu_k_;
  std::optional<BlockPlan> plan_;
  std::vector<char> visited_;  // [batch * heads][q_len][kv_len], with a plan
};

// Random lists over random blocks; every kind that a planner may hand over.
BlockPlan DrawBlockPlan(PlanKind kind, const AttentionProblem& problem, std::mt19937_64& random);

}  // namespace tessera
