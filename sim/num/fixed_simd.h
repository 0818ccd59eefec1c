// What the kernels of arithmetic `fixed` need beside simd.h: products of 16-bit integers, lanes
// moved within four, integers of binary32 bits.
#pragma once

#include "sim/num/simd.h"

// On functions that multiply with VNNI instructions, which x86-64-v4 does not promise.
#if defined(__AVX512F__)
#define KVX_VNNI __attribute__((target("avx512vnni")))
#else
#define KVX_VNNI
#endif

namespace kvx::num::KVX_ISA {

#if defined(__AVX512F__)

inline U32 bits_of(F32 a) { return {_mm512_castps_si512(a.v)}; }
inline F32 magnitude(F32 a) { return {_mm512_abs_ps(a.v)}; }
inline U32 load_words(const void* p) { return {_mm512_loadu_si512(p)}; }
inline void store_words(void* p, U32 a) { _mm512_storeu_si512(p, a.v); }
// 2 * kLanes bytes as 16-bit integers.
inline U32 widen_bytes(const uint8_t* p) {
  return {_mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
}
// acc + a0 * b0 + a1 * b1 of the signed 16-bit halves of each lane, modulo 2^32.
KVX_VNNI inline U32 dot_pairs(U32 acc, U32 a, U32 b) {
  return {_mm512_dpwssd_epi32(acc.v, a.v, b.v)};
}
inline __m256i halves_added(U32 a) {
  return _mm256_add_epi32(_mm512_castsi512_si256(a.v), _mm512_extracti64x4_epi64(a.v, 1));
}
// Lane 4i + k gets lane 4i + k - 1.
inline F32 lane_before(F32 a) { return {_mm512_permute_ps(a.v, 0x90)}; }
// Lanes 3, 7, 11, ...
inline F32::Mask last_of_four() { return 0x8888; }
// The low 16 bits of each lane.
inline void store_low_halves(uint16_t* p, U32 a) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(a.v));
}
// Bytes j of a and b as the 16-bit halves of lane j; 16 bytes each.
inline void store_byte_pairs(uint32_t* p, __m128i a, __m128i b) {
  const __m256i low = _mm256_castsi128_si256(_mm_unpacklo_epi8(a, b));
  _mm512_storeu_si512(
      p, _mm512_cvtepu8_epi16(_mm256_inserti128_si256(low, _mm_unpackhi_epi8(a, b), 1)));
}

#else

inline U32 bits_of(F32 a) { return {_mm256_castps_si256(a.v)}; }
inline F32 magnitude(F32 a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
inline U32 load_words(const void* p) {
  return {_mm256_loadu_si256(static_cast<const __m256i*>(p))};
}
inline void store_words(void* p, U32 a) { _mm256_storeu_si256(static_cast<__m256i*>(p), a.v); }
inline U32 widen_bytes(const uint8_t* p) {
  return {_mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
}
inline U32 dot_pairs(U32 acc, U32 a, U32 b) {
  return {_mm256_add_epi32(acc.v, _mm256_madd_epi16(a.v, b.v))};
}
inline __m256i halves_added(U32 a) { return a.v; }
inline F32 lane_before(F32 a) { return {_mm256_permute_ps(a.v, 0x90)}; }
inline F32::Mask last_of_four() {
  return _mm256_castsi256_ps(_mm256_setr_epi32(0, 0, 0, -1, 0, 0, 0, -1));
}
inline void store_low_halves(uint16_t* p, U32 a) {
  const __m256i low = _mm256_and_si256(a.v, _mm256_set1_epi32(0xffff));
  const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(low, low), 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
}
inline void store_byte_pairs(uint32_t* p, __m128i a, __m128i b) {
  const auto out = reinterpret_cast<__m256i*>(p);
  _mm256_storeu_si256(out, _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(a, b)));
  _mm256_storeu_si256(out + 1, _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(a, b)));
}

#endif

// The sums of the lanes of eight vectors, modulo 2^32.
inline void store_sums(int32_t* p, const U32 (&a)[8]) {
  __m256i four[2];
  for (int i = 0; i < 2; ++i) {
    const __m256i x = _mm256_hadd_epi32(halves_added(a[4 * i]), halves_added(a[4 * i + 1]));
    const __m256i y = _mm256_hadd_epi32(halves_added(a[4 * i + 2]), halves_added(a[4 * i + 3]));
    four[i] = _mm256_hadd_epi32(x, y);
  }
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                      _mm256_add_epi32(_mm256_permute2x128_si256(four[0], four[1], 0x20),
                                       _mm256_permute2x128_si256(four[0], four[1], 0x31)));
}

inline uint32_t sum_lanes(U32 a) {
  uint32_t lanes[F32::kLanes], sum = 0;
  store_words(lanes, a);
  for (int i = 0; i < F32::kLanes; ++i) sum += lanes[i];
  return sum;
}

}  // namespace kvx::num::KVX_ISA
