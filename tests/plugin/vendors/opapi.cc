// Stands in for libopapi.so: records both phases of FusedInferAttentionScore and computes them on the CPU. Argument
// lists are those of aclnn_fused_infer_attention_score.h and its versions v2 to v4.
#include <initializer_list>

#include "plugin/vendors/ascend.h"
#include "plugin/vendors/cpu_attention.h"

namespace {

constexpr uint64_t kWorkspace = 4096;
constexpr int64_t kMaskSide = 2048;
FiaRecord record;
int executor_token = 0;

using Slot = const void*;

AscendTensor TensorIn(Slot slot) { return slot == nullptr ? AscendTensor() : *static_cast<const AscendTensor*>(slot); }
AscendTensor FirstOf(Slot slot) {
  const auto* list = static_cast<const AscendList*>(slot);
  return list == nullptr || list->tensors.size() != 1 ? AscendTensor() : *list->tensors[0];
}
std::vector<int64_t> IntegersIn(Slot slot) {
  return slot == nullptr ? std::vector<int64_t>() : static_cast<const AscendIntegers*>(slot)->values;
}
int InUse(std::initializer_list<Slot> slots) {
  int used = 0;
  for (const Slot slot : slots) used += slot != nullptr ? 1 : 0;
  return used;
}

struct Operands {
  Slot query, key, value, shift, mask, lengths_q, lengths_kv, out, lse;
};
struct Attributes {
  int64_t heads;
  double scale;
  int64_t pre, next;
  const char* layout;
  int64_t kv_heads, sparse_mode, inner_precise;
  bool lse_flag;
  int64_t modes;
};

int Record(int version, const Operands& o, const Attributes& a, int slots, uint64_t* bytes, void** executor) {
  const int runs = record.runs, answer = record.answer;
  record = {version,
            TensorIn(o.query),
            FirstOf(o.key),
            FirstOf(o.value),
            TensorIn(o.mask),
            TensorIn(o.out),
            TensorIn(o.lse),
            IntegersIn(o.lengths_q),
            IntegersIn(o.lengths_kv),
            slots + InUse({o.shift}),
            a.heads,
            a.kv_heads,
            a.pre,
            a.next,
            a.sparse_mode,
            a.inner_precise,
            a.modes,
            a.scale,
            a.layout,
            a.lse_flag,
            runs,
            answer};
  *bytes = kWorkspace;
  *executor = &executor_token;
  return answer;
}

// The mask says which kind of diagonal it is together with the mode; a mask of another polarity hides other keys.
bool MaskHidesAboveDiagonal() {
  const auto* hidden = static_cast<const uint8_t*>(record.mask.at);
  for (int64_t i = 0; i < kMaskSide; ++i) {
    for (int64_t j = 0; j < kMaskSide; ++j) {
      if ((hidden[i * kMaskSide + j] != 0) != (j > i)) return false;
    }
  }
  return true;
}

struct Part {
  int64_t q_begin, q_len, kv_begin, kv_len, lse_begin;  // tokens; lse_begin in elements
};

void AttendPart(const Part& part) {
  const bool packed = record.layout == "TND";
  const int64_t width = record.query.dims.back();
  vendors::Sequence s;
  s.number = record.query.type == 27 ? vendors::Number::kBf16 : vendors::Number::kF16;
  s.heads = record.heads;
  s.kv_heads = record.kv_heads == 0 ? record.heads : record.kv_heads;
  s.width = width;
  const int64_t q_row = s.heads * width, kv_row = s.kv_heads * width;
  s.q = {static_cast<const uint16_t*>(record.query.at) + part.q_begin * q_row, q_row, width};
  s.k = {static_cast<const uint16_t*>(record.key.at) + part.kv_begin * kv_row, kv_row, width};
  s.v = {static_cast<const uint16_t*>(record.value.at) + part.kv_begin * kv_row, kv_row, width};
  s.out = static_cast<uint16_t*>(record.out.at) + part.q_begin * q_row;
  s.out_row = q_row;
  s.out_head = width;
  if (record.lse_flag) s.lse = static_cast<float*>(record.lse.at) + part.lse_begin;
  s.lse_row = packed ? s.heads : 1;
  s.lse_head = packed ? 1 : part.q_len;
  s.q_len = part.q_len;
  s.kv_len = s.diagonal_kv_len = part.kv_len;
  s.scale = record.scale;
  s.diagonal = record.sparse_mode == 2   ? vendors::Diagonal::kTopLeft
               : record.sparse_mode == 3 ? vendors::Diagonal::kBottomRight
                                         : vendors::Diagonal::kNone;
  s.empty_lse = INFINITY;
  vendors::Attend(s);
}

void AttendPacked() {
  int64_t q = 0, kv = 0;
  for (size_t i = 0; i < record.lengths_q.size(); ++i) {
    AttendPart({q, record.lengths_q[i] - q, kv, record.lengths_kv[i] - kv, q * record.heads});
    q = record.lengths_q[i];
    kv = record.lengths_kv[i];
  }
}

int RunOperator(void* workspace, uint64_t bytes, void* executor) {
  if (workspace == nullptr || bytes != kWorkspace || executor != &executor_token) return 361001;
  ++record.runs;
  const bool diagonal = record.sparse_mode == 2 || record.sparse_mode == 3;
  if (diagonal != (record.mask.type != -1) || (diagonal && !MaskHidesAboveDiagonal())) return 161002;
  if (record.layout == "TND") {
    AttendPacked();
    return 0;
  }
  const int64_t q_len = record.query.dims[1], kv_len = record.key.dims[1];
  for (int64_t b = 0; b < record.query.dims[0]; ++b) {
    const int64_t shown = record.lengths_kv.empty() ? kv_len : record.lengths_kv[static_cast<size_t>(b)];
    AttendPart({b * q_len, q_len, b * kv_len, shown, b * record.heads * q_len});
  }
  return 0;
}

}  // namespace

extern "C" {

FiaRecord* standin_fia_record(void) { return &record; }

#define FIRST_SLOTS                                                                                                 \
  Slot query, Slot key, Slot value, Slot shift, Slot mask, Slot lengths_q, Slot lengths_kv, Slot deq1, Slot quant1, \
      Slot deq2, Slot quant2, Slot offset2, Slot anti_scale, Slot anti_offset, Slot table, Slot pad_q, Slot pad_kv
#define SECOND_SLOTS \
  Slot k_scale, Slot k_offset, Slot v_scale, Slot v_offset, Slot k_prefix, Slot v_prefix, Slot prefix_length
#define THIRD_SLOTS Slot q_rope, Slot k_rope, Slot rope_scale
#define FOURTH_SLOTS Slot q_scale, Slot sink
#define ATTRIBUTES                                                                                             \
  int64_t heads, double scale, int64_t pre, int64_t next, char *layout, int64_t kv_heads, int64_t sparse_mode, \
      int64_t inner_precise, int64_t block_size, int64_t anti_mode, bool lse_flag
#define RESULTS Slot out, Slot lse, uint64_t *bytes, void **executor

#define FIRST_USE InUse({deq1, quant1, deq2, quant2, offset2, anti_scale, anti_offset, table, pad_q, pad_kv})
#define SECOND_USE InUse({k_scale, k_offset, v_scale, v_offset, k_prefix, v_prefix, prefix_length})
#define THIRD_USE InUse({q_rope, k_rope, rope_scale})
#define RECORD(version, slots, more_modes)                                                 \
  Record(version, {query, key, value, shift, mask, lengths_q, lengths_kv, out, lse},       \
         {heads, scale, pre, next, layout, kv_heads, sparse_mode, inner_precise, lse_flag, \
          block_size + anti_mode + (more_modes)},                                          \
         slots, bytes, executor)

int aclnnFusedInferAttentionScoreGetWorkspaceSize(FIRST_SLOTS, ATTRIBUTES, RESULTS) { return RECORD(1, FIRST_USE, 0); }
int aclnnFusedInferAttentionScore(void* workspace, uint64_t bytes, void* executor, void*) {
  return RunOperator(workspace, bytes, executor);
}

#ifndef STANDIN_V1_ONLY
int aclnnFusedInferAttentionScoreV2GetWorkspaceSize(FIRST_SLOTS, SECOND_SLOTS, ATTRIBUTES, int64_t k_mode,
                                                    int64_t v_mode, RESULTS) {
  return RECORD(2, FIRST_USE + SECOND_USE, k_mode + v_mode);
}
int aclnnFusedInferAttentionScoreV2(void* workspace, uint64_t bytes, void* executor, void*) {
  return RunOperator(workspace, bytes, executor);
}

int aclnnFusedInferAttentionScoreV3GetWorkspaceSize(FIRST_SLOTS, SECOND_SLOTS, THIRD_SLOTS, ATTRIBUTES, int64_t k_mode,
                                                    int64_t v_mode, RESULTS) {
  return RECORD(3, FIRST_USE + SECOND_USE + THIRD_USE, k_mode + v_mode);
}
int aclnnFusedInferAttentionScoreV3(void* workspace, uint64_t bytes, void* executor, void*) {
  return RunOperator(workspace, bytes, executor);
}

int aclnnFusedInferAttentionScoreV4GetWorkspaceSize(FIRST_SLOTS, SECOND_SLOTS, THIRD_SLOTS, FOURTH_SLOTS, ATTRIBUTES,
                                                    int64_t k_mode, int64_t v_mode, int64_t q_mode, RESULTS) {
  return RECORD(4, FIRST_USE + SECOND_USE + THIRD_USE + InUse({q_scale, sink}), k_mode + v_mode + q_mode);
}
int aclnnFusedInferAttentionScoreV4(void* workspace, uint64_t bytes, void* executor, void*) {
  return RunOperator(workspace, bytes, executor);
}
#endif
}
