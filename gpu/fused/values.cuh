// Values of a tile times their weights by a warp, folded into the segment (fixed.md, steps 8, 10).
//
// Rows lie in shared memory as in a page. A transposing load gives a lane 4 g + t bytes 2 g and
// 2 g + 1 of a chunk of 16 bytes, of four rows each. The fields of a byte are channels of different
// products: product f takes fields 0..f, so that only the last one needs no mask, and the
// difference of two sums is exactly one field's.
#pragma once

#include "gpu/fused/ring.cuh"
#include "gpu/fused/weights.cuh"

namespace kvx::gpu::fused {

// A segment's sums for the query of a lane: of channel (16 h + 2 g + r) kFields + f at
// o[h * kFields + f][r]; the zeros' sum is that of V group lane / 4.
template <int kDim>
struct SegmentSums {
  int m = kNoMaximum;
  float l = 0.0f, z = 0.0f;
  float o[kDim / 16][2] = {};
};

// 3-bit codes are spread to four bits, 32 rows at a time.
template <int kDim>
struct SpreadRows {
  static constexpr int kPitch = kDim / 2 + 16;  // bytes; rows that are loaded side by side differ
                                                // in their banks
  static constexpr int kBytes = 32 * kPitch;

  // A lane spreads one row.
  __device__ static void run(const std::byte* rows, std::byte* to) {
    const int lane = lane_of_warp();
    const auto* from = reinterpret_cast<const uint32_t*>(rows + lane * (kDim / 8 * 3));
    auto* out = reinterpret_cast<uint32_t*>(to + lane * kPitch);
#pragma unroll
    for (int i = 0; i < kDim / 32; ++i) {
      const uint32_t a = from[3 * i], b = from[3 * i + 1], c = from[3 * i + 2];
      out[4 * i] = spread3(a);
      out[4 * i + 1] = spread3(__funnelshift_r(a, b, 24));
      out[4 * i + 2] = spread3(__funnelshift_r(b, c, 16));
      out[4 * i + 3] = spread3(c >> 8);
    }
  }
};

// kBits: 2, 4, 8, or 3 with `spread` of SpreadRows::kBytes. `codes`: the tile's first stage, which
// the ring has given; the others are taken, and all are released.
template <int kBits, int kDim, int kQueries, int kGroups, class Ring>
__device__ __forceinline__ void add_values(Ring& ring, const std::byte* codes, uint32_t flip_code,
                                           const std::byte* digits, std::byte* spread,
                                           const TileWeights<kGroups>& w,
                                           SegmentSums<kDim>& segment) {
  constexpr int kField = kBits == 3 ? 4 : kBits;  // bits from code to code
  constexpr int kFields = 8 / kField;
  constexpr int kChunks = kDim * kField / 128;
  constexpr int kRowBytes = kDim / 8 * kField;
  constexpr int kPitch = kBits == 3 ? SpreadRows<kDim>::kPitch : kRowBytes;
  // Two groups in a chunk: both products, of which a lane takes its rows' one.
  constexpr int kSplit = kGroups > kChunks ? kGroups / kChunks : 1;
  static_assert(kSplit <= 2);
  constexpr uint32_t kByte = 0x01010101u;
  const int lane = lane_of_warp(), g = lane / 4, t = lane % 4;
  const uint32_t flip = flip_code * (kByte * (kField == 8 ? 1u : kField == 4 ? 0x11u : 0x55u));
  const std::byte* column = digits + g % (2 * kQueries) * kDigitPitch + t * 32;
  constexpr int kStageBlocks = stage_rows(kBits, kDim) / 32;
  // Matrix 0 has rows 4 i + 0, 1 of even i and 4 i + 2, 3 of odd i, matrix 1 the others, so that
  // the rows of a matrix are spread over more banks.
  const int row =
      (lane / 16 * 16 + ((lane / 8 ^ lane % 8 / 2) & 1) * 2 + lane % 8 / 2 * 4 + lane % 2) * kPitch;
  const uint32_t even = t % 2 == 0 ? 0x6420u : 0x2064u, odd = even + 0x1111u;

  int sum[kSplit][kDim / 16][4] = {};
  uint4 digit[kGroups] = {};  // of two values of k
#pragma unroll
  for (int k = 0; k < kTileRows / 32; ++k) {
    if (k % kStageBlocks == 0 && k > 0) {
      ring.release(Ring::kKeyStages + k / kStageBlocks - 1);
      codes = ring.take();
    }
    if (k % 2 == 0)
#pragma unroll
      for (int i = 0; i < kGroups; ++i)
        digit[i] = reinterpret_cast<const uint4*>(column + i * digit_bytes(kQueries))[k / 2];
    if constexpr (kBits == 3) {
      __syncwarp();
      SpreadRows<kDim>::run(codes + k % kStageBlocks * 32 * (kDim / 8 * 3), spread);
      __syncwarp();
    }
#pragma unroll
    for (int h = 0; h < kChunks; ++h) {
      uint32_t r[4];
      load_transposed((kBits == 3 ? spread : codes + k % kStageBlocks * 32 * kPitch) + row + h * 16,
                      r);
      uint32_t a[4] = {__byte_perm(r[0], r[1], even), __byte_perm(r[0], r[1], odd),
                       __byte_perm(r[2], r[3], even), __byte_perm(r[2], r[3], odd)};
#pragma unroll
      for (int f = 0; f < kFields; ++f) {
        const uint32_t mask = f + 1 == kFields ? ~0u : kByte * ((1u << (kField * (f + 1))) - 1u);
#pragma unroll
        for (int s = 0; s < kSplit; ++s) {
          const uint4 x = digit[kSplit == 2 ? 2 * h + s : h * kGroups / kChunks];
          multiply_unsigned(sum[s][h * kFields + f], (a[0] ^ flip) & mask, (a[1] ^ flip) & mask,
                            (a[2] ^ flip) & mask, (a[3] ^ flip) & mask, k % 2 == 0 ? x.x : x.z,
                            k % 2 == 0 ? x.y : x.w);
        }
      }
    }
  }

  ring.release(Ring::kKeyStages + Ring::kValueStages - 1);

  if (__any_sync(~0u, w.m > segment.m)) {
    const float down = power(min(segment.m - w.m, 0));
    segment.l = __fmul_rn(segment.l, down);
    segment.z = __fmul_rn(segment.z, down);
#pragma unroll
    for (int i = 0; i < kDim / 16; ++i)
#pragma unroll
      for (int r = 0; r < 2; ++r) segment.o[i][r] = __fmul_rn(segment.o[i][r], down);
    segment.m = max(segment.m, w.m);
  }
  const int d = w.m - segment.m;
  segment.l = __fmaf_rn(__int2float_rn(w.l), power(d - 21), segment.l);
  segment.z = __fmaf_rn(__int2float_rn(w.zeros), power(d + w.zero_unit), segment.z);
  float unit[kGroups];
#pragma unroll
  for (int i = 0; i < kGroups; ++i) unit[i] = power(d + w.unit[i]);
#pragma unroll
  for (int h = 0; h < kChunks; ++h) {
    const float one = kSplit == 2 ? (g < 4 ? unit[2 * h % kGroups] : unit[(2 * h + 1) % kGroups])
                                  : unit[h * kGroups / kChunks];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      int below = 0;
#pragma unroll
      for (int f = 0; f < kFields; ++f) {
        const int i = h * kFields + f;
        int x[kSplit];
#pragma unroll
        for (int s = 0; s < kSplit; ++s) x[s] = sum[s][i][2 * r + 1] * 256 + sum[s][i][2 * r];
        const int all = kSplit == 2 && g >= 4 ? x[kSplit - 1] : x[0];
        segment.o[i][r] = __fmaf_rn(__int2float_rn(all - below),
                                    __fmul_rn(one, 1.0f / static_cast<float>(1 << (kField * f))),
                                    segment.o[i][r]);
        below = all;
      }
    }
  }
}

// Channel of o[i][r] for values of a width.
__device__ __forceinline__ int channel_of(int bits, int i, int r) {
  const int fields = bits == 8 ? 1 : bits == 2 ? 4 : 2;
  const int g = lane_of_warp() / 4;
  return (16 * (i / fields) + 2 * g + r) * fields + i % fields;
}

}  // namespace kvx::gpu::fused
