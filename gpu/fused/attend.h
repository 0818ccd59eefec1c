// Attention of a pass over a device cache in the arithmetic `fixed` (sim/num/fixed.md), for every
// scheme whose codes are affine. Launch forms have equal bits: `long`, where a block takes a span
// of a sequence; `whole`, where it takes all spans one after the other; `short`, where it takes a
// segment, a tile a warp.
#pragma once

#include "gpu/cache/kernels.h"
#include "gpu/fused/affine.h"

namespace kvx::gpu::fused {

enum class FusedForm : uint8_t {
  kLong,
  kWhole,
  kShort,
  kPrefillLong,
  kPrefillWhole,
  kPrefillShort
};

// Query heads and tokens of one KV head that a block takes side by side.
inline constexpr int kBlockQueries = 4;
// The same of the prefill forms.
inline constexpr int kPrefillQueries = 128;

// By the bounds of the pass alone, so that a captured graph keeps its form.
FusedForm fused_form(const Pass& bounds, const CacheShape& shape, int q_heads);

// Floats of AttendArgs::scratch that a form needs; `v` is the format of values.
int64_t scratch_floats(FusedForm form, const Pass& bounds, const CacheShape& shape, int q_heads,
                       const SideFormat& v);

// Every query of the pass but those of exact spans, with the read map of ieee.md 2.7: rows 0..t of
// the query at position t, those below its boundary (SealRule, Reads) sealed. Any head dim that is
// a multiple of 8 up to 256, any width up to 8 bits and any group; fast for head dims 64 and 128,
// widths 2, 3, 4 and 8, groups along channels of 32, 64 and 128, along tokens of 32, 64 and
// multiples of 128. Other shapes take `whole` where a prefill form is asked for.
void attend(FusedForm form, const AffineScheme& scheme, const AttendArgs& args,
            cudaStream_t stream);

}  // namespace kvx::gpu::fused
