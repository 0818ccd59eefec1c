// What tests of the schemes' kernels share: cases, and content of a reference cache in the form
// that kernels give it to the host.
#pragma once

#include <algorithm>
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
    {"kvquant:nuq2,o0.01,cb=#00000002", 64},
    {"kvquant:nuq3,o0.01,s1,profile=paper,cb=#00000003", 64},
    {"kvquant:nuq4,o0.02,cb=#00000004", 128, 1},
    {"kvquant:nuq4,s5,qnorm,vaxis=channel,cb=#00000004", 32, 4},
    {"kvquant:nuq4,o0.1,s300,vaxis=channel,profile=paper,cb=#00000004", 8, 16},
    {"kvquant:nuq2,o0.05,s2,qnorm,kaxis=token,rope=post,profile=paper,cb=#00000002", 64},
    {"kvquant:nf4,o0.02,zr=fp16,cb=#00000004", 64, 2, Windows::kNone},
    {"kvquant:nf3,o0.01,profile=paper,cb=#00000003", 16, 8},
    {"kvquant:nf2,kaxis=token,profile=paper", 24, 3},
    {"kvquant:int3,o0.01,s3,cb=#00000003", 64},
    {"kvquant:int4,o0.02,zr=fp16,vaxis=channel,cb=#00000004", 64},
    {"kvquant:int4,kaxis=token,o0.05,profile=paper", 72},
    {"kvquant:int2,kaxis=token,rope=post", 256},
    {"kvquant:nf4,kaxis=token,o0.01", 128, 8},
    {"kvquant:nf3,kaxis=token,o0.02,rope=post,profile=paper", 96, 4},
    {"kvquant:int3,kaxis=token,o0.04", 160, 9},
    {"kvquant:nuq2,o0.05,kaxis=token,cb=#00000012", 64},
    {"kvquant:nuq3,o0.02,cb=#00000013", 64},
};

inline std::string name_of(const SchemeCase& c) {
  return std::string(c.descriptor) + " d=" + std::to_string(c.dim) +
         (c.windows == Windows::kNone ? " (no windows)" : "");
}

// Outliers of all heads.
inline int64_t marked(const std::vector<gpu::SealedHead>& heads) {
  int64_t count = 0;
  for (const gpu::SealedHead& head : heads)
    count += std::count(head.marks.begin(), head.marks.end(), uint8_t{1});
  return count;
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
  config.rope_steps = num::rope_steps(c.dim, 10000.0, {});
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

// Outliers as tensors list them by token and channel of the layer; their values are those given.
inline void add_outliers(const std::map<std::string, Exported>& tensors, const std::string& prefix,
                         const Tensor& given, int64_t sink, std::vector<gpu::SealedHead>& heads) {
  const auto starts = tensors.at(prefix + "outlier.start").as<uint32_t>();
  const auto index = tensors.at(prefix + "outlier.index").as<uint32_t>();
  const auto dim = static_cast<size_t>(heads[0].dim);
  for (gpu::SealedHead& head : heads) {
    head.marks.resize(head.codes.size());
    head.outliers.resize(head.codes.size());
  }
  for (size_t t = static_cast<size_t>(sink); t + 1 < starts.size(); ++t) {
    for (size_t i = starts[t]; i < starts[t + 1]; ++i) {
      const size_t h = index[i] / dim, c = index[i] % dim;
      const size_t at = (t - static_cast<size_t>(sink)) * dim + c;
      heads[h].marks[at] = 1;
      heads[h].outliers[at] =
          num::f16_encode(given.view().row(static_cast<int64_t>(t), static_cast<int>(h))[c]);
    }
  }
}

// Sealed content of all heads of one side of a reference cache's sequence, of the values that were
// given. `bf16`: values without codes are bfloat16 where they have 16 bits.
inline std::vector<gpu::SealedHead> sealed_heads(const std::map<std::string, Exported>& tensors,
                                                 const gpu::SideFormat& format,
                                                 const CacheConfig& config, Side side,
                                                 const Tensor& given, int64_t length, bool bf16) {
  const std::string prefix = std::string(side_name(side)) + ".";
  const int64_t dim = config.shape.head_dim;
  const int64_t sink = std::min<int64_t>(format.rule.sink, length);
  const int64_t sealed = format.rule.sealed(static_cast<int32_t>(length)) - sink;
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
    head.codes = part(codes, h, length * dim, (sink + sealed) * dim);
    head.codes.erase(head.codes.begin(), head.codes.begin() + sink * dim);
    // Ranges of tokens, which all heads share.
    if (const auto lo = tensors.find(prefix + "lo"); lo != tensors.end()) {
      if (format.scale_bytes == 0) continue;
      head.scale = part(patterns_of(lo->second), 0, 0, length);
      head.zero = part(patterns_of(tensors.at(prefix + "hi")), 0, 0, length);
      head.scale.erase(head.scale.begin(), head.scale.begin() + sink);
      head.zero.erase(head.zero.begin(), head.zero.begin() + sink);
      continue;
    }
    const int64_t stride = length / group_tokens * per_group;
    const int64_t count = sealed / group_tokens * per_group;
    if (format.scale_bytes != 0)
      head.scale = part(patterns_of(tensors.at(prefix + "scale")), h, stride, count);
    if (format.zero_bytes != 0)
      head.zero = part(patterns_of(tensors.at(prefix + "zero")), h, stride, count);
  }
  if (format.sparse) add_outliers(tensors, prefix, given, sink, heads);
  return heads;
}

}  // namespace kvx::test
