// Attention with 8-bit integer scores over packed panels (SageAttention 1, 2 and 2++; arXiv 2410.02367, 2411.10958,
// 2505.21136; AITER's fav3_sage): keys lose their mean, queries and keys become whole numbers up to 127, values follow
// one of six recipes.
#pragma once
#include <cstddef>
#include <cstdint>

#include "kernels/attention/flash.h"

namespace tessera {

// Which queries of a block, and which keys of a panel, share a scale. i and j count within the block and the panel.
//               queries              keys
// kPerRow       i                    all 64
// kPerThread    (i / 32, i % 8)      j % 8 / 2
// kPerWarp      i / 32               all 64
// kPerBlock     all 64, and those of neighbouring blocks when their largest magnitude is given
enum class SageGranularity { kPerRow, kPerThread, kPerWarp, kPerBlock };

// How a row x becomes codes, where m is the largest magnitude that shares its scale.
// kEven        x * (127 / m), to nearest even; m is at least kSageLeastMagnitude
// kAway        x / (m / 127), halves away from zero; queries are multiplied by scale_log2 first, which their scales
//              then include; where m / 127 is below the normal numbers, codes are 0 and the scale is 1
enum class SageRounding { kEven, kAway };

// How probabilities P and values V are held, and what their products are added up in.
// kInt8        P in 0..255 of the largest of its group of panels, V in -127..127 per channel; exact whole numbers
// kFp16        both as f32, which holds what 16-bit formats do
// kFp8         both rounded to e4m3, P up to 448, V up to 448 per channel; f32
// kFp8Plus     as kFp8 with V up to 2.25; f16 over the 64 keys of a panel
// kFp8Unit     as kFp8 with P up to 1
// kFp8UnitFnuz as kFp8Unit in e4m3fnuz, whose largest number is 240
enum class SageValues { kInt8, kFp16, kFp8, kFp8Plus, kFp8Unit, kFp8UnitFnuz };

constexpr int kSageGroupPanels = 4;  // of kInt8 and kFp16: panels whose keys are scored before their values are added
constexpr int kSageUnitPanels = 2;   // of kFp8Unit and kFp8UnitFnuz
constexpr int kSageKeyScales = 4;    // of a panel; key j has scale j % 8 / 2
constexpr int kSageMostChannels = 256;
constexpr int kSageLevels = 127;
constexpr float kSageLeastMagnitude = 1e-7f;  // smaller ones share its scale
constexpr float kSageInt8Levels = 255.0f;     // of probabilities
constexpr float kSageLog2Int8 = 7.9943534f;   // log2(255)
constexpr float kSageLog2Fp8 = 8.807f;        // about log2(448), as in the published kernels
constexpr float kSageMostFp8 = 448.0f;
constexpr float kSageMostFnuz = 240.0f;
constexpr float kSageMostFp8Plus = 2.25f;  // 64 keys * 448 * 2.25 stay below f16's 65504
constexpr int kSageHalfKeys = 32;          // keys added in f32 before the sum is rounded to f16

struct SageFormat {
  FlashFormat rows;
  int stride = 0;  // channels of the float rows below: `padded` rounded up to 16
  SageGranularity granularity = SageGranularity::kPerRow;
  SageValues values = SageValues::kInt8;
  SageRounding rounding = SageRounding::kEven;
};

// Of one panel, from its visible keys: 64-byte aligned rows of `stride` floats. The count stands in every channel.
enum SageSurveyRow { kSageKeySum, kSageValueSum, kSageValueLeast, kSageValueMost, kSageKeyCount, kSageSurveyRows };

// Of one kv head, each [stride] and 64-byte aligned; channels past the true ones are 0.
struct SageHead {
  const float* key_mean = nullptr;       // taken out of every key
  const float* value_mean = nullptr;     // taken out of every value, added to the result
  const float* value_inverse = nullptr;  // what values are multiplied by before they are rounded
  const float* value_scale = nullptr;    // what results are multiplied by
  const float* key_magnitude = nullptr;  // of all keys that share a panel's one scale; null: those of the panel
};

// State of a block of queries, every array 64-byte aligned. Queries are the fast index everywhere.
struct SageBlock {
  FlashBlock flash;                  // queries are codes; probabilities [keys of a group][64] in the recipe's words
  const float* magnitude = nullptr;  // of all queries that share the block's one scale; null: those of the block
  float* query_scale = nullptr;      // [64], with softmax scale * log2(e)
  float* mean_score = nullptr;       // [64]: log2 units of score that taking out the keys' mean has taken away
  float* scores = nullptr;           // [kSageGroupPanels * 64][64]: sums of products of codes
};

// One instruction set's implementation. A panel of keys is 64 * padded codes, int32 starts[64], float scales[4].
struct SageKernel {
  int channel_step;
  int code_bytes;  // of a code in memory, keys' and kInt8 values'; the other values take 4 bytes
  void (*survey)(const SageFormat& format, const FlashRows& keys, const FlashRows& values, float* survey);
  // The largest magnitude of a row less `mean`; a null mean is zero. NaN counts as larger than every number.
  float (*magnitude)(const SageFormat& format, const FlashRows& rows, const float* mean);
  void (*pack_keys)(const SageFormat& format, const FlashRows& rows, const SageHead& head, void* panel);
  void (*pack_values)(const SageFormat& format, const FlashRows& rows, const SageHead& head, void* panel);
  void (*pack_queries)(const SageFormat& format, const FlashRows& rows, const SageHead& head, SageBlock* block);
  // Adds what the visits contribute; may be called repeatedly.
  void (*attend)(const SageFormat& format, const FlashVisit* visits, int count, SageBlock* block);
  // Writes count rows; queries that saw no key give zeros. Uses up the block's output.
  void (*finish)(const SageFormat& format, const SageHead& head, SageBlock* block, void* const* rows);
};

constexpr size_t kSageKeyTailBytes = kFlashBlock * sizeof(int32_t) + kSageKeyScales * sizeof(float);

// Each is linked in every build and may be called only where its instructions exist. The three without integer dot
// products hold codes in f32, whose sums of such products are exact too.
const SageKernel& SageScalar() noexcept;
const SageKernel& SageAvx2() noexcept;
const SageKernel& SageAvx512() noexcept;
const SageKernel& SageAvx512Vnni() noexcept;

}  // namespace tessera
