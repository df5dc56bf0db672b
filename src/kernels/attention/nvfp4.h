// Attention in 4-bit floats with micro-scales over packed panels (SageAttention 3, arXiv 2505.11594, on NVFP4):
// queries, keys, values and probabilities become e2m1 numbers (0, 0.5, 1, 1.5, 2, 3, 4, 6) times an e4m3 scale per 16
// of them.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/attention/flash.h"

namespace tessera {

constexpr int kNvfp4Group = 16;         // numbers that share a scale: channels of queries and keys, keys of the rest
constexpr int kNvfp4GroupPanels = 2;    // whose keys are scored before the row's largest score moves: 128 keys
constexpr int kNvfp4MeanQueries = 128;  // that share a mean
constexpr int kNvfp4MostChannels = 256;
constexpr float kNvfp4MostCode = 6.0f;       // of e2m1
constexpr float kNvfp4MostScale = 448.0f;    // of e4m3
constexpr float kNvfp4Log2Top = 11.392317f;  // log2(6 * 448): what the largest probability stretches to

struct Nvfp4Format {
  FlashFormat rows;             // `padded` is a multiple of kNvfp4Group
  bool sum_quantized = false;   // probabilities add up to what is multiplied by values, not to what was rounded
  bool divide_rounded = false;  // probabilities are divided by the scale as stored, not as computed
};

// State of a block of queries, every array 64-byte aligned. Queries are the fast index but in the rows marked so.
struct Nvfp4Block {
  FlashBlock flash;              // queries and probabilities as what their codes stand for
  float* query_mean = nullptr;   // a row of [padded]: taken out of every query
  float* mean_score = nullptr;   // [64]: log2 units of score that taking out the keys' mean has taken away
  float* mean_scores = nullptr;  // a row of [kNvfp4GroupPanels * 64]: the queries' mean times every key
  float* scores = nullptr;       // [kNvfp4GroupPanels * 64][64], before the softmax scale
};

// One instruction set's implementation. A panel of keys is 64 * padded elements, then the keys less their mean before
// rounding, f32 [padded][64]. A panel of values is 64 * padded elements.
struct Nvfp4Kernel {
  FlashArithmetic arithmetic;
  int element_bytes;
  // Adds rows to `sums`, [padded]; returns how many there are.
  int (*add_rows)(const Nvfp4Format& format, const FlashRows& rows, float* sums);
  // `key_mean` is [padded] and zero past the true channels.
  void (*pack_keys)(const Nvfp4Format& format, const FlashRows& rows, const float* key_mean, void* panel);
  void (*pack_values)(const Nvfp4Format& format, const FlashRows& rows, void* panel);
  // block->query_mean is given.
  void (*pack_queries)(const Nvfp4Format& format, const FlashRows& rows, const float* key_mean, Nvfp4Block* block);
  // Adds what the visits contribute; may be called repeatedly.
  void (*attend)(const Nvfp4Format& format, const FlashVisit* visits, int count, Nvfp4Block* block);
  // Writes count rows; queries that saw no key give zeros.
  void (*finish)(const Nvfp4Format& format, const Nvfp4Block& block, void* const* rows);
};

// Each is linked in every build and may be called only where its instructions exist. An e2m1 number times an e4m3 scale
// is exact in f32 and in bf16, so all compute the products of 4-bit hardware up to the order of sums.
const Nvfp4Kernel& Nvfp4Scalar() noexcept;
const Nvfp4Kernel& Nvfp4Avx2() noexcept;
const Nvfp4Kernel& Nvfp4Avx512() noexcept;
const Nvfp4Kernel& Nvfp4Avx512Bf16() noexcept;  // FlashArithmetic::kBf16Dot

}  // namespace tessera
