// Rows of kvquant as reads and attention take them: codes scaled by their vector's range, outliers
// and sink as they were given, keys rotated where they are stored unrotated.
#pragma once

#include "gpu/cache/append_math.cuh"
#include "gpu/cache/rows.cuh"
#include "gpu/kvquant/rule.h"

namespace kvx::gpu::kvquant {

struct Codec {
  int bits = 0;
  bool integer = false;
  bool paper = false;         // profile
  bool by_token = false;      // lo and hi lie in scale and zero of each row
  bool half_product = false;  // level times half range is rounded to binary16 (nfB with zr=fp16)
  bool seeks = false;         // every code is looked for in the codebook
  bool unrounded = false;     // reads give the number before it is rounded to binary16
  uint32_t code_of_zero = 0;
  int32_t per_side = 0;  // m; 0: no outliers
  // Device memory, as in Tables.
  const float* codebook = nullptr;
  const float* decoded = nullptr;
  const float* positions = nullptr;
  const Scale* scales = nullptr;
  const uint16_t* bounds = nullptr;
  const uint64_t* steps = nullptr;  // of rotary pairs; nullptr: nothing to rotate

  __device__ Scale token_scale(uint16_t lo_bits, uint16_t hi_bits) const {
    const float lo = f16_decode(lo_bits), hi = f16_decode(hi_bits);
    if (!integer) return {__fmul_rn(__fadd_rn(hi, lo), 0.5f), __fmul_rn(__fsub_rn(hi, lo), 0.5f)};
    const auto top = static_cast<float>((1 << bits) - 1);
    const float range = __fsub_rn(hi, lo);
    const float k = paper ? __fdiv_rn(top, range) : __fmul_rn(__frcp_rn(range), top);
    float o = __fmul_rn(lo, k);
    // The paper's integer offset of ranges of tokens.
    if (paper && !is_nan(o)) o = fminf(fmaxf(rintf(o), -top), 0.0f);
    return {o, k};
  }
  __device__ Scale scale_of(const SideView& view, int64_t row, int channel) const {
    if (!by_token) return channel_scale(channel);
    return token_scale(reinterpret_cast<const uint16_t*>(view.scale)[row],
                       reinterpret_cast<const uint16_t*>(view.zero)[row]);
  }
  __device__ Scale channel_scale(int channel) const {
    const float2 s = __ldg(reinterpret_cast<const float2*>(scales) + channel);
    return {s.x, s.y};
  }

  // What is not finite decodes to 0, but for outliers that are stored as they are.
  __device__ static float finite_or_0(float y) { return is_finite(y) ? y : 0.0f; }
  __device__ float inlier(uint32_t code, Scale s) const {
    if (integer) return finite_or_0(__fdiv_rn(__fadd_rn(__uint2float_rn(code), s.a), s.b));
    const float product = __fmul_rn(__ldg(decoded + code), s.b);
    if (!half_product) return finite_or_0(__fadd_rn(product, s.a));
    const float y = __fadd_rn(round_half(product), s.a);
    return finite_or_0(per_side > 0 ? y : round_half(y));
  }
  __device__ float outlier(uint16_t bits_of_x, Scale s) const {
    const float x = f16_decode(bits_of_x);
    if (paper) return x;
    return finite_or_0(integer ? x : __fadd_rn(__fsub_rn(x, s.a), s.a));
  }

  __device__ void load8(const SideView& view, const RowPlace& place, int channel,
                        float (&x)[8]) const {
    const int dim = view.shape.head_dim;
    if (place.token < view.format.rule.sink) {
      const Eight row = sink8(view, place, channel);
#pragma unroll
      for (int i = 0; i < 8; ++i) x[i] = f16_decode(row.bits(i));
      return;
    }
    uint32_t code[8];
    unpack8(view.codes + place.row * view.format.row_bytes(dim) + channel / 8 * bits, bits, code);
    const int first = place.head * dim + channel;  // of the layer's channels
    Scale s = scale_of(view, place.row, first);
    uint32_t marks = 0;
    if (per_side > 0) marks = view.marks[(place.row * dim + channel) / 8];
    const uint16_t* const outliers = view.outliers + place.row * dim + channel;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      if (!by_token && i > 0) s = channel_scale(first + i);
      const float y = (marks >> i & 1u) != 0 ? outlier(outliers[i], s) : inlier(code[i], s);
      x[i] = unrounded ? y : round_half(y);
    }
  }

  __device__ void attended8(const SideView& view, const RowPlace& place, int channel,
                            float (&x)[8]) const {
    load8(view, place, channel, x);
    if (steps == nullptr) return;
    const int half = view.shape.head_dim / 2;
    const auto position = static_cast<uint64_t>(place.token);
    float other[8];
    if (half % 8 == 0) {
      load8(view, place, channel < half ? channel + half : channel - half, other);
    } else {
#pragma unroll 1
      for (int i = 0; i < 8; ++i) {
        const int c = channel + i < half ? channel + i + half : channel + i - half;
        float eight[8];
        load8(view, place, c / 8 * 8, eight);
        float wanted = eight[0];
#pragma unroll
        for (int j = 1; j < 8; ++j)
          if (c % 8 == j) wanted = eight[j];
#pragma unroll
        for (int j = 0; j < 8; ++j)
          if (i == j) other[j] = wanted;
      }
    }
    // ieee.md, 1.8: a' = fma(a, cos, -(b sin)), b' = fma(b, cos, a sin).
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const bool lower = channel + i < half;
      const int pair = lower ? channel + i : channel + i - half;
      float sin, cos;
      sincos_phase(static_cast<uint32_t>(position * __ldg(steps + pair) >> 32), sin, cos);
      const float product = __fmul_rn(other[i], sin);
      x[i] = __fmaf_rn(x[i], cos, lower ? -product : product);
    }
  }

 private:
  __device__ static Eight sink8(const SideView& view, const RowPlace& place, int channel) {
    const uint4 w = *reinterpret_cast<const uint4*>(
        view.exact_row(place.slot, place.head, place.token) + channel);
    return {{w.x, w.y, w.z, w.w}};
  }
};

}  // namespace kvx::gpu::kvquant
