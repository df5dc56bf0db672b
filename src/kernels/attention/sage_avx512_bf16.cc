#include "kernels/attention/flash_lanes_avx512-inl.h"
#include "kernels/attention/sage_pack-inl.h"

namespace tessera {
namespace {

// Four codes in a word: neighbouring channels in the first product, neighbouring keys in the second. The dot product
// wants lanes without a sign: probabilities have none, queries are stored 128 too large and sums start with that
// undone.
struct VnniCodes {
  using Lanes = Avx512Lanes;
  using Vector = __m512;
  using Word = uint32_t;
  using Operand = __m512i;
  using Sum = __m512i;
  static constexpr int kPair = 4;

  static Sum ZeroSum() { return _mm512_setzero_si512(); }
  static Sum Start(const int32_t* start) { return _mm512_set1_epi32(*start); }
  static Vector ToFloat(Sum sum) { return _mm512_cvtepi32_ps(sum); }
  static Operand LoadOperand(const Word* from) { return _mm512_load_si512(from); }
  static Operand Broadcast(const Word* from) { return _mm512_set1_epi32(static_cast<int>(*from)); }
  static Sum Dot(Sum sum, Operand a, Operand b) { return _mm512_dpbusd_epi32(sum, b, a); }

  static Vector KeyWords(const Vector* codes) {
    const __m256i low = _mm256_set_m128i(Bytes(codes[1]), Bytes(codes[0]));
    const __m256i high = _mm256_set_m128i(Bytes(codes[3]), Bytes(codes[2]));
    return _mm512_castsi512_ps(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
  }
  static Vector QueryWords(const Vector* codes) {
    const __m512i words = _mm512_castps_si512(KeyWords(codes));
    return _mm512_castsi512_ps(_mm512_xor_si512(words, _mm512_set1_epi8(-128)));
  }
  static Vector ValueWords(const Vector* codes) {
    const __m512i byte = _mm512_set1_epi32(0xFF);
    __m512i words = _mm512_slli_epi32(_mm512_cvtps_epi32(codes[3]), 24);
    for (int i = 0; i < 3; ++i) {
      const __m512i code = _mm512_and_si512(_mm512_cvtps_epi32(codes[i]), byte);
      words = _mm512_or_si512(words, _mm512_sllv_epi32(code, _mm512_set1_epi32(8 * i)));
    }
    return _mm512_castsi512_ps(words);
  }
  static int32_t StartOf(Vector words) {
    const __m512i ones = _mm512_set1_epi8(1);
    return -128 * _mm512_reduce_add_epi32(_mm512_dpbusd_epi32(ZeroSum(), ones, _mm512_castps_si512(words)));
  }

  static Sum StoreWeights(Word* to, const Vector* rows, Sum sum) {
    const __m512i first = _mm512_packus_epi32(_mm512_cvtps_epi32(rows[0]), _mm512_cvtps_epi32(rows[1]));
    const __m512i second = _mm512_packus_epi32(_mm512_cvtps_epi32(rows[2]), _mm512_cvtps_epi32(rows[3]));
    // Per 128 bits: four bytes of row 0, of row 1, .. become one byte of every row, for four queries.
    const __m512i order = _mm512_broadcast_i32x4(_mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    const __m512i words = _mm512_shuffle_epi8(_mm512_packus_epi16(first, second), order);
    _mm512_store_si512(to, words);
    return _mm512_dpbusd_epi32(sum, words, _mm512_set1_epi8(1));
  }

 private:
  static __m128i Bytes(Vector codes) { return _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(codes)); }
};

}  // namespace

const SageKernel& SageAvx512Vnni() noexcept { return SageTable<VnniCodes>::kTable; }
}  // namespace tessera
