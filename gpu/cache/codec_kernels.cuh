// The kernels of a scheme from the codecs of its two sides.
#pragma once

#include <algorithm>
#include <memory>
#include <utility>

#include "gpu/cache/append.cuh"
#include "gpu/cache/append_settle.cuh"
#include "gpu/cache/append_values.cuh"
#include "gpu/cache/attend.cuh"
#include "gpu/cache/canonical.h"
#include "gpu/cache/decode.cuh"
#include "gpu/fused/attend.h"

namespace kvx::gpu {

template <class Codec>
struct Scheme : SideScheme {
  Codec codec;
};

template <class Codec>
class CodecKernels : public PagedScheme {
 public:
  CodecKernels(const Traits& traits, const CacheConfig& config, const Scheme<Codec>& k,
               const Scheme<Codec>& v)
      : PagedScheme(traits, config, k, v), k_(k.codec), v_(v.codec) {}

  void append(const AppendArgs& args, cudaStream_t stream) const override {
    if constexpr (requires(Codec codec) { codec.scale_key; }) {
      gpu::append(noting(k_, Side::kK, args), noting(v_, Side::kV, args), args, stream);
    } else if constexpr (requires { typename Codec::Group; }) {
      gpu::append(k_, v_, args, stream);
    } else {
      append_values(k_, v_, args, stream);
    }
  }
  void settle(const AppendArgs& args, cudaStream_t stream) const override {
    gpu::settle(args, stream);
  }
  int64_t attend_scratch_floats(const Pass& bounds, const CacheShape& shape,
                                int q_heads) const override {
    const int64_t ieee = gpu::attend_scratch_floats(bounds, shape, q_heads);
    if (!affine()) return ieee;
    const fused::FusedForm form = fused::fused_form(bounds, shape, q_heads);
    return std::max(ieee, fused::scratch_floats(form, bounds, shape, q_heads, format(Side::kV)));
  }
  void attend(const AttendArgs& args, cudaStream_t stream) const override {
    // Exact spans are read in `ieee` whatever the config; the others then get their own output.
    if (!affine() || args.pass.exact_spans) gpu::attend(k_, v_, args, stream);
    if (affine())
      fused::attend(fused::fused_form(args.pass, args.view[0].shape, args.q_heads), *affine(), args,
                    stream);
  }
  void decode(const DecodeArgs& args, cudaStream_t stream) const override {
    gpu::decode(args.side == Side::kK ? k_ : v_, args, stream);
  }

 private:
  static Codec noting(Codec codec, Side side, const AppendArgs& args) {
    codec.scale_key = args.scale_key;
    codec.scale_note = args.scale_note[static_cast<int>(side)];
    return codec;
  }

  Codec k_, v_;
};

template <class Codec>
std::unique_ptr<SchemeKernels> make_codec_kernels(const Traits& traits, const CacheConfig& config,
                                                  const Scheme<Codec>& k, const Scheme<Codec>& v) {
  return std::make_unique<CodecKernels<Codec>>(traits, config, k, v);
}

}  // namespace kvx::gpu
