// Vectors of binary32 and binary64 lanes, and no more than the kernels need. Only for files that
// are compiled once per instruction set (KVX_ISA is avx2 or avx512): everything here lives in a
// namespace of that name, so that no AVX-512 code can be linked into the rest. No function here
// rounds twice or reorders: one method, one IEEE operation per lane.
#pragma once

// gcc 12 takes the undefined operands inside its own AVX-512 intrinsics for mistakes (GCC bug
// 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>

#ifndef KVX_ISA
#error "simd.h is for files compiled once per instruction set"
#endif

namespace kvx::num::KVX_ISA {

// The greatest lane; none may be NaN.
inline float greatest_256(__m256 a) {
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_movehdup_ps(two)));
}

// a_j + a_(j+h) for h = 4, 2, 1; lane 0 of the last.
inline float add_halves_256(__m256 a) {
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

#if defined(__AVX512F__)

struct F32 {
  static constexpr int kLanes = 16;
  using Mask = __mmask16;
  __m512 v;

  static F32 zero() { return {_mm512_setzero_ps()}; }
  static F32 all(float x) { return {_mm512_set1_ps(x)}; }
  static F32 load(const float* p) { return {_mm512_loadu_ps(p)}; }
  static F32 load_first(const float* p, int n) {
    return {_mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << n) - 1u), p)};
  }
  static F32 load_f16(const uint16_t* p) {
    return {_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)))};
  }
  static F32 load_bf16(const uint16_t* p) {
    const __m512i wide =
        _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    return {_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16))};
  }
  void store(float* p) const { _mm512_storeu_ps(p, v); }
  void store_first(float* p, int n) const {
    _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), v);
  }
  friend F32 operator+(F32 a, F32 b) { return {_mm512_add_ps(a.v, b.v)}; }
  friend F32 operator-(F32 a, F32 b) { return {_mm512_sub_ps(a.v, b.v)}; }
  friend F32 operator*(F32 a, F32 b) { return {_mm512_mul_ps(a.v, b.v)}; }
  friend F32 operator/(F32 a, F32 b) { return {_mm512_div_ps(a.v, b.v)}; }
  friend F32 sqrt(F32 a) { return {_mm512_sqrt_ps(a.v)}; }
  // a*b + c, rounded once.
  friend F32 fma(F32 a, F32 b, F32 c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
  // x86 semantics: the second operand where either is NaN or both are zero.
  friend F32 max_x86(F32 a, F32 b) { return {_mm512_max_ps(a.v, b.v)}; }
  friend F32 min_x86(F32 a, F32 b) { return {_mm512_min_ps(a.v, b.v)}; }
  friend Mask is_nan(F32 a) { return _mm512_cmp_ps_mask(a.v, a.v, _CMP_UNORD_Q); }
  friend Mask less(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ); }
  friend Mask less_equal(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_LE_OQ); }
  // yes where the mask is set, else no.
  static F32 select(Mask mask, F32 yes, F32 no) {
    return {_mm512_mask_blend_ps(mask, no.v, yes.v)};
  }
  static bool any(Mask mask) { return mask != 0; }
  static Mask first(int n) { return static_cast<Mask>((1u << n) - 1u); }
  friend Mask equal(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ); }
  friend Mask either_nan(F32 a, F32 b) { return _mm512_cmp_ps_mask(a.v, b.v, _CMP_UNORD_Q); }
  static Mask either(Mask a, Mask b) { return static_cast<Mask>(a | b); }
  // One bit per lane, lane 0 lowest.
  static uint32_t lane_bits(Mask mask) { return mask; }
  // bits(a) + (bits(t) << 23) with wrap-around.
  static F32 add_exponent(F32 a, F32 t) {
    return {_mm512_castsi512_ps(_mm512_add_epi32(_mm512_castps_si512(a.v),
                                                 _mm512_slli_epi32(_mm512_castps_si512(t.v), 23)))};
  }
  // Sign bit flipped, of zeros and NaN too.
  F32 operator-() const {
    return {_mm512_castsi512_ps(
        _mm512_xor_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(INT32_MIN)))};
  }
  // Toward +infinity, exact.
  friend F32 ceil(F32 a) {
    return {_mm512_roundscale_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
  }
  friend float greatest_lane(F32 a) {
    return greatest_256(_mm256_max_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
  }
  // a_j + a_(j+h) for h = 8, 4, 2, 1 (ieee.md, 2.2); lane 0 of the last.
  friend float add_halves(F32 a) {
    return add_halves_256(
        _mm256_add_ps(_mm512_castps512_ps256(a.v), _mm512_extractf32x8_ps(a.v, 1)));
  }
};

// Lane c of r[i] and lane i of r[c] change places.
inline void transpose(F32 (&r)[16]) {
  __m512 pairs[16], quads[16];
  for (int i = 0; i < 16; i += 2) {
    pairs[i] = _mm512_unpacklo_ps(r[i].v, r[i + 1].v);
    pairs[i + 1] = _mm512_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int j = 0; j < 2; ++j) {
      const __m512d low = _mm512_castps_pd(pairs[i + j]), high = _mm512_castps_pd(pairs[i + j + 2]);
      quads[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
      quads[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
    }
  }
  for (int c = 0; c < 4; ++c) {
    const __m512 a = _mm512_shuffle_f32x4(quads[c], quads[c + 4], 0x88);
    const __m512 b = _mm512_shuffle_f32x4(quads[c + 8], quads[c + 12], 0x88);
    const __m512 d = _mm512_shuffle_f32x4(quads[c], quads[c + 4], 0xdd);
    const __m512 e = _mm512_shuffle_f32x4(quads[c + 8], quads[c + 12], 0xdd);
    r[c].v = _mm512_shuffle_f32x4(a, b, 0x88);
    r[c + 8].v = _mm512_shuffle_f32x4(a, b, 0xdd);
    r[c + 4].v = _mm512_shuffle_f32x4(d, e, 0x88);
    r[c + 12].v = _mm512_shuffle_f32x4(d, e, 0xdd);
  }
}

// binary64 lanes: two of these hold the lanes of one F32.
struct F64 {
  static constexpr int kLanes = 8;
  __m512d v;

  static F64 zero() { return {_mm512_setzero_pd()}; }
  static F64 load(const double* p) { return {_mm512_loadu_pd(p)}; }
  static F64 load_first(const double* p, int n) {
    return {_mm512_maskz_loadu_pd(static_cast<__mmask8>((1u << n) - 1u), p)};
  }
  void store(double* p) const { _mm512_storeu_pd(p, v); }
  // Lanes 0 .. kLanes-1 of a, and the rest; exact.
  static F64 widen_low(F32 a) { return {_mm512_cvtps_pd(_mm512_castps512_ps256(a.v))}; }
  static F64 widen_high(F32 a) { return {_mm512_cvtps_pd(_mm512_extractf32x8_ps(a.v, 1))}; }
  friend F64 operator+(F64 a, F64 b) { return {_mm512_add_pd(a.v, b.v)}; }
  friend F64 operator-(F64 a, F64 b) { return {_mm512_sub_pd(a.v, b.v)}; }
  friend F64 fma(F64 a, F64 b, F64 c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
};

// 32-bit integer lanes, wrap-around.
struct U32 {
  __m512i v;

  static U32 all(uint32_t x) { return {_mm512_set1_epi32(static_cast<int>(x))}; }
  static U32 load(const uint32_t* p) { return {_mm512_loadu_si512(p)}; }
  static U32 load_first(const uint32_t* p, int n) {
    return {_mm512_maskz_loadu_epi32(F32::first(n), p)};
  }
  friend U32 operator+(U32 a, U32 b) { return {_mm512_add_epi32(a.v, b.v)}; }
  friend U32 operator-(U32 a, U32 b) { return {_mm512_sub_epi32(a.v, b.v)}; }
  friend U32 operator&(U32 a, U32 b) { return {_mm512_and_si512(a.v, b.v)}; }
  template <int kBits>
  U32 left() const {
    return {_mm512_slli_epi32(v, kBits)};
  }
  template <int kBits>
  U32 right() const {
    return {_mm512_srli_epi32(v, kBits)};
  }
  // As signed integers, rounded to nearest even.
  F32 to_f32() const { return {_mm512_cvtepi32_ps(v)}; }
  // Lanes whose highest bit is set.
  F32::Mask high_bit() const { return _mm512_movepi32_mask(v); }
  // a with its bits flipped where they are set here.
  F32 flip(F32 a) const {
    return {_mm512_castsi512_ps(_mm512_xor_si512(_mm512_castps_si512(a.v), v))};
  }
};

#else

struct F32 {
  static constexpr int kLanes = 8;
  using Mask = __m256;
  __m256 v;

  static F32 zero() { return {_mm256_setzero_ps()}; }
  static F32 all(float x) { return {_mm256_set1_ps(x)}; }
  static F32 load(const float* p) { return {_mm256_loadu_ps(p)}; }
  static __m256i first_lanes(int n) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
  }
  static F32 load_first(const float* p, int n) { return {_mm256_maskload_ps(p, first_lanes(n))}; }
  static F32 load_f16(const uint16_t* p) {
    return {_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)))};
  }
  static F32 load_bf16(const uint16_t* p) {
    const __m256i wide =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return {_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16))};
  }
  void store(float* p) const { _mm256_storeu_ps(p, v); }
  void store_first(float* p, int n) const { _mm256_maskstore_ps(p, first_lanes(n), v); }
  friend F32 operator+(F32 a, F32 b) { return {_mm256_add_ps(a.v, b.v)}; }
  friend F32 operator-(F32 a, F32 b) { return {_mm256_sub_ps(a.v, b.v)}; }
  friend F32 operator*(F32 a, F32 b) { return {_mm256_mul_ps(a.v, b.v)}; }
  friend F32 operator/(F32 a, F32 b) { return {_mm256_div_ps(a.v, b.v)}; }
  friend F32 sqrt(F32 a) { return {_mm256_sqrt_ps(a.v)}; }
  friend F32 fma(F32 a, F32 b, F32 c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
  friend F32 max_x86(F32 a, F32 b) { return {_mm256_max_ps(a.v, b.v)}; }
  friend F32 min_x86(F32 a, F32 b) { return {_mm256_min_ps(a.v, b.v)}; }
  friend Mask is_nan(F32 a) { return _mm256_cmp_ps(a.v, a.v, _CMP_UNORD_Q); }
  friend Mask less(F32 a, F32 b) { return _mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ); }
  friend Mask less_equal(F32 a, F32 b) { return _mm256_cmp_ps(a.v, b.v, _CMP_LE_OQ); }
  static F32 select(Mask mask, F32 yes, F32 no) { return {_mm256_blendv_ps(no.v, yes.v, mask)}; }
  static bool any(Mask mask) { return _mm256_movemask_ps(mask) != 0; }
  static Mask first(int n) { return _mm256_castsi256_ps(first_lanes(n)); }
  friend Mask equal(F32 a, F32 b) { return _mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ); }
  friend Mask either_nan(F32 a, F32 b) { return _mm256_cmp_ps(a.v, b.v, _CMP_UNORD_Q); }
  static Mask either(Mask a, Mask b) { return _mm256_or_ps(a, b); }
  static uint32_t lane_bits(Mask mask) { return static_cast<uint32_t>(_mm256_movemask_ps(mask)); }
  static F32 add_exponent(F32 a, F32 t) {
    return {_mm256_castsi256_ps(_mm256_add_epi32(_mm256_castps_si256(a.v),
                                                 _mm256_slli_epi32(_mm256_castps_si256(t.v), 23)))};
  }
  F32 operator-() const { return {_mm256_xor_ps(v, _mm256_set1_ps(-0.0f))}; }
  friend F32 ceil(F32 a) {
    return {_mm256_round_ps(a.v, _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC)};
  }
  friend float greatest_lane(F32 a) { return greatest_256(a.v); }
  friend float add_halves(F32 a) { return add_halves_256(a.v); }
};

inline void transpose(F32 (&r)[8]) {
  __m256 pairs[8], quads[8];
  for (int i = 0; i < 8; i += 2) {
    pairs[i] = _mm256_unpacklo_ps(r[i].v, r[i + 1].v);
    pairs[i + 1] = _mm256_unpackhi_ps(r[i].v, r[i + 1].v);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      const __m256d low = _mm256_castps_pd(pairs[i + j]), high = _mm256_castps_pd(pairs[i + j + 2]);
      quads[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(low, high));
      quads[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(low, high));
    }
  }
  for (int c = 0; c < 4; ++c) {
    r[c].v = _mm256_permute2f128_ps(quads[c], quads[c + 4], 0x20);
    r[c + 4].v = _mm256_permute2f128_ps(quads[c], quads[c + 4], 0x31);
  }
}

struct F64 {
  static constexpr int kLanes = 4;
  __m256d v;

  static F64 zero() { return {_mm256_setzero_pd()}; }
  static F64 load(const double* p) { return {_mm256_loadu_pd(p)}; }
  static F64 load_first(const double* p, int n) {
    const __m256i mask = _mm256_cmpgt_epi64(_mm256_set1_epi64x(n), _mm256_setr_epi64x(0, 1, 2, 3));
    return {_mm256_maskload_pd(p, mask)};
  }
  void store(double* p) const { _mm256_storeu_pd(p, v); }
  static F64 widen_low(F32 a) { return {_mm256_cvtps_pd(_mm256_castps256_ps128(a.v))}; }
  static F64 widen_high(F32 a) { return {_mm256_cvtps_pd(_mm256_extractf128_ps(a.v, 1))}; }
  friend F64 operator+(F64 a, F64 b) { return {_mm256_add_pd(a.v, b.v)}; }
  friend F64 operator-(F64 a, F64 b) { return {_mm256_sub_pd(a.v, b.v)}; }
  friend F64 fma(F64 a, F64 b, F64 c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
};

struct U32 {
  __m256i v;

  static U32 all(uint32_t x) { return {_mm256_set1_epi32(static_cast<int>(x))}; }
  static U32 load(const uint32_t* p) {
    return {_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p))};
  }
  static U32 load_first(const uint32_t* p, int n) {
    return {_mm256_maskload_epi32(reinterpret_cast<const int*>(p), F32::first_lanes(n))};
  }
  friend U32 operator+(U32 a, U32 b) { return {_mm256_add_epi32(a.v, b.v)}; }
  friend U32 operator-(U32 a, U32 b) { return {_mm256_sub_epi32(a.v, b.v)}; }
  friend U32 operator&(U32 a, U32 b) { return {_mm256_and_si256(a.v, b.v)}; }
  template <int kBits>
  U32 left() const {
    return {_mm256_slli_epi32(v, kBits)};
  }
  template <int kBits>
  U32 right() const {
    return {_mm256_srli_epi32(v, kBits)};
  }
  F32 to_f32() const { return {_mm256_cvtepi32_ps(v)}; }
  F32::Mask high_bit() const { return _mm256_castsi256_ps(_mm256_srai_epi32(v, 31)); }
  F32 flip(F32 a) const { return {_mm256_xor_ps(a.v, _mm256_castsi256_ps(v))}; }
};

#endif

}  // namespace kvx::num::KVX_ISA
