// fp: K and V in a float format (ref/fp.md).
#include "gpu/cache/codec_kernels.cuh"
#include "sim/api/fixed_refusals.h"

namespace kvx::gpu {
namespace {

struct FpCodec {
  struct Meta {};

  InputType type = InputType::kF32;

  __device__ Meta meta(const SideView&, int64_t, int) const { return {}; }
  __device__ float decode(uint32_t code, const Meta&) const {
    if (type == InputType::kF32) return __uint_as_float(code);
    const auto bits = static_cast<uint16_t>(code);
    return type == InputType::kF16 ? f16_decode(bits) : bf16_decode(bits);
  }

  __device__ uint32_t encode(float x) const {
    if (type == InputType::kF32) return __float_as_uint(x);
    return type == InputType::kF16 ? f16_encode(x) : bf16_encode(x);
  }
  __device__ bool finite(uint32_t code) const {
    const uint32_t exponent = type == InputType::kF32   ? 0x7F800000u
                              : type == InputType::kF16 ? 0x7C00u
                                                        : 0x7F80u;
    return (code & exponent) != exponent;
  }
};

Scheme<FpCodec> side(InputType type, int dim) {
  const int bytes = type == InputType::kF32 ? 4 : 2;
  Scheme<FpCodec> s;
  s.format = {.bits = 8 * bytes, .group = dim};
  s.codec = {type};
  s.nominal_bits = 8 * bytes;
  s.packing.has_codes = false;
  s.packing.bytes[Item::kCodes] = int64_t{dim} * bytes;
  s.packing.block = [dim, bytes](const SealedHead& head, int64_t block) {
    std::vector<std::byte> values;
    for (int i = 0; i < dim; ++i)
      put_pattern(values, head.codes[static_cast<size_t>(block * dim + i)], bytes);
    return values;
  };
  return s;
}

}  // namespace

std::unique_ptr<SchemeKernels> make_fp(const Descriptor& descriptor, const CacheConfig& config) {
  refuse_fixed(descriptor, config, "it has no codes");
  const std::string word = descriptor.get_word("type");
  Traits traits;
  traits.input = word == "f32"   ? InputType::kF32
                 : word == "f16" ? InputType::kF16
                                 : InputType::kBf16;
  const Scheme<FpCodec> s = side(traits.input, config.shape.head_dim);
  return make_codec_kernels(traits, config, s, s);
}

}  // namespace kvx::gpu
