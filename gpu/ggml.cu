// ggml: the block formats of llama.cpp (ref/ggml.md).
#include <algorithm>
#include <iterator>
#include <string_view>

#include "gpu/cache/codec_kernels.cuh"
#include "sim/api/error.h"
#include "sim/api/fixed_refusals.h"

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
  static constexpr bool kAlwaysWide = true;
  struct Meta {
    float d, m;
  };
  struct Stats {
    uint32_t values;  // Extremes
    uint16_t first;   // kSigned: the first of the greatest magnitudes; kMinimum: the minimum
  };
  struct Group {
    uint32_t scale, zero;
    float id, m;
    uint32_t mask;  // of a pair of codes; 0: the block holds a value that is not finite
  };

  Kind kind = Kind::kMagnitude;
  uint32_t sign = 0;   // of a code in two's complement
  int32_t middle = 0;  // what is subtracted from a code
  float half = 0.0f;   // what rounds: h + .5 or .5
  uint32_t top = 0;    // Q, as a pair of integers
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

  // The first of 32 values that has this magnitude.
  __device__ static uint16_t first_of(const Eight* x, uint32_t magnitude) {
    uint32_t found = 0;
#pragma unroll
    for (int i = kBlock - 1; i >= 0; --i) {
      const uint32_t bits = x[i / 8].bits(i % 8);
      if ((bits & 0x7FFFu) == magnitude) found = bits;
    }
    return static_cast<uint16_t>(found);
  }
  template <int kCount>
  __device__ Stats stats(const Eight* x) const {
    static_assert(8 * kCount == kBlock);
    Stats s{Extremes::of<kCount>(x), 0};
    const uint32_t least = s.values & 0xFFFFu, most = s.values >> 16 ^ 0x8000u;
    const uint32_t low = least & 0x7FFFu, high = most & 0x7FFFu;
    s.first = static_cast<uint16_t>(kind == Kind::kSigned && high > low ? most : least);
    // Only values that differ in their sign alone need a look at which comes first.
    const bool equal = kind == Kind::kSigned ? low == high : low == 0;
    if (equal && kind != Kind::kMagnitude) s.first = first_of(x, low);
    return s;
  }
  __device__ Group group(const Stats& stats, int) const {
    if (!Extremes::finite(stats.values)) return {0x7E00u, 0u, 0.0f, 0.0f, 0u};
    float d, m = 0.0f;
    if (kind == Kind::kSigned) {
      d = __fmul_rn(f16_decode(stats.first), -range.r);  // a power of two
      // All zeros: -0, whatever their signs.
      if (d == 0.0f) d = -0.0f;
    } else if (kind == Kind::kMagnitude) {
      d = range.quotient(Extremes::magnitude(stats.values));
    } else {
      m = f16_decode(stats.first);
      // The greatest of zeros is the first one too: all zeros give +0.
      const float most = Extremes::max(stats.values);
      d = most == m ? 0.0f : range.quotient(__fsub_rn(most, m));
    }
    return {f16_encode(d), f16_encode(m), d == 0.0f ? 0.0f : __frcp_rn(d), m, 0x00FF00FFu};
  }
  template <int kCount>
  __device__ void encode(const Eight* x, const Group& g, uint32_t (*pair)[4]) const {
    const auto all = [&](auto code) {
#pragma unroll
      for (int i = 0; i < 4 * kCount; ++i) {
        const uint32_t w = x[i / 4].word[i % 4];
        pair[i / 4][i % 4] = __byte_perm(code(low_half(w)), code(high_half(w)), 0x5410);
      }
    };
    if (kind == Kind::kMagnitude) {
      // Halves away from zero: the greatest number below .5 takes all that reach .5 to the next
      // integer and no other.
      all([&](float x) {
        const float v = __fmul_rn(x, g.id);
        return static_cast<uint32_t>(__float2int_rz(__fadd_rn(v, copysignf(0x1.fffffep-2f, v))));
      });
    } else {
      // Of numbers from 0 to 2^23 the sum's low bits are the whole part.
      all([&](float x) {
        const float v = __fadd_rn(__fmul_rn(__fsub_rn(x, g.m), g.id), half);
        return __float_as_uint(__fadd_rz(v, 0x1p+23f));
      });
    }
#pragma unroll
    for (int i = 0; i < 4 * kCount; ++i) {
      uint32_t& p = pair[i / 4][i % 4];
      p = (kind == Kind::kMagnitude ? p : __vminu2(p, top)) & g.mask;
    }
  }
};

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
  refuse_fixed(descriptor, config, "scales of its block formats may be negative");
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
             .top = ((1u << f.bits) - 1u) * 0x10001u,
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
