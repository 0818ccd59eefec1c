// ggml: the block formats of llama.cpp (ref/ggml.md).
#include <algorithm>
#include <iterator>
#include <string_view>

#include "gpu/cache/codec_kernels.cuh"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

constexpr int kBlock = 32;

enum class Kind : uint8_t {
  kMagnitude,  // q8_0: d of the greatest magnitude
  kSigned,     // q4_0, q5_0: d of the value of greatest magnitude, with its sign
  kMinimum,    // q4_1, q5_1: d of the range, and the minimum
};

struct GgmlCodec {
  using Extremes = MinMax<false>;
  static constexpr bool kAnyGroup = false;
  static constexpr bool kAlongTokens = false;
  struct Meta {
    float d, m;
  };
  // kSigned: `values` is |x| << 6 | (31 - index) << 1 | sign, of which the greatest is the first of
  // the greatest. Otherwise Extremes, and `zero` is the same key of the zeros, + 64; 0: no zero
  // seen.
  struct Stats {
    uint32_t values = 0, zero = 0;
  };
  struct Group {
    uint32_t scale, zero;
    float id, m;
    bool finite;
  };

  Kind kind = Kind::kMagnitude;
  uint32_t sign = 0;   // of a code in two's complement
  int32_t middle = 0;  // what is subtracted from a code
  float half = 0.0f;   // what rounds: h + .5 or .5
  uint32_t top = 0;    // Q
  Divisor range;       // |d| = range of values / this

  __device__ Meta meta(const SideView& view, int64_t group, int) const {
    const float d = f16_decode(reinterpret_cast<const uint16_t*>(view.scale)[group]);
    // Adding -0 changes nothing, -0 included.
    if (kind != Kind::kMinimum) return {d, -0.0f};
    return {d, f16_decode(reinterpret_cast<const uint16_t*>(view.zero)[group])};
  }
  __device__ float decode(uint32_t code, const Meta& m) const {
    const int q = static_cast<int>(code ^ sign) - middle;
    return fl16(__fadd_rn(__fmul_rn(__int2float_rn(q), m.d), m.m));
  }

  __device__ static uint32_t key(uint16_t x, int index) {
    return (x & 0x7FFFu) << 6 | static_cast<uint32_t>(kBlock - 1 - index) << 1 | x >> 15;
  }
  __device__ Stats stats(const Eight& x, int first) const {
    Stats s;
    if (kind == Kind::kSigned) {
#pragma unroll
      for (int i = 0; i < 8; ++i) s.values = max(s.values, key(x.bits(i), first + i));
      return s;
    }
    s.values = Extremes::of(x);
    // The sign of the first zero matters only where zero is the minimum.
    if (kind == Kind::kMinimum && (Extremes::min_bits(s.values) & 0x7FFFu) == 0) {
#pragma unroll
      for (int i = 0; i < 8; ++i)
        if ((x.bits(i) & 0x7FFFu) == 0) s.zero = max(s.zero, 64u + key(x.bits(i), first + i));
    }
    return s;
  }
  __device__ Stats merge(const Stats& a, const Stats& b) const {
    return {kind == Kind::kSigned ? max(a.values, b.values) : Extremes::merge(a.values, b.values),
            max(a.zero, b.zero)};
  }
  __device__ Group group(const Stats& stats, int) const {
    float d, m = 0.0f;
    bool finite;
    if (kind == Kind::kSigned) {
      const auto x = static_cast<uint16_t>((stats.values & 1u) << 15 | stats.values >> 6);
      finite = f16_finite(x);
      d = __fmul_rn(f16_decode(x), -range.r);  // a power of two
    } else {
      finite = Extremes::finite(stats.values);
      if (kind == Kind::kMagnitude) {
        d = range.quotient(Extremes::magnitude(stats.values));
      } else {
        m = Extremes::min(stats.values);
        if (m == 0.0f) m = (stats.zero & 1u) != 0 ? -0.0f : 0.0f;
        // The greatest of zeros is the first one too: all zeros give +0.
        const float most = Extremes::max(stats.values);
        d = most == m ? 0.0f : range.quotient(__fsub_rn(most, m));
      }
    }
    if (!finite) return {0x7E00u, 0u, 0.0f, 0.0f, false};
    // All zeros: -0, whatever their signs.
    if (kind == Kind::kSigned && d == 0.0f) d = -0.0f;
    return {f16_encode(d), f16_encode(m), d == 0.0f ? 0.0f : __frcp_rn(d), m, true};
  }
  __device__ uint32_t encode(float x, const Group& g) const {
    if (!g.finite) return 0;
    if (kind == Kind::kMagnitude) {
      const float v = __fmul_rn(x, g.id);
      // Cutting |v| + .5 before it is cut to an integer changes no integer part.
      const auto n = static_cast<int32_t>(floor_bits(__fadd_rz(fabsf(v), 0.5f)) & 255u);
      return static_cast<uint32_t>(v < 0.0f ? -n : n);
    }
    const float from = kind == Kind::kMinimum ? __fsub_rn(x, g.m) : x;
    return min(floor_bits(__fadd_rn(__fmul_rn(from, g.id), half)) & 255u, top);
  }
};

template <class F>
__device__ GgmlCodec::Stats map_words(const GgmlCodec::Stats& stats, F f) {
  return {f(stats.values), f(stats.zero)};
}

struct Format {
  std::string_view name;
  int bits;
  Kind kind;
};
constexpr Format kFormats[] = {{"q8_0", 8, Kind::kMagnitude},
                               {"q5_1", 5, Kind::kMinimum},
                               {"q5_0", 5, Kind::kSigned},
                               {"q4_1", 4, Kind::kMinimum},
                               {"q4_0", 4, Kind::kSigned}};

// The struct of one block: d, m, fifth bits, codes.
void put_struct(std::vector<std::byte>& to, const SealedHead& head, size_t block, const Format& f) {
  const uint32_t* const codes = head.codes.data() + block * kBlock;
  put_pattern(to, head.scale[block], 2);
  if (f.kind == Kind::kMinimum) put_pattern(to, head.zero[block], 2);
  if (f.bits == 8) {
    for (int i = 0; i < kBlock; ++i) put_pattern(to, codes[i], 1);
    return;
  }
  if (f.bits == 5) {
    uint32_t fifth = 0;
    for (int i = 0; i < kBlock; ++i) fifth |= (codes[i] >> 4) << i;
    put_pattern(to, fifth, 4);
  }
  for (int i = 0; i < kBlock / 2; ++i)
    put_pattern(to, (codes[i] & 15u) | (codes[i + kBlock / 2] & 15u) << 4, 1);
}

}  // namespace

std::unique_ptr<SchemeKernels> make_ggml(const Descriptor& descriptor, const CacheConfig& config) {
  const std::string type = descriptor.get_word("type");
  const int dim = config.shape.head_dim;
  if (dim % kBlock != 0) {
    throw usage_error("ggml: the head dim " + std::to_string(dim) +
                      " is not a multiple of 32, the block of " + type);
  }
  const Format& f = *std::find_if(std::begin(kFormats), std::end(kFormats),
                                  [&](const Format& format) { return format.name == type; });
  const int middle = 1 << (f.bits - 1), blocks = dim / kBlock;
  const bool minimum = f.kind == Kind::kMinimum;

  Scheme<GgmlCodec> s;
  s.format = {.bits = f.bits, .group = kBlock, .scale_bytes = 2, .zero_bytes = minimum ? 2 : 0};
  s.nominal_bits = f.bits;
  const float range = f.kind == Kind::kMagnitude ? 127.0f
                      : minimum                  ? static_cast<float>((1 << f.bits) - 1)
                                                 : static_cast<float>(middle);
  s.codec = {.kind = f.kind,
             .sign = f.kind == Kind::kMagnitude ? 128u : 0u,
             .middle = minimum ? 0 : middle,
             .half = minimum ? 0.5f : static_cast<float>(middle) + 0.5f,
             .top = (1u << f.bits) - 1u,
             .range = {range, 1.0f / range}};
  const int qh = f.bits == 5 ? 4 : 0;
  s.packing.metadata = blocks;
  s.packing.scale_dtype = "F16";
  s.packing.bytes[Item::kScale] = 2 * blocks;
  s.packing.bytes[Item::kCodes] = (qh + (f.bits == 8 ? kBlock : kBlock / 2)) * blocks;
  if (minimum) {
    s.packing.zero_dtype = "F16";
    s.packing.bytes[Item::kZero] = 2 * blocks;
  }
  s.packing.packed_dtype = "U8";
  s.packing.line_words = static_cast<int>(s.packing.bytes.total());
  s.packing.block = [f, blocks](const SealedHead& head, int64_t token) {
    std::vector<std::byte> bytes;
    for (int i = 0; i < blocks; ++i)
      put_struct(bytes, head, static_cast<size_t>(token * blocks + i), f);
    return bytes;
  };
  Traits traits;
  traits.laws = static_cast<LawSet>(kAllLaws & ~static_cast<LawSet>(Law::kMetadata));
  return make_codec_kernels(traits, config, s, s);
}

}  // namespace kvx::gpu
