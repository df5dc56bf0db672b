// The table of product kernels behind gemm.h: one per instruction set and arithmetic.
//
// Products run on 32-bit words: a word is one f32, or a pair of bf16 neighbours along the inner axis. Packed operands:
//   src     [panels of kSrcRows rows][words / 16][kSrcRows][16]   rows are broadcast word by word
//   weight  [panels of kOutputs outputs][words][kOutputs]          outputs lie in the lanes
// Words behind the inner axis and rows behind the last are zero.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace tessera {

constexpr int64_t kWordStep = 16;  // packed inner axes are whole multiples of this many words

enum class GemmElement : uint8_t { kF32, kBF16, kF16 };

struct GemmRows {
  const void* elements = nullptr;  // rows of `in` elements, contiguous
  GemmElement type = GemmElement::kF32;
  int64_t rows = 0, in = 0;
};

struct GemmTarget {
  void* elements = nullptr;
  int64_t stride = 0;  // elements between rows
  GemmElement type = GemmElement::kF32;
};

// rows x outputs sums over `words` words of the inner axis.
struct GemmBlock {
  const float* src = nullptr;     // first word of the first panel
  int64_t src_panel = 0;          // words between panels
  const float* weight = nullptr;  // panels of this stretch of words, one behind the other
  int64_t words = 0;
  int64_t rows = 0, outputs = 0;
  float* partial = nullptr;  // sums of the stretches so far, and where to leave them
  int64_t partial_stride = 0;
  bool first = false, last = false;  // of the stretches; the last one writes dst instead
  GemmTarget dst;
  const float* bias = nullptr;  // [outputs] or null
};

struct GemmKernels {
  int64_t src_rows;  // of a packed src panel
  int64_t outputs;   // of a packed weight panel
  int64_t elements_per_word;
  // Packs the panels [begin, end) of src into `packed` (the place of panel 0).
  void (*pack_src)(const GemmRows& src, float* packed, int64_t begin, int64_t end);
  // Packs words [first_word, first_word + words) of all rows of `weight`.
  void (*pack_weight)(const GemmRows& weight, int64_t first_word, int64_t words, float* packed);
  void (*multiply)(const GemmBlock& block);
};

// dst[row, output] for 1 to kFewRows rows of f32 src: the weights are read once and widened in registers.
constexpr int64_t kFewRows = 4;
struct FewRowsProduct {
  const float* src = nullptr;  // [rows, in]
  int64_t rows = 0;
  GemmRows weight;
  const float* bias = nullptr;
  GemmTarget dst;
};
using MultiplyFewRows = void (*)(const FewRowsProduct& product, int64_t first_output, int64_t end_output);

const GemmKernels& GemmKernelsScalar() noexcept;
const GemmKernels& GemmKernelsAvx2() noexcept;
const GemmKernels& GemmKernelsAvx512() noexcept;
const GemmKernels& GemmKernelsAvx512Bf16() noexcept;  // pairs of bf16: src and weight are bf16

MultiplyFewRows FewRowsScalar() noexcept;
MultiplyFewRows FewRowsAvx2() noexcept;
MultiplyFewRows FewRowsAvx512() noexcept;

// Those of the instruction set in use; products of f32 words.
const GemmKernels& ActiveGemmKernels() noexcept;
MultiplyFewRows ActiveFewRows() noexcept;

}  // namespace tessera
