#include "gpu/cache/attend.cuh"
#include "tests/gpu/attend_codecs.h"

namespace kvx::test {

namespace {

struct HalfCodec {
  struct Meta {};
  __device__ Meta meta(const gpu::SideView&, int64_t, int) const { return {}; }
  __device__ float decode(uint32_t code, const Meta&) const {
    return gpu::f16_decode(static_cast<uint16_t>(code));
  }
};

struct ScaledCodec {
  struct Meta {
    float scale, zero;
  };
  __device__ Meta meta(const gpu::SideView& view, int64_t group, int) const {
    return {gpu::f16_decode(reinterpret_cast<const uint16_t*>(view.scale)[group]),
            static_cast<float>(static_cast<uint8_t>(view.zero[group]))};
  }
  __device__ float decode(uint32_t code, const Meta& meta) const {
    return __fmul_rn(__fsub_rn(static_cast<float>(code), meta.zero), meta.scale);
  }
};

}  // namespace

void attend_with(TestCodec codec, gpu::AttendForm form, const gpu::AttendArgs& args) {
  if (codec == TestCodec::kHalf)
    gpu::attend(form, HalfCodec(), HalfCodec(), args, nullptr);
  else
    gpu::attend(form, ScaledCodec(), ScaledCodec(), args, nullptr);
}

void attend_with(TestCodec codec, const gpu::AttendArgs& args) {
  if (codec == TestCodec::kHalf)
    gpu::attend(HalfCodec(), HalfCodec(), args, nullptr);
  else
    gpu::attend(ScaledCodec(), ScaledCodec(), args, nullptr);
}

}  // namespace kvx::test
