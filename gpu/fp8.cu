// fp8: 8-bit floats with a static scale or one of each row (ref/fp8.md).
#include <cuda_fp8.h>

#include <cmath>
#include <cstring>

#include "gpu/cache/codec_kernels.cuh"
#include "gpu/common/memory.h"
#include "gpu/registry.h"
#include "sim/api/error.h"
#include "sim/api/fixed_refusals.h"

namespace kvx::gpu {
namespace {

enum class ScaleOf : uint8_t { kOne, kStatic, kToken };

struct Fp8Codec {
  using Extremes = MinMax<false>;
  using Stats = uint32_t;
  static constexpr bool kAlwaysWide = false;
  static constexpr bool kAnyGroup = false;
  static constexpr bool kAlongTokens = false;
  using Meta = float;
  struct Group {
    uint32_t scale = 0, zero = 0;
    Divisor by;                   // of a static scale
    float factor = 1.0f;          // of any other
    uint32_t mask = 0x00FF00FFu;  // 0: the row holds a value that is not finite
  };

  __nv_fp8_interpretation_t type = __NV_E4M3;
  ScaleOf scale = ScaleOf::kOne;
  bool ordinary = false;         // static: all scales are within 2^-60 .. 2^60
  const float* table = nullptr;  // device: static scales
  int table_stride = 0;          // 1: one per KV head
  Divisor largest;               // M

  __device__ Meta meta(const SideView& view, int64_t group, int head) const {
    if (scale == ScaleOf::kOne) return 1.0f;
    return scale == ScaleOf::kStatic ? table[head * table_stride]
                                     : reinterpret_cast<const float*>(view.scale)[group];
  }
  __device__ float decode(uint32_t code, Meta s) const {
    const __half_raw value = __nv_cvt_fp8_to_halfraw(static_cast<__nv_fp8_storage_t>(code), type);
    return fl16(__fmul_rn(__half2float(value), s));
  }

  template <int kCount>
  __device__ Stats stats(const Eight* x) const {
    return Extremes::of<kCount>(x);
  }
  __device__ Stats merge(Stats a, Stats b) const { return Extremes::merge(a, b); }
  __device__ Group group(Stats stats, int head) const {
    Group g;
    if (scale == ScaleOf::kStatic) {
      g.by = Divisor::of(table[head * table_stride]);
    } else if (scale == ScaleOf::kToken && !Extremes::finite(stats)) {
      g.scale = 0x7FC00000u;
      g.mask = 0u;
    } else if (scale == ScaleOf::kToken) {
      const float s = fmaxf(largest.quotient(Extremes::magnitude(stats)), 1e-6f);
      g.scale = __float_as_uint(s);
      g.factor = __frcp_rn(s);
    }
    return g;
  }
  // The number that is rounded to the format.
  template <bool kStatic>
  __device__ float scaled(float x, const Group& g) const {
    if constexpr (!kStatic) return __fmul_rn(x, g.factor);
    if (!ordinary || !is_finite(x)) return __fdiv_rn(x, g.by.d);
    return copysignf(g.by.long_quotient(x), x);  // scales are above 0; the remainder of -0 is +0
  }
  // Saturation and NaN are the page's: satfinite of the PTX instruction.
  template <bool kStatic, __nv_fp8_interpretation_t kType>
  __device__ uint32_t encode_as(uint32_t pair, const Group& g) const {
    const float2 values = {scaled<kStatic>(low_half(pair), g), scaled<kStatic>(high_half(pair), g)};
    const uint32_t two = __nv_cvt_float2_to_fp8x2(values, __NV_SATFINITE, kType);
    return __byte_perm(two, 0, 0x4140) & g.mask;
  }
  // The kind of scale and the format are chosen once for all values.
  template <int kCount>
  __device__ void encode(const Eight* x, const Group& g, uint32_t (*pair)[4]) const {
    const auto all = [&](auto one) {
#pragma unroll
      for (int i = 0; i < 4 * kCount; ++i) pair[i / 4][i % 4] = one(x[i / 4].word[i % 4]);
    };
    const bool fixed = scale == ScaleOf::kStatic;
    if (type == __NV_E4M3) {
      if (fixed) return all([&](uint32_t w) { return encode_as<true, __NV_E4M3>(w, g); });
      return all([&](uint32_t w) { return encode_as<false, __NV_E4M3>(w, g); });
    }
    if (fixed) return all([&](uint32_t w) { return encode_as<true, __NV_E5M2>(w, g); });
    return all([&](uint32_t w) { return encode_as<false, __NV_E5M2>(w, g); });
  }
};

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// The calibrated scales of one side.
std::vector<float> scales(const Artifact& artifact, const LayerShape& shape, Side side,
                          bool per_head) {
  const std::string name =
      "layers." + std::to_string(shape.layer) + "." + side_name(side) + ".scale";
  const std::string where = artifact.source() + ": tensor '" + name + "'";
  const ArtifactTensor* const tensor = artifact.find(name);
  if (tensor == nullptr) throw environment_error(where + " is missing");
  const std::vector<int64_t> wanted = {per_head ? shape.kv_heads : 1};
  if (tensor->dtype != "F32" || tensor->shape != wanted) {
    throw environment_error(where + " is " + tensor->dtype + " " + shape_text(tensor->shape) +
                            ", not F32 " + shape_text(wanted));
  }
  std::vector<float> values(static_cast<size_t>(wanted[0]));
  std::memcpy(values.data(), tensor->bytes.data(), values.size() * sizeof(float));
  for (size_t i = 0; i < values.size(); ++i) {
    if (std::isfinite(values[i]) && values[i] > 0.0f) continue;
    throw environment_error(where + ", value " + std::to_string(i) + ": " +
                            std::to_string(values[i]) + " is not a finite positive scale");
  }
  return values;
}

class Fp8Kernels final : public CodecKernels<Fp8Codec> {
 public:
  Fp8Kernels(const CacheConfig& config, const Scheme<Fp8Codec>& k, const Scheme<Fp8Codec>& v,
             DeviceArray<float> table)
      : CodecKernels({}, config, k, v), table_(std::move(table)) {}

 private:
  DeviceArray<float> table_;  // what the codecs point into
};

}  // namespace

std::unique_ptr<SchemeKernels> make_fp8(const Descriptor& descriptor, const CacheConfig& config) {
  refuse_fixed(descriptor, config, "its codes are floats");
  const bool e5m2 = descriptor.get_word("type") == "e5m2";
  const std::string kind = descriptor.get_word("scale"), cal = descriptor.get_word("cal");
  const bool calibrated = kind == "tensor" || kind == "head";
  const int dim = config.shape.head_dim;
  if (calibrated && cal.empty())
    throw usage_error("fp8: scale=" + kind + " needs cal=#hash or cal=path, the calibrated scales");
  if (!calibrated && !cal.empty())
    throw usage_error("fp8: cal=" + cal + " has no use with scale=" + kind);
  if (calibrated && (!cal.starts_with('#') || config.artifacts == nullptr))
    throw environment_error("fp8: cal=" + cal + " is not loaded");

  Scheme<Fp8Codec> s;
  s.format = {.bits = 8, .group = dim, .scale_bytes = kind == "token" ? 4 : 0};
  const float largest = e5m2 ? 57344.0f : 448.0f;
  s.codec.type = e5m2 ? __NV_E5M2 : __NV_E4M3;
  s.codec.scale = calibrated ? ScaleOf::kStatic : kind == "token" ? ScaleOf::kToken : ScaleOf::kOne;
  s.codec.largest = {largest, 1.0f / largest};
  s.codec.table_stride = kind == "head" ? 1 : 0;
  s.nominal_bits = 8;
  const bool token = kind == "token";
  s.packing.bytes[Item::kCodes] = dim;
  if (token) {
    s.packing.bytes[Item::kScale] = 4;
    s.packing.metadata = 1;
    s.packing.scale_dtype = "F32";
  }
  s.packing.block = [dim, token](const SealedHead& head, int64_t block) {
    std::vector<std::byte> bytes;
    for (int i = 0; i < dim; ++i)
      put_pattern(bytes, head.codes[static_cast<size_t>(block * dim + i)], 1);
    if (token) put_pattern(bytes, head.scale[static_cast<size_t>(block)], 4);
    return bytes;
  };
  Scheme<Fp8Codec> k = s, v = s;
  DeviceArray<float> memory;
  if (calibrated) {
    const std::shared_ptr<const Artifact> artifact =
        config.artifacts(std::string_view(cal).substr(1));
    // Without a device the host side still knows bytes and tensors.
    const bool device = unavailable().empty();
    const int64_t count = kind == "head" ? config.shape.kv_heads : 1;
    if (device) memory = DeviceArray<float>(2 * count);
    for (Scheme<Fp8Codec>* const scheme : {&k, &v}) {
      const Side side = scheme == &k ? Side::kK : Side::kV;
      scheme->table = scales(*artifact, config.shape, side, kind == "head");
      scheme->codec.ordinary = true;
      for (const float value : scheme->table)
        scheme->codec.ordinary &= value >= 0x1p-60f && value <= 0x1p+60f;
      if (!device) continue;
      const int64_t at = side == Side::kK ? 0 : count;
      memory.upload(scheme->table, at);
      scheme->codec.table = memory.get() + at;
    }
    if (device) check(cudaStreamSynchronize(nullptr), "calibrated scales");
  }
  return std::make_unique<Fp8Kernels>(config, k, v, std::move(memory));
}

}  // namespace kvx::gpu
