// Flash attention over packed panels: a block of up to 64 queries walks a list of 64-key panels with an online softmax.
#pragma once
#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace tessera {

constexpr int kFlashBlock = 64;       // queries of a block, keys of a panel
constexpr int kFlashGroupRows = 128;  // of probabilities: keys or key pairs scored before their values are added
constexpr uint64_t kAllLanes = ~uint64_t{0};
constexpr int32_t kNoDiagonal = kFlashBlock;

// kF32 widens 16-bit operands while packing; kBf16Dot multiplies bf16 pairs and rounds probabilities to bf16.
enum class FlashArithmetic { kF32, kBf16Dot };

struct FlashFormat {
  DType dtype = DType::kF32;  // of rows in memory: f32, bf16 or f16
  int channels = 0;           // of a row
  int padded = 0;             // channels rounded up to the kernel's channel_step; the rest is zero in packed panels
  float scale_log2 = 0;       // softmax scale * log2(e), greater than 0
};

// Rows of `channels` elements each. A null row packs as zeros.
struct FlashRows {
  const void* row[kFlashBlock] = {};
};

// One panel as a block of queries sees it. Query i sees key j iff bit j of `keys`, bit i of `queries` and j <= i +
// diagonal.
struct FlashVisit {
  const void* key_panel = nullptr;
  const void* value_panel = nullptr;
  uint64_t keys = kAllLanes;
  uint64_t queries = kAllLanes;
  int32_t diagonal = kNoDiagonal;
};

// State of a block of queries, every array 64-byte aligned. Queries are the fast index everywhere.
struct FlashBlock {
  int count = 0;                  // queries, 1..64
  bool started = false;           // `output` has been written since the queries were packed
  void* queries = nullptr;        // [padded][64] f32, or [padded / 2][64] bf16 pairs
  void* probabilities = nullptr;  // [kFlashGroupRows][64] f32 or bf16 pairs of keys
  float* output = nullptr;        // [padded][64], not yet divided by `sum`
  float* reference = nullptr;     // [64]: log2 of the factor taken out of sum and output
  float* sum = nullptr;           // [64]: 0 when no key was seen
};

// One instruction set's implementation. Panels hold kFlashBlock * padded elements of `element_bytes`.
struct FlashKernel {
  FlashArithmetic arithmetic;
  int channel_step;
  int element_bytes;
  void (*pack_keys)(const FlashFormat& format, const FlashRows& rows, void* panel);
  void (*pack_values)(const FlashFormat& format, const FlashRows& rows, void* panel);
  void (*pack_queries)(const FlashFormat& format, const FlashRows& rows, FlashBlock* block);
  // Adds what the visits contribute; may be called repeatedly. Keys hidden in a visit never contribute a score; their
  // values are not multiplied either unless a key of the same group of 8 is visible.
  void (*attend)(const FlashFormat& format, const FlashVisit* visits, int count, FlashBlock* block);
  // Writes block.count rows of `format.channels` elements, of format.dtype or f32 as it says; queries that saw no key
  // give zeros.
  void (*finish)(const FlashFormat& format, const FlashBlock& block, void* const* rows);
};

// Each is linked in every build and may be called only where its instructions exist.
const FlashKernel& FlashScalar() noexcept;
const FlashKernel& FlashAvx2() noexcept;
const FlashKernel& FlashAvx512() noexcept;
const FlashKernel& FlashAvx512Bf16() noexcept;  // FlashArithmetic::kBf16Dot

}  // namespace tessera
