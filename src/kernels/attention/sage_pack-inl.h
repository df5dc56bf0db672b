// Surveys and packing of SageAttention's queries, keys and values, the way back of its output, and its exported table.
#pragma once
#include <string.h>

#include "kernels/attention/flash_pack-inl.h"
#include "kernels/attention/sage_attend-inl.h"

namespace tessera {
namespace {

template <class C>
struct SagePacking {
  using Lanes = typename C::Lanes;
  using Vector = typename Lanes::Vector;
  using Rows = FlashPacking<F32Operands<Lanes>>;
  static constexpr int kWidth = Lanes::kWidth;
  static constexpr int kRows = Lanes::kTileRows;

  template <class Element>
  static void Survey(const SageFormat& format, const FlashRows& keys, const FlashRows& values, float* survey) {
    const int stride = format.stride;
    for (int channel = 0; channel < stride; channel += kWidth) {
      Vector key_sum = Lanes::Zero(), value_sum = Lanes::Zero(), count = Lanes::Zero();
      Vector least = Lanes::Set(INFINITY), most = Lanes::Set(-INFINITY);
      for (int j = 0; j < kFlashBlock; ++j) {
        if (keys.row[j] == nullptr) continue;
        const Vector value = Rows::template RowWords<Element>(format.rows, values.row[j], channel);
        key_sum = Lanes::Add(key_sum, Rows::template RowWords<Element>(format.rows, keys.row[j], channel));
        value_sum = Lanes::Add(value_sum, value);
        least = Lanes::Min(least, value);
        most = Lanes::Max(most, value);
        count = Lanes::Add(count, Lanes::Set(1));
      }
      Lanes::Store(survey + kSageKeySum * stride + channel, key_sum);
      Lanes::Store(survey + kSageValueSum * stride + channel, value_sum);
      Lanes::Store(survey + kSageValueLeast * stride + channel, least);
      Lanes::Store(survey + kSageValueMost * stride + channel, most);
      Lanes::Store(survey + kSageKeyCount * stride + channel, count);
    }
  }

  // kWidth channels of a row less their mean; zero without a row.
  template <class Element>
  static Vector Centred(const SageFormat& format, const void* row, const float* mean, int channel) {
    if (row == nullptr) return Lanes::Zero();
    const Vector x = Rows::template RowWords<Element>(format.rows, row, channel);
    return channel < format.stride ? Lanes::Sub(x, Lanes::Load(mean + channel)) : x;
  }

  static float Larger(float most, float magnitude) {
    uint32_t a, b;
    memcpy(&a, &most, sizeof a);
    memcpy(&b, &magnitude, sizeof b);
    return b > a ? magnitude : most;  // of numbers without a sign: NaN is the largest
  }

  template <class Element>
  static float LargestMagnitude(const SageFormat& format, const void* row, const float* mean) {
    Vector most = Lanes::Zero();
    for (int channel = 0; channel < format.stride; channel += kWidth) {
      most = Lanes::MaxMagnitude(most, Centred<Element>(format, row, mean, channel));
    }
    alignas(64) float magnitudes[kWidth];
    Lanes::Store(magnitudes, most);
    float largest = 0;
    for (int i = 0; i < kWidth; ++i) largest = Larger(largest, magnitudes[i]);
    return largest;
  }

  alignas(64) static constexpr float kNoMean[kSageMostChannels] = {};

  template <class Element>
  static float Magnitude(const SageFormat& format, const FlashRows& rows, const float* mean) {
    float most = 0;
    for (int j = 0; j < kFlashBlock; ++j) {
      most = Larger(most, LargestMagnitude<Element>(format, rows.row[j], mean == nullptr ? kNoMean : mean));
    }
    return most;
  }

  // How rows that share a scale become whole numbers.
  struct Coder {
    float fold = 1;     // of kAway: what rows are multiplied by first
    float inverse = 0;  // of kEven
    float scale = 1;    // what a code of 1 stands for
  };
  static Coder CoderFor(const SageFormat& format, float magnitude, float fold) {
    if (format.rounding == SageRounding::kEven) {
      const float most = Larger(kSageLeastMagnitude, magnitude);
      return {1, kSageLevels / most, most / kSageLevels};
    }
    constexpr float kLeastNormal = 0x1p-126f;
    const float scale = magnitude * fold / kSageLevels;
    return {fold, 0, scale < kLeastNormal ? 1 : scale};  // so small that all codes are 0
  }
  // What queries are multiplied by before they become codes.
  static float QueryFold(const SageFormat& format) {
    return format.rounding == SageRounding::kAway ? format.rows.scale_log2 : 1;
  }
  static Vector CodesOf(const SageFormat& format, const Coder& coder, Vector x) {
    if (format.rounding == SageRounding::kEven) return Lanes::RoundEven(Lanes::Mul(x, Lanes::Set(coder.inverse)));
    return RoundAway<Lanes>(Lanes::Div(Lanes::Mul(x, Lanes::Set(coder.fold)), Lanes::Set(coder.scale)));
  }

  static constexpr int kScales = kFlashBlock;  // at most
  // most[i]: the largest magnitude of the rows whose scale is i.
  template <class Element>
  static void LargestMagnitudes(const SageFormat& format, const FlashRows& rows, const float* mean,
                                int (*scale_of)(SageGranularity, int), float* most) {
    for (int i = 0; i < kScales; ++i) most[i] = 0;
    for (int j = 0; j < kFlashBlock; ++j) {
      float* of_row = most + scale_of(format.granularity, j);
      *of_row = Larger(*of_row, LargestMagnitude<Element>(format, rows.row[j], mean));
    }
  }

  static int KeyScale(SageGranularity granularity, int key) {
    return granularity == SageGranularity::kPerThread ? key % 8 / 2 : 0;
  }
  static int QueryScale(SageGranularity granularity, int query) {
    switch (granularity) {
      case SageGranularity::kPerRow:
        return query;
      case SageGranularity::kPerThread:
        return query / 32 * 8 + query % 8;
      case SageGranularity::kPerWarp:
        return query / 32;
      case SageGranularity::kPerBlock:
        return 0;
    }
    return 0;
  }

  // kPair vectors of codes from word `word` of a row on.
  template <class Element>
  static void RowCodes(const SageFormat& format, const void* row, const float* mean, const Coder& coder, int word,
                       Vector (&codes)[C::kPair]) {
    for (int p = 0; p < C::kPair; ++p) {
      codes[p] = CodesOf(format, coder, Centred<Element>(format, row, mean, word * C::kPair + p * kWidth));
    }
  }

  template <class Element>
  static void PackKeys(const SageFormat& format, const FlashRows& rows, const SageHead& head, void* panel) {
    float most[kScales];
    if (head.key_magnitude != nullptr) {
      for (int i = 0; i < kScales; ++i) most[i] = *head.key_magnitude;
    } else {
      LargestMagnitudes<Element>(format, rows, head.key_mean, KeyScale, most);
    }
    const int words = format.rows.padded / C::kPair;
    float* const tiles = static_cast<float*>(panel);
    auto* const starts = reinterpret_cast<int32_t*>(tiles + kFlashBlock * words);
    memset(starts, 0, kFlashBlock * sizeof *starts);
    for (int key = 0; key < kFlashBlock; key += kWidth) {
      for (int word = 0; word < words; word += kWidth) {
        Vector columns[kWidth];
        for (int i = 0; i < kWidth; ++i) {
          const Coder coder = CoderFor(format, most[KeyScale(format.granularity, key + i)], 1);
          Vector codes[C::kPair];
          RowCodes<Element>(format, rows.row[key + i], head.key_mean, coder, word, codes);
          columns[i] = C::KeyWords(codes);
          starts[key + i] += C::StartOf(columns[i]);
        }
        Lanes::Transpose(columns);
        const int count = words - word < kWidth ? words - word : kWidth;
        for (int i = 0; i < count; ++i)
          Rows::StoreSlices(tiles + key * words + (word + i) * kRows, words * kRows, columns[i]);
      }
    }
    auto* const scales = reinterpret_cast<float*>(starts + kFlashBlock);
    for (int i = 0; i < kSageKeyScales; ++i) {
      scales[i] = CoderFor(format, most[KeyScale(format.granularity, 2 * i)], 1).scale;
    }
  }

  template <class Element>
  static void QueryCoders(const SageFormat& format, const FlashRows& rows, const SageBlock& block, Coder* coders) {
    float most[kScales];
    if (block.magnitude == nullptr) LargestMagnitudes<Element>(format, rows, kNoMean, QueryScale, most);
    for (int i = 0; i < kFlashBlock; ++i) {
      const float magnitude = block.magnitude == nullptr ? most[QueryScale(format.granularity, i)] : *block.magnitude;
      coders[i] = CoderFor(format, magnitude, QueryFold(format));
    }
  }

  template <class Element>
  static void PackQueries(const SageFormat& format, const FlashRows& rows, const SageHead& head, SageBlock* block) {
    Coder coders[kFlashBlock];
    QueryCoders<Element>(format, rows, *block, coders);
    const int words = format.rows.padded / C::kPair;
    for (int lane = 0; lane < block->flash.count; lane += kWidth) {
      float* to = static_cast<float*>(block->flash.queries) + lane;
      for (int word = 0; word < words; word += kWidth) {
        Vector columns[kWidth];
        for (int i = 0; i < kWidth; ++i) {
          Vector codes[C::kPair];
          RowCodes<Element>(format, rows.row[lane + i], kNoMean, coders[lane + i], word, codes);
          columns[i] = C::QueryWords(codes);
        }
        Lanes::Transpose(columns);
        const int count = words - word < kWidth ? words - word : kWidth;
        for (int i = 0; i < count; ++i) Lanes::Store(to + (word + i) * kFlashBlock, columns[i]);
      }
      Lanes::Store(block->flash.reference + lane, Lanes::Set(kNoReference));
      Lanes::Store(block->flash.sum + lane, Lanes::Zero());
    }
    for (int i = 0; i < kFlashBlock; ++i) {
      const bool folded = format.rounding == SageRounding::kAway;
      block->query_scale[i] = folded ? coders[i].scale : coders[i].scale * format.rows.scale_log2;
      block->mean_score[i] = format.rows.scale_log2 * MeanScore<Element>(format, rows.row[i], head.key_mean);
    }
    block->flash.started = false;
  }

  template <class Element>
  static float MeanScore(const SageFormat& format, const void* row, const float* mean) {
    Vector sum = Lanes::Zero();
    for (int channel = 0; channel < format.stride; channel += kWidth) {
      const Vector x = Rows::template RowWords<Element>(format.rows, row, channel);
      sum = Lanes::MulAdd(x, Lanes::Load(mean + channel), sum);
    }
    alignas(64) float sums[kWidth];
    Lanes::Store(sums, sum);
    float total = 0;
    for (int i = 0; i < kWidth; ++i) total += sums[i];
    return total;
  }

  template <class Element, class R>
  static void PackValues(const SageFormat& format, const FlashRows& rows, const SageHead& head, void* panel) {
    constexpr int kPair = R::Operands::kPair, kWordRows = kFlashBlock / kPair;
    for (int channel = 0; channel < format.rows.padded; channel += kWidth) {
      const int left = (format.rows.padded - channel) / kRows;
      const int slices = left < Rows::kSlices ? left : Rows::kSlices;
      const Vector inverse = Lanes::Load(head.value_inverse + channel);
      float* to = static_cast<float*>(panel) + channel * kWordRows;
      for (int row = 0; row < kWordRows; ++row, to += kRows) {
        Vector codes[kPair];
        for (int p = 0; p < kPair; ++p) {
          const Vector x = Centred<Element>(format, rows.row[row * kPair + p], head.value_mean, channel);
          codes[p] = R::RoundValue(Lanes::Mul(x, inverse));
        }
        const Vector words = R::Operands::ValueWords(codes);
        for (int slice = 0; slice < slices; ++slice) Rows::StoreSlice(to + slice * kWordRows * kRows, words, slice);
      }
    }
  }

  // Output times scale plus the sum of weights times the mean, so that dividing by the sum comes last.
  static void Rescale(const SageFormat& format, const SageHead& head, SageBlock* block) {
    if (!block->flash.started) return;
    for (int channel = 0; channel < format.rows.channels; ++channel) {
      const Vector scale = Lanes::Set(head.value_scale[channel]), mean = Lanes::Set(head.value_mean[channel]);
      for (int lane = 0; lane < block->flash.count; lane += kWidth) {
        float* output = block->flash.output + channel * kFlashBlock + lane;
        const Vector shift = Lanes::Mul(mean, Lanes::Load(block->flash.sum + lane));
        Lanes::Store(output, Lanes::MulAdd(Lanes::Load(output), scale, shift));
      }
    }
  }
};

// The exported table.
template <class C>
struct SageTable {
  using Packing = SagePacking<C>;
  using Lanes = typename C::Lanes;

  static void Survey(const SageFormat& format, const FlashRows& keys, const FlashRows& values, float* survey) {
    ForElement(format.rows, [&](auto x) { Packing::template Survey<decltype(x)>(format, keys, values, survey); });
  }
  static float Magnitude(const SageFormat& format, const FlashRows& rows, const float* mean) {
    float most = 0;
    ForElement(format.rows, [&](auto x) { most = Packing::template Magnitude<decltype(x)>(format, rows, mean); });
    return most;
  }
  static void PackKeys(const SageFormat& format, const FlashRows& rows, const SageHead& head, void* panel) {
    ForElement(format.rows, [&](auto x) { Packing::template PackKeys<decltype(x)>(format, rows, head, panel); });
  }
  static void PackQueries(const SageFormat& format, const FlashRows& rows, const SageHead& head, SageBlock* block) {
    ForElement(format.rows, [&](auto x) { Packing::template PackQueries<decltype(x)>(format, rows, head, block); });
  }

  template <class R>
  static void PackValuesAs(const SageFormat& format, const FlashRows& rows, const SageHead& head, void* panel) {
    ForElement(format.rows, [&](auto x) { Packing::template PackValues<decltype(x), R>(format, rows, head, panel); });
  }
  static void PackValues(const SageFormat& format, const FlashRows& rows, const SageHead& head, void* panel) {
    switch (format.values) {
      case SageValues::kInt8:
        return PackValuesAs<Int8Recipe<C>>(format, rows, head, panel);
      case SageValues::kFp16:
        return PackValuesAs<Fp16Recipe<Lanes>>(format, rows, head, panel);
      case SageValues::kFp8:
      case SageValues::kFp8Plus:
        return PackValuesAs<Fp8Recipe<Lanes>>(format, rows, head, panel);
      case SageValues::kFp8Unit:
        return PackValuesAs<Fp8UnitRecipe<Lanes>>(format, rows, head, panel);
      case SageValues::kFp8UnitFnuz:
        return PackValuesAs<Fp8UnitFnuzRecipe<Lanes>>(format, rows, head, panel);
    }
  }

  static void Attend(const SageFormat& format, const FlashVisit* visits, int count, SageBlock* block) {
    const bool one_scale = format.granularity != SageGranularity::kPerThread;
    switch (format.values) {
      case SageValues::kInt8:
        return one_scale ? Sage<C, Int8Recipe<C>, 1>::Attend(format, visits, count, block)
                         : Sage<C, Int8Recipe<C>, kSageKeyScales>::Attend(format, visits, count, block);
      case SageValues::kFp16:
        return Sage<C, Fp16Recipe<Lanes>, kSageKeyScales>::Attend(format, visits, count, block);
      case SageValues::kFp8:
        return Sage<C, Fp8Recipe<Lanes>, kSageKeyScales>::Attend(format, visits, count, block);
      case SageValues::kFp8Plus:
        return Sage<C, Fp8PlusRecipe<Lanes>, kSageKeyScales>::Attend(format, visits, count, block);
      case SageValues::kFp8Unit:
        return Sage<C, Fp8UnitRecipe<Lanes>, kSageKeyScales>::Attend(format, visits, count, block);
      case SageValues::kFp8UnitFnuz:
        return Sage<C, Fp8UnitFnuzRecipe<Lanes>, kSageKeyScales>::Attend(format, visits, count, block);
    }
  }

  static void Finish(const SageFormat& format, const SageHead& head, SageBlock* block, void* const* rows) {
    Packing::Rescale(format, head, block);
    ForElement(format.rows,
               [&](auto x) { Packing::Rows::template Finish<decltype(x)>(format.rows, block->flash, rows); });
  }

  static constexpr SageKernel kTable{
      Lanes::kTileRows, sizeof(float) / C::kPair, Survey, Magnitude, PackKeys, PackValues, PackQueries, Attend, Finish};
};

}  // namespace
}  // namespace tessera
