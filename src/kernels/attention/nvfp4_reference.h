// SageAttention 3's recipe and the NVFP4 format in plain loops: the definition that the kernels of nvfp4.h are checked
// against.
#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/attention/nvfp4.h"

namespace tessera {

// e2m1, codes 0..15: a sign bit above 0, 0.5, 1, 1.5, 2, 3, 4, 6. To the nearest, ties to the even code, saturated.
uint8_t EncodeE2m1(float x);
float DecodeE2m1(uint8_t code);
// e4m3 without infinities: a sign bit above 0..448; 0x7F and 0xFF are NaN. Rounding as above.
uint8_t EncodeE4m3(float x);
float DecodeE4m3(uint8_t code);

// Groups of kNvfp4Group neighbouring numbers: two codes a byte, the even number in the low half, and an e4m3 scale
// each.
struct Nvfp4Numbers {
  std::vector<uint8_t> codes, scales;
};
// `numbers`: whole groups.
Nvfp4Numbers QuantizeNvfp4(std::span<const float> numbers);
std::vector<float> DequantizeNvfp4(const Nvfp4Numbers& numbers);

// Rows [rows][channels] less `mean` [channels], rounded along channels (the last group filled up with zeros).
std::vector<float> RoundNvfp4Rows(std::span<const float> rows, std::span<const float> mean);
// Rows [rows][channels] rounded along 16 neighbouring rows (the last group filled up with zeros).
std::vector<float> RoundNvfp4Columns(std::span<const float> rows, int channels);

struct Nvfp4ReferenceCall {
  Nvfp4Format format;  // `padded` does not count
  bool per_block_mean = true, smooth_k = true;
  std::span<const float> q, k, v;                           // [rows][channels]
  std::function<bool(int64_t query, int64_t key)> visible;  // null: all
  std::function<bool(int64_t key)> present;                 // counts in means and scales; null: all
};

struct Nvfp4ReferenceResult {
  std::vector<double> out;  // [queries][channels]
  std::vector<double> lse;  // [queries], natural log; -inf and out = 0 where no key was seen
};

Nvfp4ReferenceResult RunNvfp4Reference(const Nvfp4ReferenceCall& call);

}  // namespace tessera
