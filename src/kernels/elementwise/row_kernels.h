// The table of row kernels behind elementwise.h: plain pointers and strides, one table per instruction set.
#pragma once
#include <stdint.h>

namespace tessera {

enum class Element : uint8_t { kF32, kBF16 };

// Rows of `channels` elements; row i begins at elements + i * stride elements.
struct SourceRows {
  const void* elements = nullptr;
  int64_t stride = 0;
  Element type = Element::kF32;
};
struct TargetRows {
  void* elements = nullptr;
  int64_t stride = 0;
  Element type = Element::kF32;
};

struct NormRows {
  SourceRows src;
  TargetRows dst;
  int64_t channels = 0;
  const float* scale = nullptr;  // RMSNorm: the weight
  const float* shift = nullptr;
  float eps = 0;
};

struct RotaryRows {
  TargetRows x;  // [rows, heads, head_dim], heads contiguous
  int64_t heads = 0, head_dim = 0;
  const float* weight = nullptr;               // null: no norm
  const float *cos = nullptr, *sin = nullptr;  // null: no rotation
  float eps = 0;
  bool half_split = false;
};
constexpr int64_t kMaxHeadDim = 1024;

struct BinaryRows {
  SourceRows a, b;
  TargetRows dst;
  int64_t channels = 0;
  const float* gate = nullptr;  // add: dst = a + gate * b (null: 1)
};

// One picture [pixels, channels] of a group norm.
struct GroupNormRows {
  SourceRows src;
  TargetRows dst;
  int64_t channels = 0;
  const float* pivot = nullptr;                                     // [channels], subtracted before summing
  const float *mean = nullptr, *scale = nullptr, *shift = nullptr;  // [channels]: dst = (src - mean) * scale + shift
  bool silu = false;
};

struct ChannelTotals {
  double *sums, *squares;  // [channels]
};

struct RowKernels {
  void (*layer_norm)(const NormRows& rows, int64_t begin, int64_t end);
  void (*rms_norm)(const NormRows& rows, int64_t begin, int64_t end);
  void (*qk_norm_rotary)(const RotaryRows& rows, int64_t begin, int64_t end);
  void (*add)(const BinaryRows& rows, int64_t begin, int64_t end);
  void (*silu)(const BinaryRows& rows, int64_t begin, int64_t end);           // of a
  void (*silu_multiply)(const BinaryRows& rows, int64_t begin, int64_t end);  // silu(a) * b
  void (*gelu)(const BinaryRows& rows, int64_t begin, int64_t end);           // of a, by tanh
  void (*gelu_multiply)(const BinaryRows& rows, int64_t begin, int64_t end);  // gelu(a) * b
  // Adds the sums and squares of (src - pivot) over pixels [begin, end) to the totals.
  void (*group_sums)(const GroupNormRows& rows, int64_t begin, int64_t end, ChannelTotals totals);
  void (*group_norm)(const GroupNormRows& rows, int64_t begin, int64_t end);
};

const RowKernels& RowKernelsScalar() noexcept;
const RowKernels& RowKernelsAvx2() noexcept;
const RowKernels& RowKernelsAvx512() noexcept;
const RowKernels& ActiveRowKernels() noexcept;  // that of ActiveIsa()

}  // namespace tessera
