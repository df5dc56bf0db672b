// The plain C face of AITER's mha_fwd. Fields are set by name, so that a release with other fields does not compile
// instead of computing something else.
#include "aiter/attn_aiter.h"
#include "mha_fwd.h"

namespace {

void SetOperands(const attn_aiter_desc& from, aiter::mha_fwd_args* to) {
  to->q_ptr = from.q_ptr;
  to->k_ptr = from.k_ptr;
  to->v_ptr = from.v_ptr;
  to->bias_ptr = from.bias_ptr;
  to->q_descale_ptr = from.q_descale_ptr;
  to->k_descale_ptr = from.k_descale_ptr;
  to->v_descale_ptr = from.v_descale_ptr;
  to->rand_val_ptr = from.rand_val_ptr;
  to->lse_ptr = from.lse_ptr;
  to->o_ptr = from.o_ptr;
  to->sink_ptr = from.sink_ptr;
}

void SetLengths(const attn_aiter_desc& from, aiter::mha_fwd_args* to) {
  to->seqstart_q_ptr = from.seqstart_q_ptr;
  to->seqstart_k_ptr = from.seqstart_k_ptr;
  to->seqlen_q_ptr = from.seqlen_q_ptr;
  to->seqlen_k_ptr = from.seqlen_k_ptr;
  to->cu_seqlen_q_ptr = from.cu_seqlen_q_ptr;
  to->cu_seqlen_k_ptr = from.cu_seqlen_k_ptr;
  to->block_scale_seqstart_q_ptr = from.block_scale_seqstart_q_ptr;
  to->block_scale_seqstart_k_ptr = from.block_scale_seqstart_k_ptr;
  to->seqlen_q = from.seqlen_q;
  to->seqlen_k = from.seqlen_k;
  to->batch = from.batch;
  to->max_seqlen_q = from.max_seqlen_q;
  to->hdim_q = from.hdim_q;
  to->hdim_v = from.hdim_v;
  to->nhead_q = from.nhead_q;
  to->nhead_k = from.nhead_k;
}

void SetStrides(const attn_aiter_desc& from, aiter::mha_fwd_args* to) {
  to->stride_q = from.stride_q;
  to->stride_k = from.stride_k;
  to->stride_v = from.stride_v;
  to->stride_bias = from.stride_bias;
  to->stride_randval = from.stride_randval;
  to->stride_o = from.stride_o;
  to->nhead_stride_q = from.nhead_stride_q;
  to->nhead_stride_k = from.nhead_stride_k;
  to->nhead_stride_v = from.nhead_stride_v;
  to->nhead_stride_bias = from.nhead_stride_bias;
  to->nhead_stride_randval = from.nhead_stride_randval;
  to->nhead_stride_lse = from.nhead_stride_lse;
  to->nhead_stride_o = from.nhead_stride_o;
  to->nhead_stride_q_descale = from.nhead_stride_q_descale;
  to->nhead_stride_k_descale = from.nhead_stride_k_descale;
  to->nhead_stride_v_descale = from.nhead_stride_v_descale;
  to->batch_stride_q = from.batch_stride_q;
  to->batch_stride_k = from.batch_stride_k;
  to->batch_stride_v = from.batch_stride_v;
  to->batch_stride_bias = from.batch_stride_bias;
  to->batch_stride_randval = from.batch_stride_randval;
  to->batch_stride_lse = from.batch_stride_lse;
  to->batch_stride_o = from.batch_stride_o;
  to->batch_stride_q_descale = from.batch_stride_q_descale;
  to->batch_stride_k_descale = from.batch_stride_k_descale;
  to->batch_stride_v_descale = from.batch_stride_v_descale;
}

void SetRules(const attn_aiter_desc& from, aiter::mha_fwd_args* to) {
  to->use_asm_v3 = from.use_asm_v3 != 0;
  to->v3_api_check = from.v3_api_check != 0;
  to->how_v3_bf16_cvt = from.how_v3_bf16_cvt;
  to->data_type = from.data_type;
  to->is_group_mode = from.is_group_mode != 0;
  to->bias_type = from.bias_type;
  to->has_lse = from.has_lse != 0;
  to->qscale_type = from.qscale_type;
  to->has_sink = from.has_sink != 0;
  to->scale_s = from.scale_s;
  to->logits_soft_cap = from.logits_soft_cap;
  to->window_size_left = from.window_left;
  to->window_size_right = from.window_right;
  to->sink_size = from.sink_size;
  to->mask_type = from.mask_type;
  to->min_seqlen_q = from.min_seqlen_q;
  to->p_drop = from.p_drop;
  to->s_randval = from.s_randval != 0;
  to->drop_seed_offset = std::pair<uint64_t, uint64_t>(from.drop_seed, from.drop_offset);
  to->block_scale_size_q = from.block_scale_size_q;
  to->block_scale_size_kv = from.block_scale_size_kv;
}

}  // namespace

extern "C" int attn_aiter_abi(void) { return ATTN_AITER_ABI; }

extern "C" int attn_aiter_fwd(const attn_aiter_desc* desc, void* hip_stream) {
  aiter::mha_fwd_args args{};
  SetOperands(*desc, &args);
  SetLengths(*desc, &args);
  SetStrides(*desc, &args);
  SetRules(*desc, &args);
  ck_tile::stream_config stream{static_cast<hipStream_t>(hip_stream)};
  stream.time_kernel_ = false;  // else the call benchmarks itself
  return aiter::mha_fwd(args, stream) < 0 ? -1 : 0;
}
