#include "sim/num/fixed_kernel.h"

#include "sim/num/fixed.h"
#include "sim/num/fixed_simd.h"

namespace kvx::num::KVX_ISA {
namespace {

using fixed::kMaxDim;
using fixed::kTile;
constexpr int kLanes = F32::kLanes;
constexpr int kVectors = kTile / kLanes;
constexpr float kMagic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
constexpr uint32_t kMagicBits = 0x4B400000;

// 2^e for -126 <= e <= 127.
float power(int e) { return __builtin_bit_cast(float, static_cast<uint32_t>(e + 127) << 23); }

int exponent(float x, uint32_t carry) {
  const int e = static_cast<int>((__builtin_bit_cast(uint32_t, x) + carry) >> 23) - 127;
  return e < -64 ? -64 : e;
}

// As fixed.md's pw: +0 below 2^-100.
float weight(int e) { return e < -100 ? 0.0f : power(e); }

F32 product(const float* q, const float* scale, int j) {
  return scale ? F32::load(q + j) * F32::load(scale + j) : F32::load(q + j);
}

int query_digits(const float* q, const float* scale, int n, int16_t* y) {
  F32 top = F32::zero();
  for (int j = 0; j < n; j += kLanes) top = max_x86(magnitude(product(q, scale, j)), top);
  const int e = exponent(greatest_lane(top), 0x20000);
  const F32 unit = F32::all(weight(14 - e)), magic = F32::all(kMagic);
  for (int j = 0; j < n; j += kLanes)
    store_low_halves(reinterpret_cast<uint16_t*>(y) + j,
                     bits_of(fma(product(q, scale, j), unit, magic)));
  return e;
}

// Lanes 4i + 3: the chain fma(a_j, b_j, chain) over lanes 4i .. 4i + 3 from +0.
F32 chain_of_four(F32 a, F32 b) {
  F32 chain = fma(a, b, F32::zero());
  for (int i = 0; i < 3; ++i) chain = fma(a, b, lane_before(chain));
  return chain;
}

float zero_sum(const float* q, const float* zero, int n) {
  float r[kMaxDim / 4] = {};
  for (int j = 0; j < n; j += kLanes) {
    float chains[kLanes];
    const F32 z = zero ? F32::load(zero + j) : F32::all(1.0f);
    chain_of_four(F32::load(q + j), z).store(chains);
    for (int i = 0; i < kLanes / 4; ++i) r[j / 4 + i] = chains[4 * i + 3];
  }
  int half = 1;
  while (half * 8 < n) half *= 2;
  for (; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) r[i] = r[i] + r[i + half];
  return r[0];
}

KVX_VNNI void dots(const uint8_t* codes, int64_t stride, int rows, const int16_t* y, int n,
                   int32_t* sums) {
  int r = 0;
  for (; r + 8 <= rows; r += 8) {
    U32 acc[8];
    for (int i = 0; i < 8; ++i) acc[i] = U32::all(0);
    for (int j = 0; j < n; j += 2 * kLanes) {
      const U32 digits = load_words(y + j);
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i)
        acc[i] = dot_pairs(acc[i], widen_bytes(codes + (r + i) * stride + j), digits);
    }
    store_sums(sums + r, acc);
  }
  for (; r < rows; ++r) {
    U32 acc = U32::all(0);
    for (int j = 0; j < n; j += 2 * kLanes)
      acc = dot_pairs(acc, widen_bytes(codes + r * stride + j), load_words(y + j));
    sums[r] = static_cast<int32_t>(sum_lanes(acc));
  }
}

void exact_dots(const float* const* rows, int count, const float* q, int n, float* sums) {
  for (int r = 0; r < count; r += kLanes) {
    F32 acc = F32::zero();
    for (int j = 0; j < n; j += kLanes) {
      F32 block[kLanes];
      for (int i = 0; i < kLanes; ++i)
        block[i] = F32::load(rows[r + i < count ? r + i : count - 1] + j);
      transpose(block);
      for (int c = 0; c < kLanes; ++c) acc = fma(F32::all(q[j + c]), block[c], acc);
    }
    acc.store_first(sums + r, count - r < kLanes ? count - r : kLanes);
  }
}

int weights(const float* x, float* p, int32_t* l) {
  const F32 lowest = F32::all(-__builtin_inff()), magic = F32::all(kMagic);
  const F32 clamp = F32::all(0x1p+20f);
  F32 n[kVectors], poly[kVectors], top = lowest;
  for (int i = 0; i < kVectors; ++i) {
    const F32 score = min_x86(max_x86(F32::load(x + i * kLanes), -clamp), clamp);
    n[i] = (score + magic) - magic;
    top = max_x86(n[i], top);
    const F32 f = score - n[i];
    poly[i] = fma(F32::all(0x1.3a02c6p-7f), f, F32::all(0x1.c9fc46p-5f));
    poly[i] = fma(poly[i], f, F32::all(0x1.ec0368p-3f));
    poly[i] = fma(poly[i], f, F32::all(0x1.62e142p-1f));
    poly[i] = fma(poly[i], f, F32::all(1.0f));
  }
  const float m = greatest_lane(top);
  U32 sum = U32::all(0);
  for (int i = 0; i < kVectors; ++i) {
    const F32 down = max_x86(n[i] - F32::all(m), F32::all(-100.0f)) + F32::all(21.0f);
    const F32 visible = F32::select(less(lowest, F32::load(x + i * kLanes)),
                                    F32::add_exponent(poly[i], down + magic), F32::zero());
    visible.store(p + i * kLanes);
    sum = sum + (bits_of(visible + magic) - U32::all(kMagicBits));
  }
  *l = static_cast<int32_t>(sum_lanes(sum));
  return static_cast<int>(m);
}

int value_digits(const float* p, const float* scale, int16_t* digits) {
  F32 u[kVectors], top = F32::zero();
  for (int i = 0; i < kVectors; ++i) {
    u[i] = F32::load(p + i * kLanes) * F32::load(scale + i * kLanes);
    top = max_x86(u[i], top);
  }
  int eu = exponent(greatest_lane(top), 0x80) - 21;
  if (eu < -64) eu = -64;
  const F32 unit = F32::all(power(15 - 21 - eu)), magic = F32::all(kMagic);
  // The low half of kMagicBits is 0; adding 2^15 to the low half subtracts 2^15 from P.
  for (int i = 0; i < kVectors; ++i)
    store_low_halves(reinterpret_cast<uint16_t*>(digits) + i * kLanes,
                     bits_of(fma(u[i], unit, magic)) + U32::all(0x8000));
  return eu;
}

fixed::ZeroPart zero_part(const float* p, const float* zero) {
  F32 top = F32::zero();
  for (int i = 0; i < kVectors; ++i) top = max_x86(magnitude(F32::load(zero + i * kLanes)), top);
  const int ez = exponent(greatest_lane(top), 0);
  const F32 unit = F32::all(power(-3 - ez)), magic = F32::all(kMagic);
  U32 sum = U32::all(0);
  for (int i = 0; i < kVectors; ++i) {
    const F32 chain = chain_of_four(F32::load(p + i * kLanes), F32::load(zero + i * kLanes));
    const F32 last = F32::select(last_of_four(), chain, F32::zero());
    sum = sum + (bits_of(fma(last, unit, magic)) - U32::all(kMagicBits));
  }
  return {ez, static_cast<int32_t>(sum_lanes(sum))};
}

void pair_rows(const uint8_t* const* rows, int channel, uint32_t* pairs) {
  for (int i = 0; i < kTile; i += 2, pairs += fixed::kPairChannels) {
    for (int j = 0; j < fixed::kPairChannels; j += 16) {
      const auto a = reinterpret_cast<const __m128i*>(rows[i] + channel + j);
      const auto b = reinterpret_cast<const __m128i*>(rows[i + 1] + channel + j);
      store_byte_pairs(pairs + j, _mm_loadu_si128(a), _mm_loadu_si128(b));
    }
  }
}

KVX_VNNI void value_sums(const uint32_t* pairs, const int16_t* digits, int32_t* sums) {
  constexpr int kColumns = fixed::kPairChannels / kLanes;
  constexpr int kChains = 8 / kColumns;
  U32 acc[kChains][kColumns];
  for (int i = 0; i < kChains; ++i)
    for (int c = 0; c < kColumns; ++c) acc[i][c] = U32::all(0);
  for (int t = 0; t < kTile / 2; t += kChains) {
#pragma GCC unroll 4
    for (int i = 0; i < kChains; ++i) {
      uint32_t pair;
      __builtin_memcpy(&pair, digits + 2 * (t + i), sizeof pair);
      const U32 p = U32::all(pair);
#pragma GCC unroll 4
      for (int c = 0; c < kColumns; ++c)
        acc[i][c] = dot_pairs(acc[i][c],
                              load_words(pairs + (t + i) * fixed::kPairChannels + c * kLanes), p);
    }
  }
  for (int c = 0; c < kColumns; ++c) {
    U32 sum = acc[0][c];
    for (int i = 1; i < kChains; ++i) sum = sum + acc[i][c];
    store_words(sums + c * kLanes, sum);
  }
}

void exact_values(const float* const* rows, const float* p, int count, int n, float* o) {
  for (int j = 0; j < n; j += 2 * kLanes) {
    F32 a = F32::zero(), b = F32::zero();
    for (int i = 0; i < count; ++i) {
      a = fma(F32::all(p[i]), F32::load(rows[i] + j), a);
      b = fma(F32::all(p[i]), F32::load(rows[i] + j + kLanes), b);
    }
    a.store(o + j);
    b.store(o + j + kLanes);
  }
}

}  // namespace

extern const fixed::Kernels kFixedKernels;
const fixed::Kernels kFixedKernels = {
    query_digits, zero_sum,  dots,      exact_dots, weights,
    value_digits, zero_part, pair_rows, value_sums, exact_values,
};

}  // namespace kvx::num::KVX_ISA
