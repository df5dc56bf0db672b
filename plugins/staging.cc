#include "staging.h"

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace vendor {
namespace {

// Keys that a query sees, never below 0; masks are those of the plug-in interface.
int64_t VisibleKeys(const tessera_attention_problem& p, const tessera_attention_io& io, int64_t batch, int64_t token,
                    int32_t sequence) noexcept {
  int64_t place = token, q_len = p.q_len, kv_len = p.kv_len;
  if ((p.mask & TESSERA_ATTENTION_VARLEN) != 0) {
    place = token - io.cu_seqlens_q[sequence];
    q_len = io.cu_seqlens_q[sequence + 1] - io.cu_seqlens_q[sequence];
    kv_len = io.cu_seqlens_kv[sequence + 1] - io.cu_seqlens_kv[sequence];
  }
  int64_t visible = kv_len;
  if ((p.mask & TESSERA_ATTENTION_KEY_LENGTHS) != 0) visible = std::min<int64_t>(visible, io.key_lengths[batch]);
  if ((p.mask & TESSERA_ATTENTION_CAUSAL) != 0) visible = std::min(visible, place + kv_len - q_len + 1);
  if ((p.mask & TESSERA_ATTENTION_CAUSAL_TOP_LEFT) != 0) visible = std::min(visible, place + 1);
  return std::max<int64_t>(visible, 0);
}

void ClearQuery(const tessera_attention_problem& p, const tessera_attention_io& io, int64_t batch,
                int64_t token) noexcept {
  for (int32_t head = 0; head < p.heads; ++head) {
    auto* out = static_cast<uint16_t*>(io.out.elements) + batch * io.out.batch_stride + token * io.out.seq_stride +
                head * io.out.head_stride;
    std::fill_n(out, p.head_dim, uint16_t{0});
    if (io.lse != nullptr) io.lse[(batch * p.heads + head) * p.q_len + token] = -INFINITY;
  }
}

}  // namespace

size_t Rows::bytes() const noexcept {
  return sizeof(uint16_t) * static_cast<size_t>(batch * tokens * heads) * static_cast<size_t>(padded);
}

Rows QueryRows(const tessera_attention_problem& problem, int32_t padded) noexcept {
  return {problem.batch, problem.q_len, problem.heads, problem.head_dim, padded};
}

Rows KeyRows(const tessera_attention_problem& problem, int32_t padded) noexcept {
  return {problem.batch, problem.kv_len, problem.kv_heads, problem.head_dim, padded};
}

void Pack(const tessera_attention_input& from, const Rows& rows, const int32_t* key_lengths, uint16_t* to) noexcept {
  const auto* elements = static_cast<const uint16_t*>(from.elements);
  for (int64_t batch = 0; batch < rows.batch; ++batch) {
    const int64_t shown = key_lengths == nullptr ? rows.tokens : key_lengths[batch];
    for (int64_t token = 0; token < rows.tokens; ++token) {
      for (int32_t head = 0; head < rows.heads; ++head, to += rows.padded) {
        const int32_t channels = token < shown ? rows.channels : 0;
        std::copy_n(elements + batch * from.batch_stride + token * from.seq_stride + head * from.head_stride, channels,
                    to);
        std::fill(to + channels, to + rows.padded, uint16_t{0});
      }
    }
  }
}

void Unpack(const uint16_t* from, const Rows& rows, const tessera_attention_output& to) noexcept {
  auto* elements = static_cast<uint16_t*>(to.elements);
  for (int64_t batch = 0; batch < rows.batch; ++batch) {
    for (int64_t token = 0; token < rows.tokens; ++token) {
      for (int32_t head = 0; head < rows.heads; ++head, from += rows.padded) {
        std::copy_n(from, rows.channels,
                    elements + batch * to.batch_stride + token * to.seq_stride + head * to.head_stride);
      }
    }
  }
}

void ClearEmptyQueries(const tessera_attention_problem& problem, const tessera_attention_io& io) noexcept {
  for (int64_t batch = 0; batch < problem.batch; ++batch) {
    int32_t sequence = 0;
    for (int64_t token = 0; token < problem.q_len; ++token) {
      while (sequence < io.sequences && io.cu_seqlens_q[sequence + 1] <= token) ++sequence;
      if (VisibleKeys(problem, io, batch, token, sequence) == 0) ClearQuery(problem, io, batch, token);
    }
  }
}

int Fail(int code, char* error, size_t error_bytes, const char* format, ...) noexcept {
  std::va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(error, error_bytes, format, arguments);
  va_end(arguments);
  return code;
}

int64_t IntSetting(const tessera_attention_setting* settings, uint32_t count, const char* key) noexcept {
  for (uint32_t i = 0; i < count; ++i) {
    if (std::strcmp(settings[i].key, key) == 0) return std::strtoll(settings[i].value, nullptr, 10);
  }
  return 0;
}

}  // namespace vendor
