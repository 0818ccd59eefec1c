// Attention of a pass over a device cache, for a scheme's codec (rows.cuh).
#pragma once

#include "gpu/cache/attend.h"
#include "gpu/cache/attend_split.cuh"
#include "gpu/cache/attend_walk.cuh"
#include "gpu/common/check.h"

namespace kvx::gpu {

namespace attention {

template <class Codec, int kDim>
void launch_walk(const Codec& k, const Codec& v, const AttendArgs& args, cudaStream_t stream) {
  const CacheShape& shape = args.view[0].shape;
  const int shared = walk_shared_bytes(kDim == 0 ? kMaxDim : kDim);
  check(cudaFuncSetAttribute(walk_kernel<Codec, kDim>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                             shared),
        "shared memory of walk_kernel");
  const int64_t queries = int64_t{args.pass.max_count} * (args.q_heads / shape.kv_heads);
  const int64_t tiles = (queries + kTileQueries - 1) / kTileQueries;
  const auto blocks = static_cast<unsigned>(tiles * shape.kv_heads * args.pass.span_count);
  walk_kernel<Codec, kDim><<<blocks, kThreads, static_cast<size_t>(shared), stream>>>(
      k, v, args, scale(shape.head_dim));
  check_launch("walk_kernel");
}

template <class Codec, int kDim>
void launch_split(const Codec& k, const Codec& v, const AttendArgs& args, cudaStream_t stream) {
  const CacheShape& shape = args.view[0].shape;
  const int64_t queries = int64_t{args.pass.max_count} * (args.q_heads / shape.kv_heads);
  const int tiles = static_cast<int>((queries + kWarpQueries - 1) / kWarpQueries);
  const dim3 grid(static_cast<unsigned>((args.pass.max_length + kSegment - 1) / kSegment),
                  static_cast<unsigned>(shape.kv_heads * tiles),
                  static_cast<unsigned>(args.pass.span_count));
  split_kernel<Codec, kDim>
      <<<grid, kThreads, 0, stream>>>(k, v, args, scale(shape.head_dim), tiles);
  check_launch("split_kernel");
  fold(args, stream);
}

}  // namespace attention

// In the form that the caller names; args.scratch holds attend_scratch_floats(form, ...).
template <class Codec>
void attend(AttendForm form, const Codec& k, const Codec& v, const AttendArgs& args,
            cudaStream_t stream) {
  if (args.pass.span_count == 0 || args.pass.max_count == 0) return;
  const bool walk = form == AttendForm::kWalk;
  switch (args.view[0].shape.head_dim) {
    case 64:
      return walk ? attention::launch_walk<Codec, 64>(k, v, args, stream)
                  : attention::launch_split<Codec, 64>(k, v, args, stream);
    case 128:
      return walk ? attention::launch_walk<Codec, 128>(k, v, args, stream)
                  : attention::launch_split<Codec, 128>(k, v, args, stream);
    default:
      return walk ? attention::launch_walk<Codec, 0>(k, v, args, stream)
                  : attention::launch_split<Codec, 0>(k, v, args, stream);
  }
}

// Attention of every query of the pass (ieee.md, 2.7): query head h reads KV head
// h / (q heads / kv heads), the query at position t rows 0..t, those below its boundary (SealRule,
// Reads) as the codecs decode them. Any head dim that is a multiple of 8 up to 256; fastest for 64
// and 128. The form depends on the bounds of the pass alone.
template <class Codec>
void attend(const Codec& k, const Codec& v, const AttendArgs& args, cudaStream_t stream) {
  attend(attend_form(args.pass, args.view[0].shape, args.q_heads), k, v, args, stream);
}

}  // namespace kvx::gpu
