// Attention of many queries. A block takes up to kPrefillQueries queries of one KV head, 16 a warp,
// through the tiles of a part of the rows: the block unpacks each tile's codes to bytes once, while
// the copies of the next one are under way, and every warpgroup multiplies them with the digits of
// its own queries. Tiles that some query reads otherwise than sealed come last, as plain tiles.
#pragma once

#include "gpu/common/dependency.cuh"
#include "gpu/common/shared_memory.cuh"
#include "gpu/fused/async_copy.cuh"
#include "gpu/fused/plain_tile.cuh"
#include "gpu/fused/prefill_values.cuh"

namespace kvx::gpu::fused {

// A tile of any kind, four of the block's queries at a time, behind their parts [query][PartShape].
__device__ __noinline__ inline void add_plain_tile(const KernelArgs& args,
                                                   const attention::QueryTile block, int tile,
                                                   float* parts, Limits& limits,
                                                   PlainMemory& memory) {
  const int floats = args.part.floats();
  for (int i = 0; i < block.count; i += kBlockQueries) {
    const attention::QueryTile few(args.attend, static_cast<int>(blockIdx.z), block.head,
                                   block.first + i, kBlockQueries);
    if (few.newest < tile * kTileRows) continue;
    __syncthreads();
    if (threadIdx.x < kBlockQueries) limits.set(static_cast<int>(threadIdx.x), args.attend, few);
    __syncthreads();
    PlainTile<0, 0>(args, few, limits, tile, memory, parts + i * floats, floats).run();
  }
}

// What all threads of a block know of it, in shared memory.
struct PrefillBlock {
  attention::QueryTile tile;
  int part;
  // Rows that the first and last query of a warpgroup see; of one without queries none.
  int least[kPrefillWarps / 4], newest[kPrefillWarps / 4];

  __device__ PrefillBlock(const attention::QueryTile& of, int number) : tile(of), part(number) {
    for (int i = 0; i < kPrefillWarps / 4; ++i) {
      const int first = 64 * i, last = min(first + 64, tile.count) - 1;
      least[i] = newest[i] = 0;
      if (first <= last) least[i] = tile.position(first) + 1, newest[i] = tile.position(last) + 1;
    }
  }
};

// kSets: of K's digits, along tokens at most so many a tile.
template <int kDim, bool kAlongTokens, int kSets, int kGroups>
class Prefill {
 public:
  __device__ Prefill(const KernelArgs& args, const PrefillPlan& plan, const PrefillBlock& block,
                     std::byte* shared)
      : args_(args), plan_(plan), block_(block), tile_(block.tile), shared_(shared) {
#pragma unroll
    for (int r = 0; r < 2; ++r) visible_[r] = tile_.position(held(r)) + 1;
  }

  __device__ void run() {
    const int tiles = tile_.newest / kTileRows + 1, part_tiles = args_.part_rows / kTileRows;
    const int first = block_.part * part_tiles, end = min(tiles, first + part_tiles);
    const int fast = min(uniform(), end);
    clear_levels();
    sums_.clear();
    load_queries();
    if (first < fast) {
      const int32_t page = page_of(first);
      request(0, first, page);
      request(1, first, page);
      wait_for_own_copies();
      __syncthreads();
      unpack_keys(first);
    }
#pragma unroll 1
    for (int i = first; i < fast; ++i) {
      const bool more = i + 1 < fast;
      const int32_t page = more ? page_of(i + 1) : 0;
      // K's bytes are there; V's of the tile before are not wanted any more.
      wait_for_own_copies();
      __syncthreads();
      unpack_values(i);
      if (more) request(0, i + 1, page);
      const bool sees = i * kTileRows < newest_visible();
      RowNumbers rows;
      bool far = false;
      if (sees) far = score(rows);
      wait_for_own_copies();
      __syncthreads();
      if (more) {
        unpack_keys(i + 1);
        request(1, i + 1, page);
      }
      if (sees) add(i, far, rows);
      end_tile(i, end);
    }
#pragma unroll 1
    for (int i = max(first, fast); i < end; ++i) {
      add_plain(i);
      end_tile(i, end);
    }
    if (whole()) give_out();
  }

 private:
  __device__ int query_of(int r) const { return 16 * at_.warp + at_.g + 8 * r; }
  // One without a query computes that of the last.
  __device__ int held(int r) const { return min(query_of(r), tile_.count - 1); }
  // Of the query's q and out.
  __device__ int64_t place(int r) const { return tile_.at(args_.attend, held(r)); }
  // O of its span; unless all rows are the block's, its part.
  __device__ float* part_of(int r) const {
    return whole()
               ? args_.attend.scratch + place(r)
               : scratch_part(args_, static_cast<int>(blockIdx.z), tile_.first / kPrefillQueries,
                              tile_.head, query_of(r), block_.part);
  }
  __device__ bool there(int r) const { return query_of(r) < tile_.count; }
  __device__ bool whole() const { return args_.part_rows > kSpanRows; }
  template <class T>
  __device__ T* at(int offset) const {
    return reinterpret_cast<T*>(shared_ + offset);
  }
  // Rows that the first and last query of the warpgroup see.
  __device__ int least_visible() const { return block_.least[at_.warp / 4]; }
  __device__ int newest_visible() const { return block_.newest[at_.warp / 4]; }

  // Tiles [0, uniform()) are read sealed by every query that sees their rows.
  __device__ int uniform() const {
    const int i = min(static_cast<int>(threadIdx.x), tile_.count - 1);
    const int32_t position = tile_.position(i);
    int32_t sealed = position + 1;
#pragma unroll
    for (int side = 0; side < 2; ++side)
      sealed = min(sealed, attention::boundary(args_.attend.view[side], tile_.span,
                                               args_.attend.pass.reads, position));
    const int mine = sealed > position ? kMostTiles : sealed / kTileRows;
    int* const of_warps = at<int>(plan_.limits);
    const int least = -__reduce_max_sync(~0u, -mine);
    if (at_.lane == 0) of_warps[at_.warp] = least;
    __syncthreads();
    int r = of_warps[0];
#pragma unroll
    for (int i = 1; i < kPrefillWarps; ++i) r = min(r, of_warps[i]);
    return r;
  }

  // Copies.
  __device__ int page_number(int tile) const {
    return static_cast<int>(static_cast<uint64_t>(tile) * plan_.page_tiles >> 32);
  }
  __device__ int32_t page_of(int tile) const {
    const SideView& view = args_.attend.view[0];
    return view.pages[int64_t{tile_.span.slot} * view.pages_per_slot + page_number(tile)];
  }
  // Asks for a side of a tile, which lies in this page.
  __device__ void request(int side, int tile, int64_t page) const {
    const SideView& view = args_.attend.view[side];
    const SideGeometry& g = args_.side[side];
    const int page_tiles = view.shape.page_tokens / kTileRows;
    const int64_t place = (page * view.shape.kv_heads + tile_.head) * page_tiles + tile -
                          page_number(tile) * page_tiles;
    const std::byte* codes = view.codes + place * g.code_tile;
    const int64_t meta = (g.meta_tiles == 1 ? place : place / g.meta_tiles) * g.meta_tile;
    std::byte* to = at<std::byte>(plan_.raw[side]);
    copy(to, codes, g.code_tile, side == 0 ? 0 : plan_.four_rows);
    to += plan_.code_bytes[side];
    copy(to, view.scale + meta, g.meta_tile, 0);
    if (g.zero_stage > 0) copy(to + g.meta_tile, view.zero + meta, g.meta_tile, 0);
  }
  // `gap`: 16 bytes of it behind every 2^16 / gap chunks of 16 bytes.
  __device__ static void copy(std::byte* to, const std::byte* from, int bytes, int gap) {
#pragma unroll 2
    for (int i = thread_of_block(); i * 16 < bytes; i += kPrefillThreads)
      copy16(to + (i + (i * gap >> 16)) * 16, from + i * 16);
  }

  // Unpacking.
  __device__ void unpack_keys(int tile) const {
    const std::byte* raw = at<std::byte>(plan_.raw[0]);
    const uint32_t flip = args_.scheme.side[0].flip;
    std::byte* to = at<std::byte>(plan_.keys);
    switch (args_.attend.view[0].format.bits) {
      case 2:
        fused::unpack_keys<2, kDim>(raw, flip, to);
        break;
      case 3:
        fused::unpack_keys<3, kDim>(raw, flip, to);
        break;
      case 4:
        fused::unpack_keys<4, kDim>(raw, flip, to);
        break;
      default:
        fused::unpack_keys<8, kDim>(raw, flip, to);
    }
    numbers(0, tile, args_.side[0].sets, kAlongTokens ? kDim : kTileRows, kAlongTokens);
    show_to_products();
  }
  __device__ void unpack_values(int tile) const {
    const std::byte* raw = at<std::byte>(plan_.raw[1]);
    const uint32_t flip = args_.scheme.side[1].flip;
    std::byte* to = at<std::byte>(plan_.values);
    switch (args_.attend.view[1].format.bits) {
      case 2:
        fused::unpack_values<2, kDim>(raw, flip, to);
        break;
      case 3:
        fused::unpack_values<3, kDim>(raw, flip, to);
        break;
      case 4:
        fused::unpack_values<4, kDim>(raw, flip, to);
        break;
      default:
        fused::unpack_values<8, kDim>(raw, flip, to);
    }
    numbers(1, tile, kGroups, kTileRows, false);
    show_to_products();
  }
  __device__ void numbers(int side, int tile, int sets, int count, bool along_tokens) const {
    const SideGeometry& g = args_.side[side];
    const std::byte* scale = at<std::byte>(plan_.raw[side]) + plan_.code_bytes[side];
    unpack_numbers(scale, g.zero_stage > 0 ? scale + g.meta_tile : scale,
                   args_.scheme.side[side].zero_factor, sets, count, along_tokens,
                   tile_.newest + 1 - tile * kTileRows, at<float>(plan_.numbers[side]));
  }

  // Queries.
  __device__ auto& queries() const { return at<WarpQueries<kDim>>(plan_.queries)[at_.warp]; }
  __device__ auto& channel_digits() const {
    return at<ChannelDigits<kDim, kSets>>(plan_.queries)[at_.warp];
  }
  __device__ void load_queries() const {
    const float* const q[2] = {args_.attend.q + place(0), args_.attend.q + place(1)};
    if constexpr (kAlongTokens) {
#pragma unroll
      for (int w = 0; w < kDim / 16; ++w)
#pragma unroll
        for (int r = 0; r < 2; ++r)
          queries().q[w][r][at_.lane] = *reinterpret_cast<const float4*>(q[r] + 16 * w + 4 * at_.t);
    } else {
      digits_along_channels<kDim, kSets>(q, at_, channel_digits());
    }
  }

  // Step 3. Returns whether scores may leave the clamp's range.
  __device__ bool score(RowNumbers& rows) const {
    const Columns keys(at<std::byte>(plan_.keys));
    const float* const numbers = at<float>(plan_.numbers[0]);
    if constexpr (kAlongTokens) {
      bool far = false;
      DigitPlanes<kDim / 32> digits;
      QueryFactors f;
      const int shift = args_.side[0].sets == 4 ? 0 : args_.side[0].sets == 2 ? 1 : 2;
#pragma unroll
      for (int i = 0; i < kSets; ++i) {
        const int set = kSets == 1 ? 0 : i >> shift;
        const float* scale = numbers + set * 2 * kDim;
        far |= digits_along_tokens<kDim>(queries(), at_, scale, scale + kDim,
                                         args_.attend.view[0].format.bits, args_.scale, digits, f);
        score_along_tokens<kDim, 4 / kSets>(keys, i * (4 / kSets), digits, f, rows);
      }
      return far;
    } else {
      score_along_channels<kDim, kSets>(keys, numbers, at_, channel_digits(), args_.scale, rows);
      return true;
    }
  }

  // Steps 4 to 8, and 10.
  __device__ void add(int tile, bool far, RowNumbers& rows) {
    const Seen seen{{visible_[0] - tile * kTileRows, visible_[1] - tile * kTileRows},
                    (tile + 1) * kTileRows > least_visible()};
    int m[2], l[2], down[2];
    weigh_rows(far, seen, at_.t, rows, m, l);
    sums_.begin_tile(m, l, down);
    const float* const numbers = at<float>(plan_.numbers[1]);
    const Columns values(at<std::byte>(plan_.values));
#pragma unroll
    for (int group = 0; group < kGroups; ++group) {
      WeightDigits digits;
      const float* scale = numbers + group * 2 * kTileRows;
      digest<kGroups == 1>(scale, scale + kTileRows, seen, at_, rows, digits);
      sums_.add(values, group, digits, down);
    }
  }

  // A tile of any kind, through the segment's sums in shared memory.
  __device__ void add_plain(int tile) {
    float* const parts = at<float>(plan_.parts);
    const int floats = args_.part.floats();
    __syncthreads();
#pragma unroll
    for (int r = 0; r < 2; ++r) exchange<true>(r, parts + query_of(r) * floats);
    add_plain_tile(args_, tile_, tile, parts, *at<Limits>(plan_.limits),
                   *at<PlainMemory>(plan_.plain));
    __syncthreads();
#pragma unroll
    for (int r = 0; r < 2; ++r) exchange<false>(r, parts + query_of(r) * floats);
  }

  // The segment's sums of a lane's query to a part, or back.
  template <bool kTo>
  __device__ void exchange(int r, float* part) {
    const auto move = [](float& of_part, float& mine) {
      if constexpr (kTo) {
        of_part = mine;
      } else {
        mine = of_part;
      }
    };
#pragma unroll
    for (int j = 0; j < kDim / 8; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) move(part[8 * j + 2 * at_.t + i], sums_.o[j][2 * r + i]);
    if (kTo && at_.t > 0) return;
#pragma unroll
    for (int i = 0; i < kGroups; ++i) move(part[kDim + i], sums_.z[r][i]);
    move(part[args_.part.mass()], sums_.l[r]);
    float m = __int_as_float(sums_.m[r]);
    move(part[args_.part.maximum()], m);
    sums_.m[r] = __float_as_int(m);
  }

  // Folds (step 11). O of the span lies in the part, that of the spans before in the output.
  __device__ PrefillLevel& level(int number, int r) const {
    return at<PrefillLevel>(plan_.levels)[number * kPrefillQueries + query_of(r)];
  }
  __device__ void clear_levels() const {
    for (int i = static_cast<int>(threadIdx.x); i < 2 * kPrefillQueries; i += kPrefillThreads)
      at<PrefillLevel>(plan_.levels)[i].m = kNoMaximum;
  }
  __device__ void end_tile(int tile, int end) {
    const bool last = tile + 1 == end;
    if (last || (tile + 1) % kSegmentTiles == 0) {
      if (args_.part_rows == kSegmentRows) {
#pragma unroll
        for (int r = 0; r < 2; ++r)
          if (there(r)) exchange<true>(r, part_of(r));
      } else {
        end_segment();
        if (last || (tile + 1) % (kSegmentTiles * kSpanSegments) == 0) end_span();
        sums_.clear();
      }
    }
  }
  // Folds a part into the level `number`, whose O is at `o`; x(j, i): O of channel 8 j + 2 t + i.
  template <class Values>
  __device__ void fold(int number, int r, const PrefillLevel& part, float* o, Values x) const {
    PrefillLevel& to = level(number, r);
    const PrefillLevel before = to;
    __syncwarp();
    if (part.m != kNoMaximum && there(r)) {
      const bool fresh = before.m == kNoMaximum;
      const int m = max(before.m, part.m);
      const float raise = power(before.m - m), weight = power(part.m - m);
      const auto folded = [&](float sum, float more) {
        return __fmaf_rn(more, weight, fresh ? 0.0f : __fmul_rn(sum, raise));
      };
#pragma unroll
      for (int j = 0; j < kDim / 8; ++j)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& sum = o[8 * j + 2 * at_.t + i];
          sum = folded(sum, x(j, i));
        }
      if (at_.t == 0) {
        to.m = m;
        to.l = folded(before.l, part.l);
#pragma unroll
        for (int i = 0; i < kGroups; ++i) to.z[i] = folded(before.z[i], part.z[i]);
      }
    }
    __syncwarp();
  }
  __device__ void end_segment() {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      PrefillLevel part{sums_.m[r], sums_.l[r], {}};
#pragma unroll
      for (int i = 0; i < kGroups; ++i) part.z[i] = sums_.z[r][i];
      fold(0, r, part, part_of(r), [&](int j, int i) { return sums_.o[j][2 * r + i]; });
    }
  }
  __device__ void end_span() const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      PrefillLevel& span = level(0, r);
      const PrefillLevel part = span;
      __syncwarp();
      if (whole()) {
        const float* const o = part_of(r) + 2 * at_.t;
        fold(1, r, part, args_.attend.out + place(r), [&](int j, int i) { return o[8 * j + i]; });
        if (at_.t == 0) span.m = kNoMaximum;
      } else if (at_.t == 0 && there(r)) {
        const bool none = part.m == kNoMaximum;
        float* const to = part_of(r);
#pragma unroll
        for (int i = 0; i < kGroups; ++i) to[kDim + i] = none ? 0.0f : part.z[i];
        to[args_.part.mass()] = none ? 0.0f : part.l;
        to[args_.part.maximum()] = __int_as_float(part.m);
      }
      __syncwarp();
    }
  }
  // Step 12.
  __device__ void give_out() const {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const PrefillLevel all = level(1, r);
      if (!there(r)) continue;
      float* const out = args_.attend.out + place(r) + 2 * at_.t;
#pragma unroll 1
      for (int j = 0; j < kDim / 8; ++j)
#pragma unroll
        for (int i = 0; i < 2; ++i) {
          float& o = out[8 * j + i];
          o = finish(o, all.z[j * kGroups / (kDim / 8)], all.l);
        }
    }
  }

  static constexpr int kMostTiles = 1 << 28;

  const KernelArgs& args_;
  const PrefillPlan& plan_;
  const PrefillBlock& block_;
  const attention::QueryTile& tile_;
  std::byte* const shared_;
  const Fragment at_;
  int32_t visible_[2];
  QuerySums<kDim, kGroups> sums_;
};

// blockIdx.x: part of the rows and query tile, the last tile first; y: KV head; z: span of the
// pass.
template <int kDim, bool kAlongTokens, int kSets, int kGroups>
__global__ void __launch_bounds__(kPrefillThreads, 8 / kPrefillWarps)
    prefill_kernel(const __grid_constant__ KernelArgs args,
                   const __grid_constant__ PrefillPlan plan) {
  wait_for_predecessors();
  let_successor_begin();
  const int block = static_cast<int>(blockIdx.x), part = block % args.parts;
  const int query_tile = args.tiles - 1 - block / args.parts;
  const attention::QueryTile tile(args.attend, static_cast<int>(blockIdx.z),
                                  static_cast<int>(blockIdx.y), query_tile * kPrefillQueries,
                                  kPrefillQueries);
  if (tile.count <= 0 || tile.span.exact || part * int64_t{args.part_rows} > tile.newest) return;
  std::byte* const shared = dynamic_shared<std::byte>();
  std::byte* const begin = shared + (0u - shared_address(shared)) % kPrefillAlign;
  auto& of_block = *reinterpret_cast<PrefillBlock*>(begin + plan.block);
  if (threadIdx.x == 0) of_block = PrefillBlock(tile, part);
  __syncthreads();
  Prefill<kDim, kAlongTokens, kSets, kGroups>(args, plan, of_block, begin).run();
}

}  // namespace kvx::gpu::fused
