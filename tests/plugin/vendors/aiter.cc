// Stands in for libattn_aiter_shim.so: records the call and computes it on the CPU.
#include "plugin/vendors/aiter.h"

#include <cstring>

#include "plugin/vendors/cpu_attention.h"

namespace {

AiterRecord record;

vendors::View ViewAt(const void* elements, int64_t offset, int64_t row, int64_t head) {
  return {static_cast<const uint16_t*>(elements) + offset, row, head};
}

struct Part {
  int64_t q_offset, kv_offset, lse_offset, q_len, kv_len;
};

void AttendPart(const attn_aiter_desc& d, const Part& part) {
  vendors::Sequence s;
  s.number = std::strcmp(d.data_type, "bf16") == 0 ? vendors::Number::kBf16 : vendors::Number::kF16;
  s.q = ViewAt(d.q_ptr, part.q_offset, d.stride_q, d.nhead_stride_q);
  s.k = ViewAt(d.k_ptr, part.kv_offset, d.stride_k, d.nhead_stride_k);
  s.v = ViewAt(d.v_ptr, part.kv_offset, d.stride_v, d.nhead_stride_v);
  s.out = static_cast<uint16_t*>(d.o_ptr) + part.q_offset;
  s.out_row = d.stride_o;
  s.out_head = d.nhead_stride_o;
  if (d.has_lse != 0) s.lse = static_cast<float*>(d.lse_ptr) + part.lse_offset;
  s.lse_row = 1;
  s.lse_head = d.nhead_stride_lse;
  s.heads = d.nhead_q;
  s.kv_heads = d.nhead_k;
  s.width = d.hdim_q;
  s.q_len = part.q_len;
  s.kv_len = s.diagonal_kv_len = part.kv_len;
  s.scale = static_cast<double>(d.scale_s);
  s.diagonal = d.mask_type == ATTN_AITER_MASK_TOP_LEFT       ? vendors::Diagonal::kTopLeft
               : d.mask_type == ATTN_AITER_MASK_BOTTOM_RIGHT ? vendors::Diagonal::kBottomRight
                                                             : vendors::Diagonal::kNone;
  vendors::Attend(s);
}

std::vector<int32_t> Copy(const void* from, int32_t count) {
  const auto* first = static_cast<const int32_t*>(from);
  return from == nullptr ? std::vector<int32_t>() : std::vector<int32_t>(first, first + count);
}

}  // namespace

extern "C" {
AiterRecord* standin_aiter_record(void) { return &record; }

int attn_aiter_abi(void) { return ATTN_AITER_ABI; }

int attn_aiter_fwd(const attn_aiter_desc* desc, void*) {
  record.desc = *desc;
  record.seqstart_q = Copy(desc->seqstart_q_ptr, desc->batch + 1);
  record.seqstart_k = Copy(desc->seqstart_k_ptr, desc->batch + 1);
  record.cu_seqlen_k = Copy(desc->cu_seqlen_k_ptr, desc->batch + 1);
  ++record.calls;
  if (record.answer != 0) return record.answer;
  for (int32_t b = 0; b < desc->batch; ++b) {
    const auto at = static_cast<size_t>(b);
    if (desc->is_group_mode != 0) {
      const int64_t q = record.seqstart_q[at], k = record.seqstart_k[at];
      AttendPart(*desc, {q * desc->stride_q, k * desc->stride_k, q, record.seqstart_q[at + 1] - q,
                         record.seqstart_k[at + 1] - k});
    } else {
      const int64_t shown =
          record.cu_seqlen_k.empty() ? desc->seqlen_k : record.cu_seqlen_k[at + 1] - record.cu_seqlen_k[at];
      AttendPart(*desc, {int64_t{b} * desc->batch_stride_q, int64_t{b} * desc->batch_stride_k,
                         int64_t{b} * desc->batch_stride_lse, desc->seqlen_q, shown});
    }
  }
  return 0;
}
}
