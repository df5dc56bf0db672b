// f32 operands: one element per 32-bit word, 16-bit inputs widened while packing.
#pragma once
#include <stdint.h>

#include "kernels/attention/flash.h"

namespace tessera {
namespace {

template <class LanesType>
struct F32Operands {
  using Lanes = LanesType;
  using Vector = typename Lanes::Vector;
  using Word = float;
  using Operand = Vector;
  static constexpr int kPair = 1;  // elements of a word
  static constexpr float kExp2[] = {1.0f,           0x1.62e42ap-1f, 0x1.ebf9bcp-3f,
                                    0x1.c6b752p-5f, 0x1.3cea88p-7f, 0x1.5bba14p-10f};

  static Operand LoadOperand(const Word* from) { return Lanes::Load(from); }
  static Operand Broadcast(const Word* from) { return Lanes::Set(*from); }
  static Vector Dot(Vector sum, Operand a, Operand b) { return Lanes::MulAdd(a, b, sum); }

  // kPair rows of probabilities of one vector of queries.
  static void StoreProbabilities(Word* to, const Vector* rows) { Lanes::Store(to, rows[0]); }
  static void ScaleProbabilities(Word* row, Vector factor) { Lanes::Store(row, Lanes::Mul(factor, Lanes::Load(row))); }

  // Words of kWidth channels of one key or query.
  static Vector WordsOf(const float* row) { return Lanes::Widen(row); }
  static Vector WordsOf(const BFloat16* row) { return Lanes::WidenBf16(reinterpret_cast<const uint16_t*>(row)); }
  static Vector WordsOf(const Float16* row) { return Lanes::WidenF16(reinterpret_cast<const uint16_t*>(row)); }
  // Words that pair the same channel of kPair neighbouring keys.
  template <class Element>
  static Vector WordsAcross(const Element* const* rows) {
    return WordsOf(rows[0]);
  }
};

}  // namespace
}  // namespace tessera
