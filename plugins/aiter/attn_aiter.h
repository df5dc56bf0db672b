/* The plain C face of AITER's attention that libattn_aiter_shim.so exports. aiter::mha_fwd_args cannot cross a library
 * boundary (it has C++ members and its layout changes between releases), so a shim built against the installed AITER
 * fills it from this structure, whose fields have upstream's order and meaning.
 * Source of the fields: AITER, csrc/include/mha_fwd.h. Strides are in elements. */
#ifndef ATTN_AITER_H_
#define ATTN_AITER_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define ATTN_AITER_ABI 1

enum { ATTN_AITER_MASK_NONE = 0, ATTN_AITER_MASK_TOP_LEFT = 1, ATTN_AITER_MASK_BOTTOM_RIGHT = 2 };

typedef struct attn_aiter_desc {
  int32_t use_asm_v3, v3_api_check, how_v3_bf16_cvt; /* conversion: 0 to nearest even, 1 to nearest away, 2 to zero */

  const char* data_type; /* "bf16" or "fp16" */
  int32_t is_group_mode; /* packed sequences */
  int32_t bias_type;     /* 0 none */
  int32_t has_lse, qscale_type, has_sink;

  const void *q_ptr, *k_ptr, *v_ptr, *bias_ptr, *q_descale_ptr, *k_descale_ptr, *v_descale_ptr;
  void *rand_val_ptr, *lse_ptr, *o_ptr;

  /* Group mode: seqstart, int32 [batch + 1]. Batch mode with hidden keys: cu_seqlen, cumulative counts of those shown.
   */
  const void *seqstart_q_ptr, *seqstart_k_ptr, *seqlen_q_ptr, *seqlen_k_ptr, *cu_seqlen_q_ptr, *cu_seqlen_k_ptr;
  const void *block_scale_seqstart_q_ptr, *block_scale_seqstart_k_ptr, *sink_ptr;

  int32_t seqlen_q, seqlen_k, batch, max_seqlen_q, hdim_q, hdim_v, nhead_q, nhead_k;
  float scale_s, logits_soft_cap;

  int32_t stride_q, stride_k, stride_v, stride_bias, stride_randval, stride_o;
  int32_t nhead_stride_q, nhead_stride_k, nhead_stride_v, nhead_stride_bias, nhead_stride_randval, nhead_stride_lse,
      nhead_stride_o, nhead_stride_q_descale, nhead_stride_k_descale, nhead_stride_v_descale;
  int32_t batch_stride_q, batch_stride_k, batch_stride_v, batch_stride_bias, batch_stride_randval, batch_stride_lse,
      batch_stride_o, batch_stride_q_descale, batch_stride_k_descale, batch_stride_v_descale;

  int32_t window_left, window_right; /* -1: no limit */
  int32_t sink_size, mask_type, min_seqlen_q;

  float p_drop;
  int32_t s_randval;
  uint64_t drop_seed, drop_offset;
  int32_t block_scale_size_q, block_scale_size_kv;
} attn_aiter_desc;

int attn_aiter_abi(void); /* ATTN_AITER_ABI of the shim */
/* Enqueues on the stream. 0: done; -1: AITER has no kernel for this; other numbers: HIP's error. */
int attn_aiter_fwd(const attn_aiter_desc* desc, void* hip_stream);

#ifdef __cplusplus
}
#endif

#endif /* ATTN_AITER_H_ */
