// The inner loops of exact attention on one tile of queries and keys, one table per instruction set.
// Queries lie in the lanes: scores, probabilities and outputs are [rows][kExactLanes], queries are
// [head_dim][kExactLanes].
#pragma once
#include <stdint.h>

namespace tessera {

constexpr int kExactLanes = 64;  // queries of one tile
constexpr int kExactRows = 4;    // key and channel counts are padded to a multiple of this

// Rows of keys or values: row r starts at rows + r * stride.
struct ExactPanel {
  const float* rows;
  int64_t stride;
  int64_t count;     // of keys, a multiple of kExactRows
  int64_t head_dim;  // a multiple of kExactRows; channels beyond the true ones are 0
};

// Statistics of the queries of a tile, updated from key tile to key tile.
struct ExactSoftmax {
  float* maximum;  // [kExactLanes], of the scores so far; -inf: no key yet
  float* sum;      // [kExactLanes], of exp(score - maximum)
  float* rescale;  // [kExactLanes], what earlier sums and outputs are to be multiplied with after this tile
};

// `lanes` <= kExactLanes: lanes beyond it need not be computed.
struct ExactTileKernels {
  // Rows of 16-bit or 32-bit floats as f32.
  void (*widen_f32)(const void* from, float* to, int64_t count);
  void (*widen_bf16)(const void* from, float* to, int64_t count);
  void (*widen_f16)(const void* from, float* to, int64_t count);

  // scores[key][lane] = scale * <keys[key], queries[.][lane]>
  void (*scores)(const ExactPanel& keys, const float* queries, int lanes, float scale, float* scores);

  // Turns scores into exp(score - maximum), 0 where the score is -inf, and updates the statistics.
  // Returns 0 when every rescale factor is 1.
  int (*softmax)(float* scores, int64_t keys, int lanes, const ExactSoftmax& state);

  // out[channel][lane] = rescale[lane] * out[channel][lane] + sum over keys of values[key][channel] *
  // weights[key][lane]; rescale may be null for 1.
  void (*accumulate)(const ExactPanel& values, const float* weights, int lanes, const float* rescale, float* out);

  // 0 when one of `count` floats is an infinity or NaN.
  int (*all_finite)(const float* values, int64_t count);
};

const ExactTileKernels& ExactTileScalar() noexcept;
const ExactTileKernels& ExactTileAvx2() noexcept;
const ExactTileKernels& ExactTileAvx512() noexcept;

}  // namespace tessera
