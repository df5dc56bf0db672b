#include "conformance/attention_case.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

namespace tessera {
namespace {

int64_t Below(std::mt19937_64& random, int64_t limit) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(limit));
}
double Uniform(std::mt19937_64& random) { return (static_cast<double>(random() >> 11) + 0.5) * 0x1p-53; }
float Normal(std::mt19937_64& random) {
  const double radius = std::sqrt(-2 * std::log(Uniform(random)));
  return static_cast<float>(radius * std::cos(6.283185307179586 * Uniform(random)));
}

Operand MakeOperand(const AttentionProblem& problem, Layout layout, int64_t tokens, int64_t heads) {
  const int64_t gap = layout == Layout::kGaps ? 3 : 0, dim = problem.head_dim;
  Operand operand;
  operand.dtype = problem.dtype;
  if (layout == Layout::kHeadsFirst) {
    operand.seq_stride = dim;
    operand.head_stride = tokens * dim;
    operand.batch_stride = heads * tokens * dim;
  } else {
    operand.head_stride = dim + gap;
    operand.seq_stride = heads * operand.head_stride + 2 * gap;
    operand.batch_stride = tokens * operand.seq_stride + gap;
  }
  const int64_t last = tokens == 0 ? 0 : operand.At(problem.batch - 1, tokens - 1, heads - 1) + dim;
  operand.memory = std::make_unique<GuardedMemory>(static_cast<size_t>(last) * SizeOf(problem.dtype));
  return operand;
}

// Ends of `sequences` sequences over `total` tokens; some are empty.
std::vector<int32_t> DrawEnds(int64_t sequences, int64_t total, std::mt19937_64& random) {
  std::vector<int32_t> ends = {0};
  for (int64_t i = 1; i < sequences; ++i) ends.push_back(static_cast<int32_t>(Below(random, total + 1)));
  ends.push_back(static_cast<int32_t>(total));
  std::sort(ends.begin(), ends.end());
  return ends;
}

DType BiasDType(BiasKind kind) {
  constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kBool};
  return kTypes[static_cast<size_t>(kind)];
}

float ReadElement(const std::byte* elements, DType dtype, int64_t index) {
  switch (dtype) {
    case DType::kF32:
      return reinterpret_cast<const float*>(elements)[index];
    case DType::kBF16:
      return ToFloat(reinterpret_cast<const BFloat16*>(elements)[index]);
    case DType::kF16:
      return ToFloat(reinterpret_cast<const Float16*>(elements)[index]);
    default:
      return reinterpret_cast<const uint8_t*>(elements)[index];
  }
}

void WriteElement(std::byte* elements, DType dtype, int64_t index, float value) {
  switch (dtype) {
    case DType::kF32:
      reinterpret_cast<float*>(elements)[index] = value;
      break;
    case DType::kBF16:
      Store(value, reinterpret_cast<BFloat16*>(elements) + index);
      break;
    case DType::kF16:
      Store(value, reinterpret_cast<Float16*>(elements) + index);
      break;
    default:
      reinterpret_cast<uint8_t*>(elements)[index] = value != 0;
      break;
  }
}

int64_t SequenceOf(const std::vector<int32_t>& ends, int64_t token) {
  for (size_t s = 0; s + 1 < ends.size(); ++s) {
    if (token >= ends[s] && token < ends[s + 1]) return static_cast<int64_t>(s);
  }
  return -1;
}

// Which pairs of tokens a plan lets meet, [sets][q_len][kv_len].
std::vector<char> VisitedPairs(const BlockPlan& plan, int64_t sets, int64_t q_len, int64_t kv_len) {
  std::vector<char> visited(static_cast<size_t>(sets * q_len * kv_len), 0);
  const auto token = [](const BlockPlan::Blocks& blocks, int64_t set, int64_t length, int64_t position) -> int64_t {
    return blocks.permutation.empty() ? position : blocks.permutation[static_cast<size_t>(set * length + position)];
  };
  for (size_t row = 0; row + 1 < plan.row_begin.size(); ++row) {
    const int64_t set = static_cast<int64_t>(row) / plan.q_blocks, q_block = static_cast<int64_t>(row) % plan.q_blocks;
    const int64_t own = plan.per_head ? set : 0;
    const int32_t* q_offsets = plan.q.offsets.data() + own * (plan.q_blocks + 1);
    const int32_t* kv_offsets = plan.kv.offsets.data() + own * (plan.kv_blocks + 1);
    for (int64_t entry = plan.row_begin[row]; entry < plan.row_begin[row + 1]; ++entry) {
      const int32_t block = plan.kv_list[static_cast<size_t>(entry)];
      for (int32_t p = q_offsets[q_block]; p < q_offsets[q_block + 1]; ++p) {
        const int64_t bit = p - q_offsets[q_block];
        const bool sees =
            plan.query_masks.empty() ||
            (plan.query_masks[static_cast<size_t>(entry * plan.mask_words + bit / 64)] >> (bit % 64) & 1) != 0;
        for (int32_t n = kv_offsets[block]; sees && n < kv_offsets[block + 1]; ++n) {
          const int64_t i = token(plan.q, own, q_len, p), j = token(plan.kv, own, kv_len, n);
          visited[static_cast<size_t>((set * q_len + i) * kv_len + j)] = 1;
        }
      }
    }
  }
  return visited;
}

}  // namespace

std::string CaseSpec::ToString() const {
  return fmt::format("{} | layout {} values {} bias {}/{} plan {} seed {}", Print(problem), static_cast<int>(layout),
                     static_cast<int>(values), static_cast<int>(bias), static_cast<int>(bias_shape),
                     static_cast<int>(plan), seed);
}

float Operand::Get(int64_t index) const { return ReadElement(memory->begin(), dtype, index); }
void Operand::Set(int64_t index, float value) { WriteElement(memory->begin(), dtype, index, value); }

AttentionCase::AttentionCase(const CaseSpec& spec) : spec_(spec), random_(spec.seed) {
  const AttentionProblem& p = spec_.problem;
  DrawMasks();
  DrawBias();
  DrawPlan();
  q_ = MakeOperand(p, spec_.layout, p.q_len, p.heads);
  k_ = MakeOperand(p, spec_.layout, p.kv_len, p.kv_heads);
  v_ = MakeOperand(p, spec_.layout, p.kv_len, p.kv_heads);
  out_ = MakeOperand(p, spec_.layout, p.q_len, p.heads);
  lse_ = std::make_unique<GuardedMemory>(static_cast<size_t>(p.batch * p.heads * p.q_len) * sizeof(float));
  DrawOperands();
  PoisonKeys();
}

void AttentionCase::DrawMasks() {
  const AttentionProblem& p = spec_.problem;
  if ((p.mask & kMaskKeyLengths) != 0) {
    // Of films only text behind the frames is padding.
    const int64_t least = p.grid ? p.kv_len - p.grid->suffix : 0;
    for (int64_t b = 0; b < p.batch; ++b) {
      key_lengths_.push_back(static_cast<int32_t>(least + Below(random_, p.kv_len - least + 1)));
    }
  }
  if ((p.mask & kMaskVarlen) != 0) {
    const int64_t sequences = 1 + Below(random_, 5);
    cu_q_ = DrawEnds(sequences, p.q_len, random_);
    cu_k_ = p.q_len == p.kv_len && Below(random_, 2) == 0 ? cu_q_ : DrawEnds(sequences, p.kv_len, random_);
  }
}

void AttentionCase::DrawBias() {
  const AttentionProblem& p = spec_.problem;
  if ((p.mask & kMaskBias) == 0) return;
  const int64_t gap = spec_.layout == Layout::kGaps ? 5 : 0;
  bias_view_.dtype = BiasDType(spec_.bias);
  bias_view_.query_stride = spec_.bias_shape == BiasShape::kPerKey ? 0 : p.kv_len + gap;
  bias_view_.head_stride = spec_.bias_shape == BiasShape::kFull ? p.q_len * bias_view_.query_stride : 0;
  bias_view_.batch_stride = spec_.bias_shape == BiasShape::kPerQueryKey ? 0
                            : spec_.bias_shape == BiasShape::kPerKey    ? p.kv_len + gap
                                                                        : p.heads * bias_view_.head_stride;
  const int64_t last = p.q_len * p.kv_len == 0 ? 0 : BiasAt(p.batch - 1, p.heads - 1, p.q_len - 1, p.kv_len - 1) + 1;
  bias_ = std::make_unique<GuardedMemory>(static_cast<size_t>(last) * SizeOf(bias_view_.dtype));
  bias_view_.elements = bias_->begin();
  const int64_t hidden_row = Below(random_, std::max<int64_t>(p.q_len, 1));
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t h = 0; h < p.heads; ++h) {
      for (int64_t i = 0; i < p.q_len; ++i) {
        for (int64_t j = 0; j < p.kv_len; ++j) {
          const bool hides = i == hidden_row || Below(random_, 4) == 0;
          const float additive = hides ? -std::numeric_limits<float>::infinity() : Normal(random_);
          WriteElement(bias_->begin(), bias_view_.dtype, BiasAt(b, h, i, j),
                       spec_.bias == BiasKind::kBool ? !hides : additive);
        }
      }
    }
  }
}

void AttentionCase::DrawPlan() {
  const AttentionProblem& p = spec_.problem;
  if (spec_.plan == PlanKind::kNone) return;
  plan_ = DrawBlockPlan(spec_.plan, p, random_);
  visited_ = VisitedPairs(*plan_, p.batch * p.heads, p.q_len, p.kv_len);
}

void AttentionCase::ShowOnly(const BlockPlan* decision) {
  const AttentionProblem& p = spec_.problem;
  visited_.clear();
  if (decision != nullptr) visited_ = VisitedPairs(*decision, p.batch * p.heads, p.q_len, p.kv_len);
}

void AttentionCase::DrawOperands() {
  const AttentionProblem& p = spec_.problem;
  const auto draw = [&](Operand& operand, int64_t tokens, int64_t heads, float mean, float factor) {
    std::vector<float> means(static_cast<size_t>(p.head_dim));
    for (float& m : means) m = spec_.values == Values::kBiased ? mean * Normal(random_) : 0.0f;
    for (int64_t b = 0; b < p.batch; ++b) {
      for (int64_t s = 0; s < tokens; ++s) {
        for (int64_t h = 0; h < heads; ++h) {
          for (int64_t d = 0; d < p.head_dim; ++d) {
            operand.Set(operand.At(b, s, h) + d, factor * (Normal(random_) + means[static_cast<size_t>(d)]));
          }
        }
      }
    }
  };
  draw(q_, p.q_len, p.heads, 0.5f, spec_.values == Values::kSharp ? 30.0f : 1.0f);
  draw(k_, p.kv_len, p.kv_heads, 2.0f, 1.0f);
  draw(v_, p.kv_len, p.kv_heads, 1.0f, 1.0f);
}

bool AttentionCase::HoldsPoison(int64_t batch, int64_t kv_head, int64_t j) const {
  const AttentionProblem& p = spec_.problem;
  if ((p.mask & kMaskKeyLengths) != 0 && j >= key_lengths_[static_cast<size_t>(batch)]) return true;
  if (spec_.poison == Poison::kPadding) return false;
  const int64_t group = p.heads / p.kv_heads;
  for (int64_t i = 0; i < p.q_len; ++i) {
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      if (StructureShows(batch, head, i, j)) return false;
    }
  }
  return true;
}

void AttentionCase::PoisonKeys() {
  const AttentionProblem& p = spec_.problem;
  for (int64_t b = 0; b < p.batch; ++b) {
    for (int64_t h = 0; h < p.kv_heads; ++h) {
      for (int64_t j = 0; j < p.kv_len; ++j) {
        if (!HoldsPoison(b, h, j)) continue;
        for (int64_t d = 0; d < p.head_dim; ++d) {
          const float poison =
              d % 2 == 0 ? std::numeric_limits<float>::quiet_NaN() : std::numeric_limits<float>::infinity();
          k_.Set(k_.At(b, j, h) + d, poison);
          v_.Set(v_.At(b, j, h) + d, poison);
        }
      }
    }
  }
}

int64_t AttentionCase::BiasAt(int64_t batch, int64_t head, int64_t i, int64_t j) const {
  return batch * bias_view_.batch_stride + head * bias_view_.head_stride + i * bias_view_.query_stride + j;
}

bool AttentionCase::StructureShows(int64_t batch, int64_t head, int64_t i, int64_t j) const {
  const AttentionProblem& p = spec_.problem;
  if ((p.mask & kMaskKeyLengths) != 0 && j >= key_lengths_[static_cast<size_t>(batch)]) return false;
  int64_t row = i, column = j, queries = p.q_len, keys = p.kv_len;
  if ((p.mask & kMaskVarlen) != 0) {
    const int64_t sequence = SequenceOf(cu_q_, i);
    if (sequence != SequenceOf(cu_k_, j)) return false;
    const auto s = static_cast<size_t>(sequence);
    row -= cu_q_[s];
    column -= cu_k_[s];
    queries = cu_q_[s + 1] - cu_q_[s];
    keys = cu_k_[s + 1] - cu_k_[s];
  }
  if ((p.mask & kMaskCausal) != 0 && column > row + keys - queries) return false;
  if ((p.mask & kMaskCausalTopLeft) != 0 && column > row) return false;
  return visited_.empty() ||
         visited_[static_cast<size_t>(((batch * p.heads + head) * p.q_len + i) * p.kv_len + j)] != 0;
}

bool AttentionCase::Visible(int64_t batch, int64_t head, int64_t i, int64_t j) const {
  if (!StructureShows(batch, head, i, j)) return false;
  if (bias_ == nullptr) return true;
  const float value = ReadElement(bias_->begin(), bias_view_.dtype, BiasAt(batch, head, i, j));
  return spec_.bias == BiasKind::kBool ? value != 0 : value != -std::numeric_limits<float>::infinity();
}

double AttentionCase::Bias(int64_t batch, int64_t head, int64_t i, int64_t j) const {
  if (bias_ == nullptr || spec_.bias == BiasKind::kBool) return 0;
  return ReadElement(bias_->begin(), bias_view_.dtype, BiasAt(batch, head, i, j));
}

std::span<const float> AttentionCase::lse() const {
  return {reinterpret_cast<const float*>(lse_->begin()), lse_->bytes().size() / sizeof(float)};
}

AttentionIO AttentionCase::NewIO() {
  out_.memory->Poison();
  lse_->Poison();
  const auto in = [](const Operand& o) {
    return BshdIn{o.memory->begin(), o.batch_stride, o.seq_stride, o.head_stride};
  };
  AttentionIO io;
  io.q = in(q_);
  io.k = in(k_);
  io.v = in(v_);
  io.out = {out_.memory->begin(), out_.batch_stride, out_.seq_stride, out_.head_stride};
  io.lse = spec_.problem.needs_lse ? reinterpret_cast<float*>(lse_->begin()) : nullptr;
  io.bias = bias_view_;
  io.key_lengths = key_lengths_;
  io.cu_seqlens_q = cu_q_;
  io.cu_seqlens_k = cu_k_;
  io.blocks = plan_ ? &*plan_ : nullptr;
  return io;
}

}  // namespace tessera
