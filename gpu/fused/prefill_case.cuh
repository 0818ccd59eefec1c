// What a block of prefill attention works on: up to kPrefillQueries queries of one KV head, 16 of
// them a warp's.
//
// Fragments are those of m16n8k32 (mma.cuh) with queries as rows: lane 4 g + t has queries g and
// g + 8 of its warp. Where a tile's 128 rows, or a row's channels, are the other index, a lane has
// four in a row of every 16: 16 w + 4 t .., word w of kWords.
#pragma once

#include "gpu/fused/case.cuh"
#include "gpu/fused/digits.cuh"
#include "gpu/fused/fold.cuh"

namespace kvx::gpu::fused {

inline constexpr int kPrefillWarps = kPrefillQueries / 16;
inline constexpr int kPrefillThreads = 32 * kPrefillWarps;
inline constexpr int kRowWords = kTileRows / 16;

// A query's sums of a span, or of all spans before, but for O.
struct PrefillLevel {
  int m;
  float l, z[kMostGroups];
};

// A block's shared memory, in bytes from its first multiple of kPrefillAlign.
inline constexpr unsigned kPrefillAlign = 1024;
struct PrefillPlan {
  int block = 0;    // PrefillBlock
  int levels = 0;   // [2][query] PrefillLevel: of the span, of the spans before
  int limits = 0;   // Limits of kBlockQueries queries, then an integer a warp
  int queries = 0;  // K along tokens: q; along channels: digits, then factors
  int parts = 0;    // [query][PartShape] for plain tiles, where the queries were
  int keys = 0;     // bytes of a tile, tile_bytes.cuh
  int values = 0;
  int code_bytes[2] = {};  // of raw codes, by Side
  int four_rows = 0;       // 2^16 over the chunks of 16 bytes in four rows of values, rounded up
  int raw[2] = {};         // by Side: codes, scales and zeros as they lie in a page
  int numbers[2] = {};     // scales and zeros as floats
  int plain = 0;           // PlainMemory, once there is no more tile to unpack
  int bytes = 0;
  uint32_t page_tiles = 0;  // 2^32 over the tiles of a page, rounded up
};

// The lane's coordinates.
struct Fragment {
  int warp, lane, g, t;

  __device__ Fragment()
      : warp(__shfl_sync(~0u, static_cast<int>(threadIdx.x) / 32, 0)),
        lane(lane_of_warp()),
        g(lane / 4),
        t(lane % 4) {}
};

// Of the lanes that share a query.
__device__ inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(~0u, x, 1));
  return fmaxf(x, __shfl_xor_sync(~0u, x, 2));
}
__device__ inline uint32_t quad_sum(uint32_t x) {
  x += __shfl_xor_sync(~0u, x, 1);
  return x + __shfl_xor_sync(~0u, x, 2);
}

// Two planes of digits as operands, products of 32 rows or channels each.
template <int kProducts>
struct DigitPlanes {
  uint32_t high[kProducts][4], low[kProducts][4];

  // Word w of the lane's query r, from four numbers whose digits are their bytes 1 and 0.
  __device__ void set(int w, int r, const uint32_t (&d)[4], uint32_t turn_low) {
    const uint32_t a = __byte_perm(d[0], d[1], 0x5140), b = __byte_perm(d[2], d[3], 0x5140);
    low[w / 2][w % 2 * 2 + r] = __byte_perm(a, b, 0x5410) ^ turn_low;
    high[w / 2][w % 2 * 2 + r] = __byte_perm(a, b, 0x7632);
  }
};

}  // namespace kvx::gpu::fused
