// What tests of the schemes' kernels share: cases, and content of a reference cache in the form
// that kernels give it to the host.
#pragma once

#include <ostream>
#include <string>
#include <vector>

#include "gpu/cache/kernels.h"
#include "sim/num/formats.h"
#include "tests/support/caches.h"

namespace kvx::test {

struct SchemeCase {
  const char* descriptor;
  int dim;
  int heads = 2;
  Windows windows = Windows::kKept;
};

inline const SchemeCase kSchemeCases[] = {
    {"fp:f32", 64},
    {"fp:f16", 80},
    {"fp:bf16", 128},
    {"int:k4v4", 128},
    {"int:k8v8", 64},
    {"int:k2v2", 256},
    {"int:k4v2", 80},
    {"int:k2v8,g16", 64},
    {"int:k3v5,g8,sym", 64},
    {"int:k6v7,g12", 96},
    {"int:k4v8,g40", 80},
    {"int:k5v3,g20,sym", 120},
    {"int:k2v4,g1", 8},
    {"int:k8v8,g3", 24},
    {"int:k6v7,kaxis=channel", 64},
    {"int:k4v4,kaxis=channel,vaxis=channel", 128},
    {"int:k4v3,kaxis=channel,vaxis=channel,g12", 80},
    {"int:k2v2,vaxis=channel,g16,sym", 96},
    {"int:k8v2,kaxis=channel,vaxis=channel,g40,sym", 72},
    {"int:k4v4,kaxis=channel,vaxis=channel,g1", 64},
    {"kivi:k2v2", 128},
    {"kivi:k2v2,r32", 64},
    {"kivi:k2v4", 96},
    {"kivi:k4v2,r0", 64},
    {"kivi:k8v4,g64,r64", 128},
    {"kivi:k2v8,r64,profile=paper", 64},
    {"kivi:k4v4,r0,profile=paper", 160},
    {"kivi:k2v4,g128", 256},
    {"kivi:k2v2,g64", 192},
    {"kivi:k4v4", 64, 2, Windows::kNone},
    {"kivi:k2v2,g128,profile=paper", 128, 3, Windows::kNone},
    {"fp8:e4m3", 128},
    {"fp8:e5m2", 80},
    {"fp8:e5m2,scale=token", 64},
    {"fp8:e4m3,scale=token", 80},
    {"fp8:e4m3,scale=token", 256},
    {"fp8:e5m2,scale=tensor,cal=#11111111", 64},
    {"fp8:e4m3,scale=head,cal=#22222222", 96},
    {"ggml:q8_0", 128},
    {"ggml:q5_1", 64},
    {"ggml:q5_0", 96},
    {"ggml:q4_1", 160},
    {"ggml:q4_0", 128},
    {"int:k3v5,g32,sym", 64},
    {"int:k6v7", 96},
    {"int:k8v4,kaxis=channel,vaxis=channel,g64,sym", 64},
    {"int:k2v4,kaxis=channel,g128", 128},
};

inline std::string name_of(const SchemeCase& c) {
  return std::string(c.descriptor) + " d=" + std::to_string(c.dim) +
         (c.windows == Windows::kNone ? " (no windows)" : "");
}

inline std::ostream& operator<<(std::ostream& out, const SchemeCase& c) {
  return out << name_of(c);
}

inline CacheConfig config_of(const SchemeCase& c, NonFinite nonfinite = NonFinite::kRefuse) {
  CacheConfig config;
  config.shape = {.layer = 3, .kv_heads = c.heads, .head_dim = c.dim};
  config.windows = c.windows;
  config.nonfinite = nonfinite;
  config.artifacts = test_artifacts();
  return config;
}

// Patterns of an exported tensor.
inline std::vector<uint32_t> patterns_of(const Exported& tensor) {
  const size_t width = tensor.dtype == "U8" ? 1 : tensor.dtype == "F16" ? 2 : 4;
  std::vector<uint32_t> patterns(tensor.bytes.size() / width);
  for (size_t i = 0; i < patterns.size(); ++i)
    std::memcpy(&patterns[i], tensor.bytes.data() + i * width, width);
  return patterns;
}

// Sealed content of all heads of one side of a reference cache's sequence. `bf16`: values without
// codes are bfloat16 where they have 16 bits.
inline std::vector<gpu::SealedHead> sealed_heads(const std::map<std::string, Exported>& tensors,
                                                 const gpu::SideFormat& format,
                                                 const CacheConfig& config, Side side,
                                                 int64_t length, bool bf16) {
  const std::string prefix = std::string(side_name(side)) + ".";
  const int64_t dim = config.shape.head_dim;
  const int64_t sealed = format.rule.sealed(static_cast<int32_t>(length));
  const int64_t group_tokens = format.along_tokens ? format.group : 1;
  const int64_t per_group = format.along_tokens ? dim : dim / format.group;
  std::vector<uint32_t> codes;
  if (const auto found = tensors.find(prefix + "codes"); found != tensors.end()) {
    codes = patterns_of(found->second);
  } else {  // fp: the values
    for (const float x : tensors.at(prefix + "decoded").as<float>()) {
      const auto bits = std::bit_cast<uint32_t>(x);
      codes.push_back(format.bits == 32 ? bits : bf16 ? bits >> 16 : num::f16_encode(x));
    }
  }
  const auto part = [&](const std::vector<uint32_t>& all, int64_t head, int64_t stride,
                        int64_t count) {
    const auto first = all.begin() + head * stride;
    return std::vector<uint32_t>(first, first + count);
  };
  std::vector<gpu::SealedHead> heads(static_cast<size_t>(config.shape.kv_heads));
  for (int64_t h = 0; h < config.shape.kv_heads; ++h) {
    gpu::SealedHead& head = heads[static_cast<size_t>(h)];
    head.tokens = sealed;
    head.dim = static_cast<int>(dim);
    head.codes = part(codes, h, length * dim, sealed * dim);
    const int64_t stride = length / group_tokens * per_group;
    const int64_t count = sealed / group_tokens * per_group;
    if (format.scale_bytes != 0)
      head.scale = part(patterns_of(tensors.at(prefix + "scale")), h, stride, count);
    if (format.zero_bytes != 0)
      head.zero = part(patterns_of(tensors.at(prefix + "zero")), h, stride, count);
  }
  return heads;
}

}  // namespace kvx::test
