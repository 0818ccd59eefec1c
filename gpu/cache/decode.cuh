// Sealed tokens as a read returns them.
#pragma once

#include "gpu/cache/kernels.h"
#include "gpu/cache/rows.cuh"
#include "gpu/common/check.h"

namespace kvx::gpu {

template <class Codec>
__global__ void decode_kernel(const Codec codec, const __grid_constant__ DecodeArgs args) {
  const CacheShape& shape = args.view.shape;
  const int lanes = shape.head_dim / 8;
  const int64_t at = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  if (at >= args.count * shape.kv_heads * lanes) return;
  const int64_t row = at / lanes;  // [token][head]
  float x[8];
  load_sealed8(codec, args.view, args.slot, static_cast<int>(row % shape.kv_heads),
               static_cast<int32_t>(args.first + row / shape.kv_heads),
               static_cast<int>(at % lanes) * 8, x);
  float4* const out = reinterpret_cast<float4*>(args.out) + at * 2;
  out[0] = {x[0], x[1], x[2], x[3]};
  out[1] = {x[4], x[5], x[6], x[7]};
}

template <class Codec>
void decode(const Codec& codec, const DecodeArgs& args, cudaStream_t stream) {
  const int64_t chunks = args.count * args.view.shape.kv_heads * (args.view.shape.head_dim / 8);
  if (chunks == 0) return;
  decode_kernel<<<static_cast<unsigned>((chunks + 255) / 256), 256, 0, stream>>>(codec, args);
  check_launch("decode");
}

}  // namespace kvx::gpu
