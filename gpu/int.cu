// int: round-to-nearest integers (ref/int.md).
#include "gpu/cache/codec_kernels.cuh"
#include "sim/api/error.h"
#include "sim/api/fixed_refusals.h"

namespace kvx::gpu {
namespace {

struct IntCodec {
  using Extremes = MinMax<false>;
  using Stats = uint32_t;
  static constexpr bool kAlwaysWide = false;
  static constexpr bool kAnyGroup = true;
  static constexpr bool kAlongTokens = true;
  struct Meta {
    float s, z;
  };
  struct Group {
    uint32_t scale, zero;
    Divisor by;  // s
    float z;
    uint32_t mask;  // of a pair of codes; 0: the group holds a value that is not finite
  };

  bool symmetric = false;
  uint32_t mask = 0;             // of a pair of codes
  uint32_t least = 0, most = 0;  // codes, as pairs of integers
  uint32_t sign = 0;             // of a code in two's complement; 0: codes have none
  Divisor top;                   // Q

  __device__ Meta meta(const SideView& view, int64_t group, int) const {
    const uint16_t s = reinterpret_cast<const uint16_t*>(view.scale)[group];
    if (symmetric) return {f16_decode(s), 0.0f};
    return {f16_decode(s), f16_decode(reinterpret_cast<const uint16_t*>(view.zero)[group])};
  }
  // Subtracting a zero of +0 changes no symmetric value.
  __device__ float decode(uint32_t code, const Meta& m) const {
    const int q = static_cast<int>(code ^ sign) - static_cast<int>(sign);
    return fl16(__fsub_rn(__fmul_rn(__int2float_rn(q), m.s), m.z));
  }

  __device__ Stats stats(uint16_t x) const { return Extremes::of(x); }
  template <int kCount>
  __device__ Stats stats(const Eight* x) const {
    return Extremes::of<kCount>(x);
  }
  __device__ Stats merge(Stats a, Stats b) const { return Extremes::merge(a, b); }
  __device__ Group group(Stats stats, int) const {
    if (!Extremes::finite(stats)) return {0x7E00u, 0u, {}, 0.0f, 0u};
    const float min_x = Extremes::min(stats);
    const float range = symmetric ? Extremes::magnitude(stats) : Extremes::max(stats) - min_x;
    const uint16_t s = f16_encode(top.quotient(fmaxf(range, 1e-5f)));
    const float z = symmetric ? 0.0f : 0.0f - min_x;
    return {s, f16_encode(z), Divisor::of(f16_decode(s)), z, mask};
  }
  __device__ uint32_t encode(uint32_t pair, const Group& low, const Group& high) const {
    const uint32_t codes =
        __byte_perm(code(low_half(pair), low), code(high_half(pair), high), 0x5410);
    return clamp_pair(codes, least, most) & __byte_perm(low.mask, high.mask, 0x5410);
  }
  // Below 2 Q: s is at least 2 / 3 of what it was rounded from.
  __device__ static uint32_t code(float x, const Group& g) {
    return nearest_bits(g.by.quotient(__fadd_rn(x, g.z)));
  }
};

Scheme<IntCodec> side(const Descriptor& descriptor, const std::string& name, int dim) {
  const auto bits = static_cast<int>(descriptor.get_int(name));
  const bool along_tokens = descriptor.get_word(name + "axis") == "channel";
  const bool symmetric = descriptor.has_flag("sym");
  const int64_t g = descriptor.find_int("g").value_or(along_tokens ? 32 : dim);
  if (!along_tokens && dim % g != 0) {
    throw usage_error("int: g=" + std::to_string(g) + " does not divide the head dim " +
                      std::to_string(dim) + " (" + name + " groups lie along channels)");
  }
  Scheme<IntCodec> s;
  s.format = {.bits = bits,
              .group = static_cast<int32_t>(g),
              .along_tokens = along_tokens,
              .scale_bytes = 2,
              .zero_bytes = symmetric ? 0 : 2,
              .rule = {.unit = along_tokens ? static_cast<int32_t>(g) : 1}};
  const uint32_t q = (1u << (symmetric ? bits - 1 : bits)) - 1u;
  s.codec = {.symmetric = symmetric,
             .mask = ((1u << bits) - 1u) * 0x10001u,
             .least = symmetric ? 0x10001u * (0x10000u - q & 0xFFFFu) : 0u,
             .most = 0x10001u * q,
             .sign = symmetric ? 1u << (bits - 1) : 0u,
             .top = {static_cast<float>(q), 1.0f / static_cast<float>(q)}};
  s.packing = grouped_packing(s.format, dim, false);
  s.nominal_bits = bits;
  const uint32_t half = 1u << (bits - 1);
  s.affine = symmetric ? fused::AffineSide{.flip = half, .zero_factor = -static_cast<float>(half)}
                       : fused::AffineSide{.zero_factor = -1.0f};
  return s;
}

}  // namespace

std::unique_ptr<SchemeKernels> make_int(const Descriptor& descriptor, const CacheConfig& config) {
  const int dim = config.shape.head_dim;
  if (descriptor.get_word("vaxis") == "channel")
    refuse_fixed(descriptor, config, "its groups of V lie along tokens");
  refuse_fixed_non_finite(descriptor, config);
  return make_codec_kernels({}, config, side(descriptor, "k", dim), side(descriptor, "v", dim));
}

}  // namespace kvx::gpu
