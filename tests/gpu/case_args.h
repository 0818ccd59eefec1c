// The arguments of one attention call over a cache that the host wrote.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "gpu/cache/kernels.h"
#include "sim/num/formats.h"

namespace kvx::test {

// What all spans of a case have in common.
struct CasePass {
  const std::vector<float>& q;        // [row][q heads][dim]
  const std::vector<int32_t>& pages;  // [slot][pages of a slot]
  const std::vector<gpu::PassSpan>& spans;
  int32_t rows;
};

// Spec: q_heads, type, reads and slacks of the bounds; side: codes, scale, zero, ring and pass of K
// and of V; host_view(side): the view but for its pointers; put(vector): its copy on the device.
template <class Spec, class Host, class View, class Put>
gpu::AttendArgs case_args(const Spec& spec, const Host (&side)[2], const CasePass& pass,
                          const View& host_view, const Put& put) {
  gpu::AttendArgs args;
  args.q_heads = spec.q_heads;
  args.q = put(pass.q);
  const int32_t* pages = put(pass.pages);
  for (int i = 0; i < 2; ++i) {
    const Host& h = side[i];
    gpu::SideView& view = args.view[i];
    view = host_view(i);
    view.codes = put(h.codes), view.scale = put(h.scale), view.zero = put(h.zero);
    view.ring = put(h.ring);
    view.pages = pages;
    gpu::PassRows& rows = i == 0 ? args.k : args.v;
    rows.type = spec.type;
    if (spec.type == gpu::ScalarType::kF16) {
      std::vector<uint16_t> halves(h.pass.size());
      num::f16_encode(h.pass, halves);
      rows.data = put(halves);
    } else {
      rows.data = put(h.pass);
    }
  }
  args.pass.spans = put(pass.spans);
  args.pass.span_count = static_cast<int32_t>(pass.spans.size());
  args.pass.rows = pass.rows;
  args.pass.reads = spec.reads;
  for (const gpu::PassSpan& s : pass.spans) {
    args.pass.max_count = std::max(args.pass.max_count, s.count + spec.count_slack);
    args.pass.max_length = std::max(args.pass.max_length, s.first + s.count + spec.length_slack);
  }
  return args;
}

}  // namespace kvx::test
