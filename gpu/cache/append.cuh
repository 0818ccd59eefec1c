// Sealing: the tokens of a pass that the rule seals now become codes and metadata in one walk over
// the input. A warp owns whole groups, so that nothing depends on the launch but which warp does
// what.
//
// What a codec adds to rows.cuh for this:
//
//   using Stats = ...;                            // of some values; merging is free of order
//   template <int kCount> Stats stats(const Eight* x) const;  // of kCount times eight values
//   Stats merge(const Stats& a, const Stats& b) const;
//   struct Group { uint32_t scale, zero; ... };   // patterns to store, and what encode needs
//   Group group(const Stats& stats, int head) const;
//   // Codes of two values in binary16, each of its group, in the halves of a word.
//   uint32_t encode(uint32_t pair, const Group& low, const Group& high) const;
//   // Or of kCount times eight values of one group.
//   template <int kCount> void encode(const Eight* x, const Group& g, uint32_t (*pair)[4]) const;
//   static constexpr bool kAlwaysWide;   // groups are 32 channels: no merge
//   static constexpr bool kAnyGroup;     // groups need not be multiples of 8: Stats stats(bits)
//   static constexpr bool kAlongTokens;  // groups may lie along tokens: Stats is a MinMax,
//                                        // `using Extremes = MinMax<...>`
#pragma once

#include "gpu/cache/append_channels.cuh"
#include "gpu/cache/append_columns.cuh"
#include "gpu/cache/append_tokens.cuh"
#include "gpu/cache/append_wide.cuh"
#include "gpu/cache/kernels.h"
#include "gpu/common/check.h"

namespace kvx::gpu {

template <class Codec>
struct AppendPlan {
  AppendSide<Codec> side[2];
  const PassSpan* spans = nullptr;
  NonFiniteKey* non_finite = nullptr;
};

// How sides are sealed.
enum class Form : uint8_t { kWide, kColumns, kChannels, kTokens, kEither };

// Of passes as short, a launch is what they cost: sides of different forms take one all the same.
inline constexpr int32_t kShortPass = 512;

template <class Codec>
Form form_of(const SideView& view) {
  if constexpr (Codec::kAlwaysWide) return Form::kWide;
  if (view.format.along_tokens) return takes_columns(view) ? Form::kColumns : Form::kTokens;
  return takes_wide(view) ? Form::kWide : Form::kChannels;
}

// Blocks of a form that a multiprocessor holds.
constexpr int resident_blocks(Form form) {
  return form == Form::kWide ? 9 : form == Form::kColumns ? 6 : form == Form::kChannels ? 8 : 4;
}

template <class Codec, Form kForm>
__global__ void __launch_bounds__(kAppendThreads, resident_blocks(kForm))
    append_kernel(const __grid_constant__ AppendPlan<Codec> plan, int first_side) {
  const AppendSide<Codec>& side = plan.side[first_side + blockIdx.z];
  const PassSpan span = plan.spans[blockIdx.y];
  if constexpr (kForm == Form::kWide) {
    append_wide(side, span, plan.non_finite);
  } else if constexpr (kForm == Form::kColumns) {
    append_columns(side, span, plan.non_finite);
  } else if constexpr (kForm == Form::kChannels) {
    append_channels(side, span, plan.non_finite);
  } else if constexpr (kForm == Form::kTokens) {
    append_tokens(side, span, plan.non_finite);
  } else if (side.view.format.along_tokens) {
    append_tokens(side, span, plan.non_finite);
  } else {
    append_channels(side, span, plan.non_finite);
  }
}

// Warps that a span of at most `max_count` tokens may need on one side.
inline int64_t append_warps(Form form, const SideFormat& format, const CacheShape& shape,
                            int32_t max_count) {
  const int64_t tokens = int64_t{max_count} + format.rule.window + format.rule.unit;
  if (format.along_tokens) return token_tiles(shape) * shape.kv_heads * (tokens / format.group + 1);
  if (form == Form::kWide) return wide_warps(shape, tokens);
  const int64_t at_once = int64_t{kRowsPerLane} * (32 / (shape.head_dim / 8));
  return (tokens + at_once - 1) / at_once * shape.kv_heads;
}

template <class Codec, Form kForm>
void launch_append(const AppendPlan<Codec>& plan, const Pass& pass, int first_side, int sides,
                   cudaStream_t stream) {
  int64_t warps = 0;
  for (int i = first_side; i < first_side + sides; ++i) {
    const SideView& view = plan.side[i].view;
    const int64_t needed = append_warps(kForm, view.format, view.shape, pass.max_count);
    warps = needed > warps ? needed : warps;
  }
  constexpr int kWarps = kAppendThreads / 32;
  const dim3 grid(static_cast<unsigned>((warps + kWarps - 1) / kWarps),
                  static_cast<unsigned>(pass.span_count), static_cast<unsigned>(sides));
  append_kernel<Codec, kForm><<<grid, kAppendThreads, 0, stream>>>(plan, first_side);
  check_launch("append");
}

template <class Codec>
void launch_append(Form form, const AppendPlan<Codec>& plan, const Pass& pass, int first_side,
                   int sides, cudaStream_t stream) {
  if constexpr (!Codec::kAlwaysWide) {
    if (form == Form::kChannels)
      return launch_append<Codec, Form::kChannels>(plan, pass, first_side, sides, stream);
    if constexpr (Codec::kAlongTokens) {
      if (form == Form::kColumns)
        return launch_append<Codec, Form::kColumns>(plan, pass, first_side, sides, stream);
      if (form == Form::kTokens)
        return launch_append<Codec, Form::kTokens>(plan, pass, first_side, sides, stream);
      if (form == Form::kEither)
        return launch_append<Codec, Form::kEither>(plan, pass, first_side, sides, stream);
    }
  }
  launch_append<Codec, Form::kWide>(plan, pass, first_side, sides, stream);
}

template <class Codec>
void append(const Codec& k, const Codec& v, const AppendArgs& args, cudaStream_t stream) {
  if (args.pass.span_count == 0 || args.pass.rows == 0) return;
  const AppendPlan<Codec> plan{{{k, args.view[0], args.k, 0}, {v, args.view[1], args.v, 1}},
                               args.pass.spans,
                               args.non_finite};
  const Form form[2] = {form_of<Codec>(args.view[0]), form_of<Codec>(args.view[1])};
  if (form[0] == form[1]) return launch_append(form[0], plan, args.pass, 0, 2, stream);
  if (args.pass.rows <= kShortPass)
    return launch_append(Form::kEither, plan, args.pass, 0, 2, stream);
  for (int i = 0; i < 2; ++i) launch_append(form[i], plan, args.pass, i, 1, stream);
}

}  // namespace kvx::gpu
