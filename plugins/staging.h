// Operands on their way to a vendor's device and back: contiguous copies of strided 16-bit rows, and the rows that see
// no key, about which libraries disagree.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tessera/attention_plugin.h"

namespace vendor {

// A contiguous operand [batch, token, head, padded channel].
struct Rows {
  int64_t batch = 1, tokens = 0;
  int32_t heads = 1, channels = 0, padded = 0;
  size_t bytes() const noexcept;
};
Rows QueryRows(const tessera_attention_problem& problem, int32_t padded) noexcept;
Rows KeyRows(const tessera_attention_problem& problem, int32_t padded) noexcept;

// Channels beyond `channels` become 0; so do tokens from key_lengths[batch] on, where there are lengths, since hidden
// keys may hold NaN.
void Pack(const tessera_attention_input& from, const Rows& rows, const int32_t* key_lengths, uint16_t* to) noexcept;
void Unpack(const uint16_t* from, const Rows& rows, const tessera_attention_output& to) noexcept;

// Writes out = 0 and lse = -infinity for every query without a visible key, whatever a library wrote there.
void ClearEmptyQueries(const tessera_attention_problem& problem, const tessera_attention_io& io) noexcept;

// Writes a one-line text into a caller's buffer and returns `code`.
[[gnu::format(printf, 4, 5)]] int Fail(int code, char* error, size_t error_bytes, const char* format, ...) noexcept;

// The whole number that the option `key` was given.
int64_t IntSetting(const tessera_attention_setting* settings, uint32_t count, const char* key) noexcept;

}  // namespace vendor
