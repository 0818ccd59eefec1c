// Random cases of arithmetic `fixed`: shapes, read maps and magnitudes up to the extremes.
#pragma once

#include <algorithm>
#include <bit>
#include <vector>

#include "sim/gen/random.h"
#include "sim/num/formats.h"
#include "tests/support/fixed_case.h"

namespace kvx::test {

// Draws of one case, in order.
class FixedDraw {
 public:
  explicit FixedDraw(uint64_t seed) : source_{seed, 77} {}
  uint32_t word() { return source_.words(next_++)[0]; }
  int below(int n) { return static_cast<int>(word() % static_cast<uint32_t>(n)); }
  bool one_in(int n) { return below(n) == 0; }
  float normal() { return source_.normal(next_++); }
  template <class T>
  T of(std::initializer_list<T> choices) {
    return choices.begin()[below(static_cast<int>(choices.size()))];
  }

 private:
  gen::Source source_;
  uint64_t next_ = 0;
};

enum class FixedRange { kPlain, kOutliers, kExtreme, kClamped };

struct FixedShape {
  int dim;
  int64_t rows;
  int k_bits, v_bits;
  num::fixed::Along k_along;
  int k_group, v_group;
  int64_t sink;  // rows before the first sealed one
  FixedRange range;
};

// Numbers around the patterns at which digits would leave their range; a few binades, or far down.
inline float fixed_edge(FixedDraw& draw) {
  const uint32_t edges[] = {0,        0x7dffff, 0x7e0000, 0x7e0001, 0x7fff7e, 0x7fff7f,
                            0x7fff80, 0x7fff81, 0x7fffbf, 0x7fffc0, 0x7fffff};
  const auto exponent = static_cast<uint32_t>(127 + draw.below(3));
  return std::bit_cast<float>(exponent << 23 | edges[draw.below(11)]);
}

// A binary16 number.
inline float fixed_f16(float x) {
  return num::f16_round(std::min(std::max(x, -65504.0f), 65504.0f));
}

inline FixedSide fixed_side(FixedDraw& draw, const FixedShape& s, bool is_k) {
  FixedSide side;
  const int bits = is_k ? s.k_bits : s.v_bits;
  side.along = is_k ? s.k_along : num::fixed::Along::kChannels;
  side.group = is_k ? s.k_group : s.v_group;
  side.first = s.sink;
  const int64_t rows = std::max<int64_t>(s.rows - s.sink, 1);
  const bool full = draw.one_in(16);  // the greatest sums
  side.codes.resize(static_cast<size_t>(rows * s.dim));
  for (uint8_t& code : side.codes)
    code = static_cast<uint8_t>((full ? ~0u : draw.word()) & ((1u << bits) - 1));
  const int64_t parameters = side.along == num::fixed::Along::kTokens
                                 ? (rows + side.group - 1) / side.group * s.dim
                                 : rows * (s.dim / side.group);
  for (int64_t i = 0; i < parameters; ++i) {
    float step = 0.5f + 2.5f * static_cast<float>(draw.below(256)) / 256;
    float low = -step * (0.8f + 0.4f * draw.normal());
    if (s.range != FixedRange::kPlain) {
      if (draw.one_in(37)) step *= 12, low = low * 3 + draw.normal() * 20;
      if (draw.one_in(53)) step = 0;
    }
    if (s.range == FixedRange::kExtreme || s.range == FixedRange::kClamped) {
      if (draw.one_in(7)) step *= 1e-5f, low *= 1e-4f;
      if (draw.one_in(11)) low *= 500;
      if (draw.one_in(61)) step = 65504.0f * static_cast<float>((1 << bits) - 1);
      if (draw.one_in(61)) low = draw.one_in(2) ? 65504.0f : -65504.0f;
      if (draw.one_in(61)) step = 0x1p-24f * static_cast<float>((1 << bits) - 1);
    }
    side.scale.push_back(fixed_f16(step / static_cast<float>((1 << bits) - 1)));
    side.zero.push_back(fixed_f16(low));
  }
  return side;
}

inline std::vector<float> fixed_query(FixedDraw& draw, const FixedShape& s) {
  std::vector<float> q(static_cast<size_t>(s.dim));
  const bool zero = s.range == FixedRange::kClamped && draw.one_in(3);
  for (float& x : q) {
    x = draw.normal();
    if (s.range == FixedRange::kExtreme && draw.one_in(5)) x *= 300;
    if (s.range == FixedRange::kClamped && draw.one_in(3)) x *= 6000;
    if (draw.one_in(5) || zero) x = 0;
    if (draw.one_in(4)) x = fixed_f16(x);
  }
  return q;
}

inline FixedCase fixed_random_case(FixedDraw& draw, const FixedShape& s) {
  FixedCase c;
  c.dim = s.dim;
  c.k = fixed_side(draw, s, true);
  c.v = fixed_side(draw, s, false);
  c.q = fixed_query(draw, s);
  const float spread = s.range == FixedRange::kPlain ? 1.0f : 20.0f;
  for (int64_t i = 0; i < s.rows * s.dim; ++i) {
    c.exact_k.push_back(fixed_f16(draw.normal() * spread));
    c.exact_v.push_back(fixed_f16(draw.normal() * spread));
  }
  return c;
}

// Rows [begin, end): exact up to `sealed_begin` and from `sealed_end` on, sealed between, cut into
// ranges at random.
inline std::vector<num::fixed::RowRead> fixed_reads(FixedDraw& draw, const float* exact, int dim,
                                                    int64_t begin, int64_t end,
                                                    int64_t sealed_begin, int64_t sealed_end) {
  std::vector<num::fixed::RowRead> reads;
  for (int64_t t = begin; t < end;) {
    const bool sealed = t >= sealed_begin && t < sealed_end;
    int64_t stop = sealed ? sealed_end : t < sealed_begin ? sealed_begin : end;
    stop = std::min(stop, end);
    if (draw.one_in(3)) stop = std::min(stop, t + 1 + draw.below(300));
    reads.push_back({t, stop - t, sealed ? nullptr : exact + t * dim});
    t = stop;
  }
  return reads;
}

}  // namespace kvx::test
