// Stands in for AITER's csrc/include/mha_fwd.h, so that the shim is compiled and called where there is no AITER: the
// fields that it sets, by their published names and types.
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <variant>

using hipStream_t = void*;

namespace ck_tile {
using index_t = int32_t;
struct stream_config {
  hipStream_t stream_id_ = nullptr;
  bool time_kernel_ = true;
};
}  // namespace ck_tile

namespace aiter {

struct mha_fwd_args {
  bool use_asm_v3, v3_api_check;
  int how_v3_bf16_cvt;
  std::string data_type;
  bool is_group_mode;
  int bias_type;
  bool has_lse;
  int qscale_type;
  bool has_sink;
  const void *q_ptr, *k_ptr, *v_ptr, *bias_ptr, *q_descale_ptr, *k_descale_ptr, *v_descale_ptr;
  void *rand_val_ptr, *lse_ptr, *o_ptr;
  const void *seqstart_q_ptr, *seqstart_k_ptr, *seqlen_q_ptr, *seqlen_k_ptr, *cu_seqlen_q_ptr, *cu_seqlen_k_ptr;
  const void *block_scale_seqstart_q_ptr, *block_scale_seqstart_k_ptr, *sink_ptr;
  ck_tile::index_t seqlen_q, seqlen_k, batch, max_seqlen_q, hdim_q, hdim_v, nhead_q, nhead_k;
  float scale_s, logits_soft_cap;
  ck_tile::index_t stride_q, stride_k, stride_v, stride_bias, stride_randval, stride_o;
  ck_tile::index_t nhead_stride_q, nhead_stride_k, nhead_stride_v, nhead_stride_bias, nhead_stride_randval,
      nhead_stride_lse, nhead_stride_o, nhead_stride_q_descale, nhead_stride_k_descale, nhead_stride_v_descale;
  ck_tile::index_t batch_stride_q, batch_stride_k, batch_stride_v, batch_stride_bias, batch_stride_randval,
      batch_stride_lse, batch_stride_o, batch_stride_q_descale, batch_stride_k_descale, batch_stride_v_descale;
  ck_tile::index_t window_size_left, window_size_right, sink_size, mask_type, min_seqlen_q;
  float p_drop;
  bool s_randval;
  std::variant<std::pair<uint64_t, uint64_t>, std::pair<const void*, const void*>> drop_seed_offset;
  ck_tile::index_t block_scale_size_q, block_scale_size_kv;
};

float mha_fwd(mha_fwd_args args, const ck_tile::stream_config& stream);

}  // namespace aiter
