// Scores of a tile by a warp (fixed.md, step 3): sealed keys times the digits of the query.
//
// A lane 4 g + t reads quarter t of a row, its contiguous bytes. A product of 32 channels takes
// eight codes of each quarter: two words of four bytes, of which a mask leaves one field each; of
// the two fields of a byte the higher is summed apart, 2^bits too large.
#pragma once

#include "gpu/fused/digits.cuh"
#include "gpu/fused/mma.cuh"

namespace kvx::gpu::fused {

inline constexpr int kScorePitch = kTileRows + 8;  // floats from query to query

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
__device__ __forceinline__ void join(const int (&low)[4], const int (&high)[4], int (&sum)[2]) {
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

// How keys of a stage lie and are scaled.
struct KeyStage {
  const std::byte* codes;
  const std::byte *scale, *zero;  // along channels [row of the stage][sets]
  int first_row;                  // of the stage, in the tile
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
__device__ __forceinline__ void multiply_rows(const KeyWords<kBits, kDim>& above,
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

// Step 3a, without the clamp, of the rows of a stage to scores [query][kScorePitch]. Of one query
// all lanes of a row have the same score, and store it.
// kOneSet: sets is 1.
template <int kBits, int kDim, int kQueries, bool kOneSet>
__device__ __forceinline__ void score_along_tokens(const KeyStage& k, float* scores) {
  using Words = KeyWords<kBits, kDim>;
  constexpr int kRows = stage_rows(kBits, kDim);
  constexpr int kRowBytes = kDim / 8 * kBits;
  const int lane = lane_of_warp(), g = lane / 4, t = lane % 4;
  const uint32_t flip = Words::flip(k.flip);
  const std::byte* quarter = k.codes + g * kRowBytes + t * Words::kBytes;
  const std::byte* column = k.digits + g % (2 * kQueries) * kDigitPitch + t * 32;
  const int set_shift = k.sets == 4 ? 0 : k.sets == 2 ? 1 : 2;
  float x[kRows / 8];  // stored when all is loaded
#pragma unroll
  for (int block = 0; block < kRows / 32; ++block) {
    const int set = kOneSet ? 0 : (k.first_row / 32 + block) >> set_shift;
    const ColumnDigits<kDim> digits(column + set * digit_bytes(kQueries));
    const KeyFactor f = k.factors[set * kQueries + t % kQueries];
#pragma unroll
    for (int row = 32 * block; row < 32 * block + 32; row += 16) {
      int sum[2];
      multiply_rows(Words(quarter + row * kRowBytes, flip),
                    Words(quarter + (row + 8) * kRowBytes, flip), digits, sum);
#pragma unroll
      for (int r = 0; r < 2; ++r)
        x[row / 8 + r] = __fmaf_rn(__int2float_rn(sum[r]), f.unit, f.zero);
    }
  }
  float* to = scores + t % kQueries * kScorePitch + g + k.first_row;
#pragma unroll
  for (int i = 0; i < kRows / 8; ++i) to[8 * i] = x[i];
}

// Step 3b, the same. A quarter of a row belongs to one group: to others its digits count as zeros.
template <int kBits, int kDim, int kQueries>
__device__ __forceinline__ void score_along_channels(const KeyStage& k, float* scores) {
  using Words = KeyWords<kBits, kDim>;
  constexpr int kRowBytes = kDim / 8 * kBits;
  const int lane = lane_of_warp(), g = lane / 4, t = lane % 4;
  const uint32_t flip = Words::flip(k.flip);
  const std::byte* quarter = k.codes + g * kRowBytes + t * Words::kBytes;
  const ColumnDigits<kDim> digits(k.digits + g % (2 * kQueries) * kDigitPitch + t * 32);
  float* to = scores + t % kQueries * kScorePitch + g + k.first_row;
#pragma unroll 1
  for (int block = 0; block < stage_rows(kBits, kDim); block += 32) {
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
    for (int i = 0; i < 4; ++i) to[block + 8 * i] = __fmul_rn(x[i / 2][i % 2], k.c);
  }
}

}  // namespace kvx::gpu::fused
