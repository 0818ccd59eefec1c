// kivi: per-channel keys, per-token values, exact recent window (ref/kivi.md).
#include "gpu/cache/codec_kernels.cuh"
#include "sim/api/error.h"
#include "sim/api/fixed_refusals.h"

namespace kvx::gpu {
namespace {

// fp16; every NaN is stored as one pattern.
__device__ uint32_t pattern(float x) { return is_nan(x) ? 0x7E00u : f16_encode(x); }

struct KiviCodec {
  using Extremes = MinMax<true>;
  using Stats = uint32_t;
  static constexpr bool kAlwaysWide = false;
  static constexpr bool kAnyGroup = false;
  static constexpr bool kAlongTokens = true;
  struct Meta {
    float s, mn;
  };
  struct Group {
    uint32_t scale, zero;
    Divisor by;
  };

  float top = 0.0f;                   // Q
  float reciprocal = 0.0f;            // fl32(1 / Q)
  NonFiniteKey* scale_key = nullptr;  // as in AppendArgs
  NonFiniteKey scale_note = 0;

  __device__ Meta meta(const SideView& view, int64_t group, int) const {
    return {f16_decode(reinterpret_cast<const uint16_t*>(view.scale)[group]),
            f16_decode(reinterpret_cast<const uint16_t*>(view.zero)[group])};
  }
  __device__ float decode(uint32_t code, const Meta& m) const {
    return fl16(__fadd_rn(fl16(__fmul_rn(__uint2float_rn(code), m.s)), m.mn));
  }

  template <int kCount>
  __device__ Stats stats(const Eight* x) const {
    return Extremes::of<kCount>(x);
  }
  __device__ Stats merge(Stats a, Stats b) const { return Extremes::merge(a, b); }
  __device__ Group group(Stats stats, int) const {
    const float mn = Extremes::min(stats);
    const float range = round_half(__fsub_rn(Extremes::max(stats), mn));
    const float s = round_half(__fmul_rn(range, reciprocal));
    // s = 0: every positive d gives Q, d = 0 gives 0. s not finite: every d gives 0.
    Divisor by{0.0f, s == 0.0f ? 0x1p+60f : 0.0f};
    if (s != 0.0f && is_finite(s)) by = Divisor::of(s);
    if (scale_key != nullptr && !is_finite(s)) atomicMin(scale_key, scale_note);
    return {pattern(s), pattern(mn), by};
  }
  // Sums and differences of binary16 are rounded to it at once: through binary32 they come out the
  // same. The greater of NaN and 0 is 0, as the code of NaN.
  __device__ uint32_t encode(uint32_t pair, const Group& low, const Group& high) const {
    const __half2 d = __hsub2_rn(as_half2(pair), as_half2(low.zero | high.zero << 16));
    __half2 t =
        __floats2half2_rn(low.by.quotient(__low2float(d)), high.by.quotient(__high2float(d)));
    t = __hmin2(__hmax2(t, __float2half2_rn(0.0f)), __float2half2_rn(top));
    // In 1024 .. 2047 binary16 holds the integers.
    return as_word(__hadd2_rn(t, __float2half2_rn(1024.0f))) & 0x00FF00FFu;
  }
};

Scheme<KiviCodec> side(int bits, const SideFormat& format, int dim) {
  Scheme<KiviCodec> s;
  s.format = format;
  s.format.bits = bits;
  s.format.scale_bytes = s.format.zero_bytes = 2;
  const auto top = static_cast<float>((1 << bits) - 1);
  s.codec = {top, 1.0f / top};
  s.packing = grouped_packing(s.format, dim, true);
  s.nominal_bits = bits;
  s.affine = fused::AffineSide{};
  return s;
}

}  // namespace

std::unique_ptr<SchemeKernels> make_kivi(const Descriptor& descriptor, const CacheConfig& config) {
  const int dim = config.shape.head_dim;
  const auto g = static_cast<int32_t>(descriptor.get_int("g"));
  auto r = static_cast<int32_t>(descriptor.get_int("r"));
  if (dim % g != 0) {
    throw usage_error("kivi: g=" + std::to_string(g) + " does not divide the head dim " +
                      std::to_string(dim));
  }
  if (r % g != 0) {
    throw usage_error("kivi: r=" + std::to_string(r) +
                      " is not a multiple of g=" + std::to_string(g));
  }
  refuse_fixed_non_finite(descriptor, config);
  const bool windows = config.windows == Windows::kKept;
  if (!windows) r = 0;
  const int32_t lag = windows && descriptor.get_word("profile") == "repo" ? 1 : 0;
  SideFormat k{.group = g, .along_tokens = true, .rule = {r > 0 ? r : g, 0, lag}};
  SideFormat v{.group = g, .rule = {1, r, lag}};
  return make_codec_kernels({}, config, side(static_cast<int>(descriptor.get_int("k")), k, dim),
                            side(static_cast<int>(descriptor.get_int("v")), v, dim));
}

}  // namespace kvx::gpu
