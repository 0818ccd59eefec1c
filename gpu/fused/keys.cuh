// Scores of a tile by a warp (fixed.md, steps 1 to 3): sealed keys times the digits of the query.
//
// A lane 4 g + t reads quarter t of a row, its contiguous bytes. A product of 32 channels takes
// eight codes of each quarter: two words of four bytes, of which a mask leaves one field each; of
// the two fields of a byte the higher is summed apart, 2^bits too large. Digits lie in the same
// order: word 2 k + h of quarter t and a column is half h of product k.
#pragma once

#include "gpu/fused/case.cuh"
#include "gpu/fused/mma.cuh"

namespace kvx::gpu::fused {

inline constexpr int kScorePitch = kTileRows + 8;  // floats from query to query
inline constexpr int kDigitPitch = 144;            // bytes from column to column

KVX_HD constexpr int digit_bytes(int queries) { return 2 * queries * kDigitPitch; }

// Channels of four codes that lie in one operand word: first + i * step, within a quarter.
struct WordChannels {
  int first, step;

  // Word `word` of a quarter's digits.
  __device__ WordChannels(int bits, int word) {
    const int pair = word / 4, field = word / 2 % 2, half = word % 2;
    if (bits == 8) {
      first = 4 * word, step = 1;
    } else if (bits == 2) {
      first = 16 * pair + 2 * half + field, step = 4;
    } else {
      first = 16 * pair + 8 * half + field, step = 2;
    }
  }
};

// What digits are worth, and the zero sum, of one K group and query.
struct KeyFactor {
  float unit;  // along tokens c 2^(e - 14 - b), along channels 2^(e - 14 - b); b: keys' high field
  float zero;  // along tokens zc, along channels w
};

// The scale that a sum with its high field takes back.
__device__ inline float high_field(int bits) {
  return bits == 8 ? 1.0f : __uint_as_float(static_cast<uint32_t>(127 - bits) << 23);
}

// Stores four digits as the lane's word of both digit columns of a query.
__device__ inline void store_digits(std::byte* digits, int word_at, int query, const float (&y)[4],
                                    uint32_t exponent) {
  const float factor = query_factor(exponent);
  uint32_t d[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) d[i] = __float_as_uint(__fmaf_rn(y[i], factor, kMagic + 128.0f));
  const uint32_t a = __byte_perm(d[0], d[1], 0x5140), b = __byte_perm(d[2], d[3], 0x5140);
  std::byte* to = digits + 2 * query * kDigitPitch + word_at;
  *reinterpret_cast<uint32_t*>(to) = __byte_perm(a, b, 0x5410) ^ 0x80808080u;
  *reinterpret_cast<uint32_t*>(to + kDigitPitch) = __byte_perm(a, b, 0x7632);
}

__device__ inline uint32_t greatest(const float (&x)[4]) {
  return __float_as_uint(fmaxf(fmaxf(fabsf(x[0]), fabsf(x[1])), fmaxf(fabsf(x[2]), fabsf(x[3]))));
}

// Sum over lanes by the tree h = kDim / 8, .., 1 for each query; query i in lanes 8 i .. 8 i + 7
// (one query: in all).
template <int kDim, int kQueries>
__device__ inline float tree(const float (&r)[kQueries]) {
  static_assert(kDim == 64 || kDim == 128);
  static_assert(kQueries == 1 || kQueries == 4);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float x;
  if constexpr (kQueries == 1) {
    x = r[0];
    if (kDim == 128) x = __fadd_rn(x, __shfl_xor_sync(~0u, x, 16));
    x = __fadd_rn(x, __shfl_xor_sync(~0u, x, 8));
  } else {
    const bool up = (lane & 16) != 0;
    float two[2];
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      two[i] = up ? r[i + 2] : r[i];
      if (kDim == 128) two[i] = __fadd_rn(two[i], __shfl_xor_sync(~0u, up ? r[i] : r[i + 2], 16));
    }
    const bool odd = (lane & 8) != 0;
    x = __fadd_rn(odd ? two[1] : two[0], __shfl_xor_sync(~0u, odd ? two[0] : two[1], 8));
  }
#pragma unroll
  for (int h = 4; h >= 1; h /= 2) x = __fadd_rn(x, __shfl_xor_sync(~0u, x, h));
  return x;
}

// The queries of a block in shared memory, in the order of channels and in that of digit words:
// [query][lane][4], lanes repeated where the head dim is 64.
template <int kDim, int kQueries>
struct QueryMemory {
  float natural[kQueries][kDim];
  float ordered[kQueries][kDim];
};

// A value per query, chosen without a table in memory.
template <class T, int kCount>
__device__ inline T pick(const T (&x)[kCount], int i) {
  T r = x[0];
#pragma unroll
  for (int j = 1; j < kCount; ++j)
    if (i == j) r = x[j];
  return r;
}

// Steps 1 and 2 along tokens: digits and factors of one K group. scale and zero: [kDim]. Returns
// whether scores may leave the clamp's range.
template <int kDim, int kQueries>
__device__ inline bool token_digits(const QueryMemory<kDim, kQueries>& q, const std::byte* scale,
                                    const std::byte* zero, float zero_factor, int bits, float c,
                                    std::byte* digits, KeyFactor* factors) {
  constexpr int kLanes = kDim / 4;
  const int lane = static_cast<int>(threadIdx.x) % 32, at = lane % kLanes;
  const WordChannels channels(bits, at / 4);
  const int first = at % 4 * kLanes + channels.first;
  float s[4], z[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    s[i] = half_at(scale, first + i * channels.step);
    z[i] = __fmul_rn(half_at(zero, 4 * at + i), zero_factor);
  }
  uint32_t exponent[kQueries];
  float r[kQueries];
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    const float4 by_word = *reinterpret_cast<const float4*>(&q.ordered[h][4 * at]);
    const float4 in_order = *reinterpret_cast<const float4*>(&q.natural[h][4 * at]);
    const float y[4] = {__fmul_rn(by_word.x, s[0]), __fmul_rn(by_word.y, s[1]),
                        __fmul_rn(by_word.z, s[2]), __fmul_rn(by_word.w, s[3])};
    exponent[h] = query_exponent(__reduce_max_sync(~0u, greatest(y)));
    store_digits(digits, at % 4 * 32 + at / 4 * 4, h, y, exponent[h]);
    r[h] = __fmaf_rn(in_order.x, z[0], 0.0f);
    r[h] = __fmaf_rn(in_order.y, z[1], r[h]);
    r[h] = __fmaf_rn(in_order.z, z[2], r[h]);
    r[h] = __fmaf_rn(in_order.w, z[3], r[h]);
  }
  const float sum = tree<kDim>(r);
  const int query = lane / 8;
  const KeyFactor f = {__fmul_rn(__fmul_rn(__fmul_rn(c, 0x1p-14f), high_field(bits)),
                                 __uint_as_float(pick(exponent, query % kQueries))),
                       __fmul_rn(sum, c)};
  if (lane % 8 == 0 && query < kQueries) factors[query] = f;
  // |2^b S| <= kDim 4^b 2^15.
  const float most =
      __fmul_rn(__fmul_rn(f.unit, kDim),
                __uint_as_float((127u + 15u + 2u * static_cast<uint32_t>(bits)) << 23));
  return __any_sync(~0u, !(__fadd_rn(most, fabsf(f.zero)) < 0.5f * kScoreBound));
}

// The same along channels, `sets` groups in a row, by one warp; factors: [group][kQueries].
template <int kDim, int kQueries>
__device__ inline void channel_digits(const QueryMemory<kDim, kQueries>& q, int sets, int bits,
                                      std::byte* digits, KeyFactor* factors) {
  constexpr int kLanes = kDim / 4;
  const int lane = static_cast<int>(threadIdx.x) % 32, at = lane % kLanes;
  const int quarter_group = at % 4 * sets / 4;
#pragma unroll
  for (int h = 0; h < kQueries; ++h) {
    const float4 by_word = *reinterpret_cast<const float4*>(&q.ordered[h][4 * at]);
    const float4 in_order = *reinterpret_cast<const float4*>(&q.natural[h][4 * at]);
    const float y[4] = {by_word.x, by_word.y, by_word.z, by_word.w};
    uint32_t most = greatest(y);
    for (int x = 4; x <= 16; x *= 2) most = max(most, __shfl_xor_sync(~0u, most, x));
    if (sets <= 2) most = max(most, __shfl_xor_sync(~0u, most, 1));
    if (sets == 1) most = max(most, __shfl_xor_sync(~0u, most, 2));
    const uint32_t exponent = query_exponent(most);
    store_digits(digits, at % 4 * 32 + at / 4 * 4, h, y, exponent);
    if (lane < 4)
      factors[quarter_group * kQueries + h].unit =
          __fmul_rn(__fmul_rn(0x1p-14f, high_field(bits)), __uint_as_float(exponent));
    float r = __fmaf_rn(in_order.x, 1.0f, 0.0f);
    r = __fmaf_rn(in_order.y, 1.0f, r);
    r = __fmaf_rn(in_order.z, 1.0f, r);
    r = __fmaf_rn(in_order.w, 1.0f, r);
    for (int x = kLanes / sets / 2; x >= 1; x /= 2) r = __fadd_rn(r, __shfl_xor_sync(~0u, r, x));
    if (lane < kLanes && lane % (kLanes / sets) == 0)
      factors[lane / (kLanes / sets) * kQueries + h].zero = r;
  }
}

// A lane's quarter of a row as words whose bytes hold one code (8 bits) or two.
template <int kBits, int kDim>
struct KeyWords {
  static constexpr int kBytes = kDim / 32 * kBits;  // of a quarter
  static constexpr int kProducts = kDim / 32;
  static constexpr uint32_t kByte = 0x01010101u;
  static constexpr int kFields = kBits == 8 ? 1 : 2;
  uint32_t w[kBits == 8 ? kDim / 16 : kDim / 32];  // before they are turned
  uint32_t turn;

  // The pattern that turns each code of these words.
  __device__ static uint32_t flip(uint32_t code) {
    return kByte * (kBits == 8   ? code
                    : kBits == 4 ? code * 0x11u
                    : kBits == 3 ? code * 0x09u
                                 : code * 0x55u);
  }

  __device__ KeyWords(const std::byte* quarter, uint32_t flip) : turn(flip) {
    if constexpr (kBits == 3) {
      spread(quarter);
    } else if constexpr (kBits == 2) {
      constexpr int kRaw = kBytes / 4;
      uint32_t raw[kRaw];
      load(quarter, raw);
#pragma unroll
      for (int i = 0; i < kRaw; ++i) w[2 * i] = raw[i], w[2 * i + 1] = raw[i] >> 4;
    } else {
      load(quarter, w);
    }
  }

  // Half `half` of product `k`.
  __device__ uint32_t operand(int k, int half) const {
    if constexpr (kBits == 8) {
      return w[2 * k + half] ^ turn;
    } else {
      constexpr uint32_t kMask = kByte * ((1u << kBits) - 1u);
      return flip_and_mask(w[k / 2 * 2 + half], turn, kMask << (k % 2 * kBits));
    }
  }

 private:
  template <int kCount>
  __device__ static void load(const std::byte* from, uint32_t (&to)[kCount]) {
    if constexpr (kCount % 4 == 0) {
#pragma unroll
      for (int i = 0; i < kCount / 4; ++i) {
        const uint4 x = reinterpret_cast<const uint4*>(from)[i];
        to[4 * i] = x.x, to[4 * i + 1] = x.y, to[4 * i + 2] = x.z, to[4 * i + 3] = x.w;
      }
    } else if constexpr (kCount == 2) {
      const uint2 x = *reinterpret_cast<const uint2*>(from);
      to[0] = x.x, to[1] = x.y;
    } else {
#pragma unroll
      for (int i = 0; i < kCount; ++i) to[i] = reinterpret_cast<const uint32_t*>(from)[i];
    }
  }

  // Three bytes of eight 3-bit codes become four bytes of two.
  __device__ void spread(const std::byte* quarter) {
    uint32_t three[kDim / 32];
    if constexpr (kDim == 128) {
      uint32_t raw[3];
      load(quarter, raw);
      three[0] = raw[0];
      three[1] = __funnelshift_r(raw[0], raw[1], 24);
      three[2] = __funnelshift_r(raw[1], raw[2], 16);
      three[3] = raw[2] >> 8;
    } else {
      const auto* halves = reinterpret_cast<const uint16_t*>(quarter);
      three[0] = halves[0] | static_cast<uint32_t>(halves[1]) << 16;
      three[1] = halves[1] >> 8 | static_cast<uint32_t>(halves[2]) << 8;
    }
#pragma unroll
    for (int i = 0; i < kDim / 32; ++i) {
      const uint32_t twelve = (three[i] & 0x00000FFFu) | (three[i] << 4 & 0x0FFF0000u);
      w[i] = (twelve & 0x003F003Fu) | (twelve << 2 & 0x3F003F00u);
    }
  }
};

// Sums over channels of two products' columns, high fields times 2^bits: 2^b S of rows g, g + 8.
template <int kBits>
__device__ inline void join(const int (&low)[4], const int (&high)[4], int (&sum)[2]) {
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    int lo = low[2 * r], hi = low[2 * r + 1];
    if constexpr (kBits != 8) {
      lo = (lo << kBits) + high[2 * r];
      hi = (hi << kBits) + high[2 * r + 1];
    }
    sum[r] = hi * 256 + lo;
  }
}

// How keys of a tile lie and are scaled.
struct KeyTile {
  const std::byte* codes;
  const std::byte *scale, *zero;  // along channels [row][sets]
  const std::byte* digits;        // along tokens [set][digit_bytes], along channels one
  const KeyFactor* factors;       // [set][kQueries]
  int sets;
  uint32_t flip;  // of a code
  float zero_factor, c;
};

// The digits of a lane's column and quarter.
template <int kDim>
struct ColumnDigits {
  uint32_t word[kDim / 32][2];

  __device__ explicit ColumnDigits(const std::byte* from) {
#pragma unroll
    for (int i = 0; i < kDim / 64; ++i) {
      const uint4 x = reinterpret_cast<const uint4*>(from)[i];
      word[2 * i][0] = x.x, word[2 * i][1] = x.y;
      word[2 * i + 1][0] = x.z, word[2 * i + 1][1] = x.w;
    }
  }
  // All zeros but where `mine`.
  __device__ ColumnDigits of_group(bool mine) const {
    ColumnDigits r = *this;
#pragma unroll
    for (int i = 0; i < kDim / 32; ++i)
#pragma unroll
      for (int half = 0; half < 2; ++half) r.word[i][half] = mine ? word[i][half] : 0u;
    return r;
  }
};

// 2^b S of rows g and g + 8, for the query of the lane.
template <int kBits, int kDim>
__device__ inline void multiply_rows(const KeyWords<kBits, kDim>& above,
                                     const KeyWords<kBits, kDim>& below,
                                     const ColumnDigits<kDim>& digits, int (&sum)[2]) {
  int part[2][4] = {};
#pragma unroll
  for (int i = 0; i < kDim / 32; ++i)
    multiply_signed(part[KeyWords<kBits, kDim>::kFields == 2 ? i % 2 : 0], above.operand(i, 0),
                    below.operand(i, 0), above.operand(i, 1), below.operand(i, 1),
                    digits.word[i][0], digits.word[i][1]);
  join<kBits>(part[0], part[1], sum);
}

// Step 3a, without the clamp, of all rows of a tile to scores [query][kScorePitch].
template <int kBits, int kDim, int kQueries>
__device__ inline void score_along_tokens(const KeyTile& k, float* scores) {
  using Words = KeyWords<kBits, kDim>;
  constexpr int kRowBytes = kDim / 8 * kBits;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const uint32_t flip = Words::flip(k.flip);
  const std::byte* quarter = k.codes + g * kRowBytes + t * Words::kBytes;
  const std::byte* column = k.digits + g % (2 * kQueries) * kDigitPitch + t * 32;
  float* to = scores + t % kQueries * kScorePitch + g;
  const int set_shift = k.sets == 4 ? 0 : k.sets == 2 ? 1 : 2;
#pragma unroll
  for (int block = 0; block < kTileRows / 32; ++block) {
    const int set = block >> set_shift;
    const ColumnDigits<kDim> digits(column + set * digit_bytes(kQueries));
    const KeyFactor f = k.factors[set * kQueries + t % kQueries];
#pragma unroll
    for (int row = 32 * block; row < 32 * block + 32; row += 16) {
      int sum[2];
      multiply_rows(Words(quarter + row * kRowBytes, flip),
                    Words(quarter + (row + 8) * kRowBytes, flip), digits, sum);
#pragma unroll
      for (int r = 0; r < 2; ++r)
        if (t < kQueries) to[row + 8 * r] = __fmaf_rn(__int2float_rn(sum[r]), f.unit, f.zero);
    }
  }
}

// Step 3b, the same. A quarter of a row belongs to one group: to others its digits count as zeros.
template <int kBits, int kDim, int kQueries>
__device__ inline void score_along_channels(const KeyTile& k, float* scores) {
  using Words = KeyWords<kBits, kDim>;
  constexpr int kRowBytes = kDim / 8 * kBits;
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  const uint32_t flip = Words::flip(k.flip);
  const std::byte* quarter = k.codes + g * kRowBytes + t * Words::kBytes;
  const ColumnDigits<kDim> digits(k.digits + g % (2 * kQueries) * kDigitPitch + t * 32);
  float* to = scores + t % kQueries * kScorePitch + g;
#pragma unroll 1
  for (int block = 0; block < kTileRows; block += 32) {
    float x[2][2] = {};
    for (int set = 0; set < k.sets; ++set) {
      const ColumnDigits<kDim> mine = digits.of_group(t * k.sets / 4 == set || k.sets == 1);
      const KeyFactor f = k.factors[set * kQueries + t % kQueries];
#pragma unroll
      for (int m = 0; m < 2; ++m) {
        const int row = block + 16 * m;
        int sum[2];
        multiply_rows(Words(quarter + row * kRowBytes, flip),
                      Words(quarter + (row + 8) * kRowBytes, flip), mine, sum);
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int at = (row + 8 * r + g) * k.sets + set;
          const float zero = __fmul_rn(half_at(k.zero, at), k.zero_factor);
          x[m][r] =
              __fmaf_rn(__int2float_rn(sum[r]), __fmul_rn(half_at(k.scale, at), f.unit), x[m][r]);
          x[m][r] = __fmaf_rn(f.zero, zero, x[m][r]);
        }
      }
    }
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (t < kQueries) to[block + 8 * i] = __fmul_rn(x[i / 2][i % 2], k.c);
  }
}

}  // namespace kvx::gpu::fused
