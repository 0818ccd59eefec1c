// One tile of any shape by a block (fixed.md, 2): rows that some queries read sealed and others
// exactly or not at all, head dims, widths and groups without a fast path.
#pragma once

#include "gpu/cache/rows.cuh"
#include "gpu/fused/case.cuh"

namespace kvx::gpu::fused {

inline constexpr int kStageRows = 32;  // exact rows of V at a time
inline constexpr int kMaxDim = attention::kMaxDim;

struct PlainMemory {
  float4 stage[kStageRows * kMaxDim / 4];
  float q[kBlockQueries][kMaxDim];
  int digits[kBlockQueries][kMaxDim];          // of q * s
  float key_unit[kBlockQueries][kMaxDim];      // by K group: 2^(e - 14); along tokens one
  float key_zero[kBlockQueries][kMaxDim];      // zero sums
  float p[kBlockQueries][kTileRows];           // scores, then weights
  uint32_t weights[kBlockQueries][kTileRows];  // digits of p * s of a V group
  int sums[kBlockQueries][kMaxDim];
  int value_unit[kBlockQueries];  // eu - 15 of a V group
  float raise[kBlockQueries];     // what the part is multiplied by
  int down[kBlockQueries];        // D
  bool present[kBlockQueries];    // whether the query sees a row
};

// A part of the work of a block on one tile. Widths of codes that are 0: any.
template <int kKeyBits, int kValueBits>
class PlainTile {
  // Unpacking any width is long enough as it is.
  static constexpr int kUnrolled = kKeyBits == 0 ? 1 : 4;

 public:
  // `parts`: of the segment, `stride` floats from query to query.
  __device__ PlainTile(const KernelArgs& args, const attention::QueryTile& tile,
                       const Limits& limits, int index, PlainMemory& memory, float* parts,
                       int stride)
      : args_(args),
        a_(args.attend),
        tile_(tile),
        limits_(limits),
        base_(index * kTileRows),
        dim_(a_.view[0].shape.head_dim),
        queries_(tile.count),
        memory_(memory),
        parts_(parts),
        stride_(stride),
        thread_(static_cast<int>(threadIdx.x)),
        threads_(static_cast<int>(blockDim.x)) {}

  __device__ void run() {
    for (int query = 0; query < queries_; ++query)
      for (int i = thread_; i < dim_; i += threads_)
        memory_.q[query][i] = a_.q[limits_.at[query] + i];
    __syncthreads();
    if (a_.view[0].format.along_tokens) {
      score_along_tokens();
    } else {
      score_along_channels();
    }
    score_exact();
    __syncthreads();
    weigh();
    __syncthreads();
    const int group = a_.view[1].format.group;
    for (int g = 0; g < dim_ / group; ++g) add_group(g, group);
    add_exact();
    __syncthreads();
  }

 private:
  __device__ bool sees(int query, int row) const { return base_ + row < limits_.visible[query]; }
  __device__ bool sealed(int side, int query, int row) const {
    return base_ + row < limits_.sealed[side][query];
  }
  // Rows of the tile below the farthest of some limit.
  __device__ int rows_below(const int32_t (&limit)[kBlockQueries]) const {
    int32_t most = 0;
    for (int i = 0; i < queries_; ++i) most = max(most, limit[i]);
    return min(max(most - base_, 0), kTileRows);
  }
  __device__ int warp() const { return thread_ / 32; }
  __device__ int lane() const { return thread_ % 32; }
  __device__ int warps() const { return threads_ / 32; }

  __device__ float scale_at(int side, int64_t i) const { return half_at(a_.view[side].scale, i); }
  __device__ float zero_at(int side, int64_t i) const {
    const SideView& view = a_.view[side];
    return __fmul_rn(half_at(view.format.zero_bytes == 0 ? view.scale : view.zero, i),
                     args_.scheme.side[side].zero_factor);
  }
  __device__ int64_t group_of(int side, int row, int channel) const {
    return a_.view[side].group_of(tile_.span.slot, tile_.head, base_ + row, channel);
  }
  template <int kSide>
  __device__ int bits() const {
    constexpr int kBits = kSide == 0 ? kKeyBits : kValueBits;
    return kBits == 0 ? a_.view[kSide].format.bits : kBits;
  }
  // The codes of a sealed row, and eight of them.
  __device__ const std::byte* codes(int side, int row) const {
    return a_.view[side].row(tile_.span.slot, tile_.head, base_ + row);
  }
  template <int kSide>
  __device__ void codes8(const std::byte* from, int channel, uint32_t (&code)[8]) const {
    unpack8(from + channel / 8 * bits<kSide>(), bits<kSide>(), code);
#pragma unroll
    for (int i = 0; i < 8; ++i) code[i] ^= args_.scheme.side[kSide].flip;
  }

  // Steps 1 and 2 of a K group by a warp: channels [first, first + count). `at`: the group's scale
  // and zero along tokens; along channels negative.
  __device__ void digits_of(int query, int first, int count, int64_t at, float& unit,
                            float& zero) const {
    const float* q = memory_.q[query] + first;
    uint32_t most = 0;
    for (int j = lane(); j < count; j += 32) {
      const float y = at < 0 ? q[j] : __fmul_rn(q[j], scale_at(0, at + j));
      most = max(most, __float_as_uint(y) & 0x7FFFFFFFu);
    }
    const uint32_t exponent = query_exponent(__reduce_max_sync(~0u, most));
    for (int j = lane(); j < count; j += 32) {
      const float y = at < 0 ? q[j] : __fmul_rn(q[j], scale_at(0, at + j));
      memory_.digits[query][first + j] = nearest(y, query_factor(exponent));
    }
    float r[2] = {};
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int begin = 4 * (lane() + 32 * half);
      for (int j = begin; j < min(begin + 4, count); ++j)
        r[half] = __fmaf_rn(q[j], at < 0 ? 1.0f : zero_at(0, at + j), r[half]);
    }
    float sum = __fadd_rn(r[0], r[1]);
    for (int h = 16; h >= 1; h /= 2) sum = __fadd_rn(sum, __shfl_xor_sync(~0u, sum, h));
    unit = power(exponent_of(exponent) - 14);
    zero = sum;
  }

  // Steps 1, 2, 3a: group by group.
  __device__ void score_along_tokens() {
    const int rows = rows_below(limits_.sealed[0]), g = a_.view[0].format.group;
    for (int from = 0; from < rows;) {
      const int to = min(rows, ((base_ + from) / g + 1) * g - base_);
      for (int query = warp(); query < queries_; query += warps()) {
        float unit, zero;
        digits_of(query, 0, dim_, group_of(0, from, 0), unit, zero);
        if (lane() == 0) {
          memory_.key_unit[query][0] = __fmul_rn(args_.scale, unit);
          memory_.key_zero[query][0] = __fmul_rn(zero, args_.scale);
        }
      }
      __syncthreads();
      for (int i = thread_; i < (to - from) * queries_; i += threads_) {
        const int row = from + i % (to - from), query = i / (to - from);
        if (!sealed(0, query, row)) continue;
        const std::byte* from = codes(0, row);
        int s = 0;
#pragma unroll kUnrolled
        for (int c = 0; c < dim_; c += 8) {
          uint32_t code[8];
          codes8<0>(from, c, code);
#pragma unroll
          for (int e = 0; e < 8; ++e) s += static_cast<int>(code[e]) * memory_.digits[query][c + e];
        }
        memory_.p[query][row] =
            __fmaf_rn(__int2float_rn(s), memory_.key_unit[query][0], memory_.key_zero[query][0]);
      }
      __syncthreads();
      from = to;
    }
  }

  // Steps 1, 2, 3b.
  __device__ void score_along_channels() {
    const int rows = rows_below(limits_.sealed[0]), g = a_.view[0].format.group;
    if (rows == 0) return;
    for (int query = warp(); query < queries_; query += warps()) {
      for (int group = 0; group < dim_ / g; ++group) {
        float unit, zero;
        digits_of(query, group * g, g, -1, unit, zero);
        if (lane() == 0)
          memory_.key_unit[query][group] = unit, memory_.key_zero[query][group] = zero;
      }
    }
    __syncthreads();
    for (int i = thread_; i < rows * queries_; i += threads_) {
      const int row = i % rows, query = i / rows;
      if (!sealed(0, query, row)) continue;
      const int64_t at = group_of(0, row, 0);
      const std::byte* from = codes(0, row);
      int s = 0;
      float x = 0.0f;
      for (int c = 0; c < dim_; c += 8) {
        uint32_t code[8];
        codes8<0>(from, c, code);
#pragma unroll
        for (int e = 0; e < 8; ++e) {
          s += static_cast<int>(code[e]) * memory_.digits[query][c + e];
          if ((c + e + 1) % g != 0) continue;
          const int group = (c + e) / g;
          x = __fmaf_rn(__int2float_rn(s),
                        __fmul_rn(scale_at(0, at + group), memory_.key_unit[query][group]), x);
          x = __fmaf_rn(memory_.key_zero[query][group], zero_at(0, at + group), x);
          s = 0;
        }
      }
      memory_.p[query][row] = __fmul_rn(x, args_.scale);
    }
  }

  // Step 3c.
  __device__ void score_exact() {
    const int rows = rows_below(limits_.visible);
    for (int i = thread_; i < rows * queries_; i += threads_) {
      const int row = i % rows, query = i / rows;
      if (!sees(query, row) || sealed(0, query, row)) continue;
      memory_.p[query][row] = __fmul_rn(dot_exact(row, memory_.q[query]), args_.scale);
    }
  }
  // The chain of load_exact8's numbers, with loads ahead of it.
  __device__ float dot_exact(int row, const float* q) const {
    const int32_t token = base_ + row;
    const PassSpan& span = tile_.span;
    const int64_t at =
        ((int64_t{span.row} + token - span.first) * a_.view[0].shape.kv_heads + tile_.head) * dim_;
    float x = 0.0f;
    if (token >= span.first && a_.k.type == ScalarType::kF32) {
      const auto* from = reinterpret_cast<const float4*>(static_cast<const float*>(a_.k.data) + at);
#pragma unroll 8
      for (int c = 0; c < dim_ / 4; ++c) {
        const float4 k4 = from[c];
        const float k[4] = {k4.x, k4.y, k4.z, k4.w};
#pragma unroll
        for (int e = 0; e < 4; ++e) x = __fmaf_rn(q[4 * c + e], fl16(k[e]), x);
      }
      return x;
    }
    const auto* from = reinterpret_cast<const uint4*>(
        token >= span.first ? static_cast<const uint16_t*>(a_.k.data) + at
                            : a_.view[0].exact_row(span.slot, tile_.head, token));
#pragma unroll 4
    for (int c = 0; c < dim_ / 8; ++c) {
      const uint4 w = from[c];
      const uint32_t word[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
      for (int e = 0; e < 8; ++e)
        x = __fmaf_rn(q[8 * c + e],
                      f16_decode(static_cast<uint16_t>(word[e / 2] >> (16 * (e % 2)))), x);
    }
    return x;
  }

  // Steps 4 and 5, and M and L of step 10.
  __device__ void weigh() {
    for (int query = warp(); query < queries_; query += warps()) {
      Exponential e[4];
      int most = kNoMaximum;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = 4 * lane() + i;
        if (!sees(query, row)) continue;
        e[i] = exponential(clamp_score(memory_.p[query][row]));
        most = max(most, e[i].n);
      }
      const int m = __reduce_max_sync(~0u, most);
      int mass = 0;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int row = 4 * lane() + i;
        const float p = sees(query, row) ? weight(e[i], m) : 0.0f;
        memory_.p[query][row] = p;
        mass += nearest(p, 1.0f);
      }
      const int l = __reduce_add_sync(~0u, mass);
      if (lane() != 0) continue;
      memory_.present[query] = m != kNoMaximum;
      if (m == kNoMaximum) continue;
      float* part = parts_ + query * stride_;
      const int before = __float_as_int(part[args_.part.maximum()]), after = max(before, m);
      memory_.raise[query] = power(before - after);
      memory_.down[query] = m - after;
      part[args_.part.maximum()] = __int_as_float(after);
      float& sum = part[args_.part.mass()];
      sum =
          __fmaf_rn(__int2float_rn(l), power(m - after - 21), __fmul_rn(sum, memory_.raise[query]));
    }
  }

  // Steps 6 to 8 of a V group, and its part of step 10.
  __device__ void add_group(int group, int channels) {
    for (int query = warp(); query < queries_; query += warps()) value_digits(query, group);
    for (int i = thread_; i < queries_ * channels; i += threads_)
      memory_.sums[i / channels][i % channels] = 0;
    __syncthreads();
    if (channels % 8 == 0) {
      sum_octets(group * channels, channels);
    } else {
      sum_values(group * channels, channels);
    }
    __syncthreads();
    for (int i = thread_; i < queries_ * channels; i += threads_) {
      const int query = i / channels, channel = i % channels;
      if (!memory_.present[query]) continue;
      float& o = parts_[query * stride_ + group * channels + channel];
      o = __fmaf_rn(__int2float_rn(memory_.sums[query][channel]),
                    power(memory_.down[query] + memory_.value_unit[query]),
                    __fmul_rn(o, memory_.raise[query]));
    }
    __syncthreads();
  }

  __device__ void value_digits(int query, int group) {
    float u[4], b = 0.0f;
    uint32_t most_u = 0, most_z = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int row = 4 * lane() + i;
      const float p = memory_.p[query][row];
      float s = 0.0f, z = 0.0f;
      if (sealed(1, query, row)) {
        const int64_t at = group_of(1, row, 0) + group;
        s = scale_at(1, at), z = zero_at(1, at);
      }
      u[i] = __fmul_rn(p, s);
      b = __fmaf_rn(p, z, b);
      most_u = max(most_u, __float_as_uint(u[i]));
      most_z = max(most_z, __float_as_uint(z) & 0x7FFFFFFFu);
    }
    const uint32_t eu = weight_exponent(__reduce_max_sync(~0u, most_u));
    const uint32_t ez = zero_exponent(__reduce_max_sync(~0u, most_z));
#pragma unroll
    for (int i = 0; i < 4; ++i)
      memory_.weights[query][4 * lane() + i] =
          static_cast<uint32_t>(nearest(u[i], weight_factor(eu)));
    const int zi = __reduce_add_sync(~0u, nearest(b, zero_factor(ez)));
    if (lane() != 0 || !memory_.present[query]) return;
    memory_.value_unit[query] = exponent_of(eu) - (21 + 15);
    float& z = parts_[query * stride_ + dim_ + group];
    z = __fmaf_rn(__int2float_rn(zi), power(memory_.down[query] + exponent_of(ez) - 18),
                  __fmul_rn(z, memory_.raise[query]));
  }

  // Step 8, eight channels and some rows a thread.
  __device__ void sum_octets(int first, int channels) {
    const int rows = rows_below(limits_.sealed[1]), octets = channels / 8;
    const int slices = threads_ / octets;
    const int octet = thread_ % octets, slice = thread_ / octets;
    if (slice >= slices || rows == 0) return;
    int sum[kBlockQueries][8] = {};
    const std::byte* from = codes(1, 0);  // a tile lies in one page
    const int64_t row_bytes = a_.view[1].format.row_bytes(dim_);
#pragma unroll kUnrolled
    for (int row = slice; row < rows; row += slices) {
      uint32_t code[8];
      codes8<1>(from + row * row_bytes, first + 8 * octet, code);
#pragma unroll
      for (int query = 0; query < kBlockQueries; ++query) {
        if (query >= queries_) break;
        const uint32_t p = memory_.weights[query][row];
#pragma unroll
        for (int e = 0; e < 8; ++e) sum[query][e] += static_cast<int>(p * code[e]);
      }
    }
#pragma unroll
    for (int query = 0; query < kBlockQueries; ++query) {
      if (query >= queries_) break;
#pragma unroll
      for (int e = 0; e < 8; ++e) atomicAdd(&memory_.sums[query][8 * octet + e], sum[query][e]);
    }
  }

  // The same for groups that part a row elsewhere.
  __device__ void sum_values(int first, int channels) {
    const int rows = rows_below(limits_.sealed[1]);
    for (int i = thread_; i < channels * rows; i += threads_) {
      const int channel = first + i % channels, row = i / channels;
      uint32_t code[8];
      codes8<1>(codes(1, row), channel / 8 * 8, code);
      uint32_t mine = 0;
#pragma unroll
      for (int e = 0; e < 8; ++e)
        if (channel % 8 == e) mine = code[e];
      for (int query = 0; query < queries_; ++query)
        atomicAdd(&memory_.sums[query][i % channels],
                  static_cast<int>(memory_.weights[query][row] * mine));
    }
  }

  // Step 9, and its part of step 10: a thread has some channels of some queries.
  __device__ void add_exact() {
    constexpr int kHeld = 8;
    int32_t least = limits_.sealed[1][0];
    for (int i = 1; i < queries_; ++i) least = min(least, limits_.sealed[1][i]);
    const int rows = rows_below(limits_.visible), first = max(least - base_, 0);
    if (first >= rows) return;
    float* const stage = reinterpret_cast<float*>(memory_.stage);
    float o[kHeld] = {};
    for (int from = first; from < rows; from += kStageRows) {
      const int count = min(kStageRows, rows - from);
      __syncthreads();
      for (int i = thread_; i < count * (dim_ / 8); i += threads_) {
        const int row = i / (dim_ / 8), channel = i % (dim_ / 8) * 8;
        float x[8];
        load_exact8(a_.view[1], a_.v, tile_.span, tile_.head, base_ + from + row, channel, x);
#pragma unroll
        for (int e = 0; e < 8; ++e) stage[row * dim_ + channel + e] = x[e];
      }
      __syncthreads();
#pragma unroll
      for (int held = 0; held < kHeld; ++held) {
        const int i = thread_ + held * threads_;
        if (i >= queries_ * dim_) break;
        const int query = i / dim_, channel = i % dim_;
        for (int row = max(limits_.sealed[1][query] - base_ - from, 0); row < count; ++row)
          if (sees(query, from + row))
            o[held] = __fmaf_rn(memory_.p[query][from + row], stage[row * dim_ + channel], o[held]);
      }
    }
#pragma unroll
    for (int held = 0; held < kHeld; ++held) {
      const int i = thread_ + held * threads_;
      if (i >= queries_ * dim_) break;
      const int query = i / dim_;
      if (!memory_.present[query]) continue;
      float& sum = parts_[query * stride_ + i % dim_];
      sum = __fmaf_rn(o[held], power(memory_.down[query] - 21), sum);
    }
  }

  const KernelArgs& args_;
  const AttendArgs& a_;
  const attention::QueryTile tile_;
  const Limits& limits_;
  const int base_, dim_, queries_;
  PlainMemory& memory_;
  float* const parts_;
  const int stride_, thread_, threads_;
};

// A function of its own, so that it costs the kernels' fast paths no registers.
template <int kKeyBits, int kValueBits>
__device__ __noinline__ void plain_tile(const KernelArgs& args, int span_index, int head,
                                        int first_query, int queries, const Limits& limits,
                                        int index, PlainMemory& memory, float* parts, int stride) {
  const attention::QueryTile tile(args.attend, span_index, head, first_query, queries);
  PlainTile<kKeyBits, kValueBits>(args, tile, limits, index, memory, parts, stride).run();
}

}  // namespace kvx::gpu::fused
