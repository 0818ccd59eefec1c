#include "sim/num/attention_kernel.h"

#include "sim/num/attention.h"
#include "sim/num/elementary.h"
#include "sim/num/elementary_simd.h"
#include "sim/num/gemm.h"
#include "sim/num/gemm_simd.h"
#include "sim/num/kernels.h"

namespace kvx::num::KVX_ISA {
namespace {

constexpr int kLanes = F32::kLanes;
// Row pitches of score tiles; not a power of two, so that rows fall into different cache sets.
constexpr int kScorePitch = kSegment + 16;
constexpr int kMixedPitch = 2 * kSegment + 16;

int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t clamp_rows(int64_t x, int64_t high) { return x < 0 ? 0 : least(x, high); }
int64_t padded(int head_dim) { return (head_dim + kPanel - 1) / kPanel * kPanel; }

struct Scratch {
  float* q;             // [head dim][rows of the tile]
  float* scores;        // [kTileRows][kScorePitch], then probabilities
  float* exact_scores;  // [kTileRows][kPanel]
  float* mixed_p;       // [kTileRows][kMixedPitch]
  float* mixed_v;       // [2 kSegment][padded head dim]
  float* out;           // [kTileRows][padded head dim]: O

  Scratch(float* base, int head_dim) {
    q = base;
    scores = q + padded(head_dim) * kTileRows;
    exact_scores = scores + kTileRows * kScorePitch;
    mixed_p = exact_scores + kTileRows * kPanel;
    mixed_v = mixed_p + kTileRows * kMixedPitch;
    out = mixed_v + 2 * kSegment * padded(head_dim);
  }
  static int64_t floats(int head_dim) {
    return padded(head_dim) * kTileRows * 2 + kTileRows * (kScorePitch + kPanel + kMixedPitch) +
           2 * kSegment * padded(head_dim);
  }
};

// Scores of R queries and one panel of keys: one chain over the head dim (2.1, d <= 512), + 0.0,
// times the scale.
template <int R>
void score_panel(const float* q, const float* panel, int head_dim, float scale, float* scores,
                 int pitch) {
  const F32 factor = F32::all(scale);
  for (int c = 0; c < kPanel; c += kTileColumns) {
    F32 acc[R][2];
    for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = F32::zero();
    multiply_tile<R, 1, R>(q, panel + c, kPanel, head_dim, acc);
    for (int r = 0; r < R; ++r) {
      ((acc[r][0] + F32::zero()) * factor).store(scores + r * pitch + c);
      ((acc[r][1] + F32::zero()) * factor).store(scores + r * pitch + c + kLanes);
    }
  }
}

// Scores to probabilities in place, +0 from `count` to the segment's end; returns their sum (2.2,
// 256 values).
float probabilities(float* s, int64_t count, float maximum) {
  const F32 m = F32::all(maximum);
  for (int64_t i = 0; i < kSegment; i += kLanes) {
    if (i + kLanes <= count) {
      exp2(F32::load(s + i) - m).store(s + i);
    } else if (i < count) {
      exp2(F32::load_first(s + i, static_cast<int>(count - i)) - m).store(s + i);
      for (int64_t j = count; j < i + kLanes; ++j) s[j] = 0.0f;
    } else {
      F32::zero().store(s + i);
    }
  }
  return kKernels.sum(s, kSegment);
}

// Values that some queries of the tile read sealed and others exact, rows [low, high) of the
// segment: each row twice, ascending, with a probability of +0 in the version a query does not read
// (which changes no bit, 2.7).
void interleave_mixed(const AttentionSides& sides, const AttentionQuery* queries, int count,
                      int64_t first, int64_t low, int64_t high, int64_t width,
                      const Scratch& scratch) {
  for (int64_t t = low; t < high; ++t) {
    const int64_t at = 2 * (t - low);
    const float* sealed = sides.v_sealed + (first + t) * sides.v_stride;
    const float* exact = sides.v_exact + (first + t) * sides.v_stride;
    for (int64_t j = 0; j < width; j += kLanes) {
      F32::load(sealed + j).store(scratch.mixed_v + at * width + j);
      F32::load(exact + j).store(scratch.mixed_v + (at + 1) * width + j);
    }
    for (int r = 0; r < count; ++r) {
      const float p = scratch.scores[r * kScorePitch + t];
      const bool reads_sealed = first + t < queries[r].v_sealed;
      scratch.mixed_p[r * kMixedPitch + at] = reads_sealed ? p : 0.0f;
      scratch.mixed_p[r * kMixedPitch + at + 1] = reads_sealed ? 0.0f : p;
    }
  }
}

template <int R>
void attend_queries(const AttentionSides& sides, int head_dim, float scale,
                    const AttentionQuery* queries, float* base) {
  const Scratch scratch(base, head_dim);
  const int64_t width = padded(head_dim);
  // From k_low, v_low on some query reads exact rows; below k_high, v_high some reads sealed ones.
  int64_t last = 0, k_low = INT64_MAX, k_high = 0, v_low = INT64_MAX, v_high = 0;
  for (int r = 0; r < R; ++r) {
    const AttentionQuery& query = queries[r];
    for (int i = 0; i < head_dim; ++i) scratch.q[i * R + r] = query.q[i];
    last = query.position > last ? query.position : last;
    if (query.k_sealed <= query.position) k_low = least(k_low, query.k_sealed);
    if (query.v_sealed <= query.position) v_low = least(v_low, query.v_sealed);
    k_high = query.k_sealed > k_high ? query.k_sealed : k_high;
    v_high = query.v_sealed > v_high ? query.v_sealed : v_high;
    for (int64_t j = 0; j < width; j += kLanes) F32::zero().store(scratch.out + r * width + j);
  }
  float M[R], L[R], before[R], now[R];
  bool sees[R];
  for (int r = 0; r < R; ++r) {
    M[r] = -__builtin_inff();
    L[r] = 0.0f;
  }

  for (int64_t first = 0; first <= last; first += kSegment) {
    const int64_t rows = least(kSegment, last + 1 - first);
    for (int64_t i = 0; i < rows; i += kPanel) {
      const int64_t panel = (first + i) / kPanel * head_dim * kPanel;
      float* scores = scratch.scores + i;
      if (least(first + i + kPanel, last + 1) <= k_low) {
        score_panel<R>(scratch.q, sides.k_sealed + panel, head_dim, scale, scores, kScorePitch);
      } else if (first + i >= k_high) {
        score_panel<R>(scratch.q, sides.k_exact + panel, head_dim, scale, scores, kScorePitch);
      } else {
        score_panel<R>(scratch.q, sides.k_sealed + panel, head_dim, scale, scores, kScorePitch);
        score_panel<R>(scratch.q, sides.k_exact + panel, head_dim, scale, scratch.exact_scores,
                       kPanel);
        for (int r = 0; r < R; ++r) {
          for (int64_t j = clamp_rows(queries[r].k_sealed - first - i, kPanel); j < kPanel; ++j)
            scores[r * kScorePitch + j] = scratch.exact_scores[r * kPanel + j];
        }
      }
    }

    for (int r = 0; r < R; ++r) {
      const int64_t visible = clamp_rows(queries[r].position + 1 - first, kSegment);
      sees[r] = visible > 0;
      float* s = scratch.scores + r * kScorePitch;
      if (!sees[r]) {
        for (int64_t i = 0; i < kSegment; i += kLanes) F32::zero().store(s + i);
        continue;
      }
      const float m = __builtin_ceilf(kKernels.max(s, visible));
      const float l = probabilities(s, visible, m);
      const float maxima[2] = {M[r], m};
      const float next = kKernels.max(maxima, 2);
      before[r] = num::exp2(M[r] - next);
      now[r] = num::exp2(m - next);
      L[r] = __builtin_fmaf(l, now[r], L[r] * before[r]);
      M[r] = next;
    }

    const int64_t sealed_end = clamp_rows(v_low - first, rows);
    const int64_t exact_begin = clamp_rows(v_high - first, rows);
    if (sealed_end < exact_begin)
      interleave_mixed(sides, queries, R, first, sealed_end, exact_begin, width, scratch);
    for (int64_t c = 0; c < width; c += kTileColumns) {
      F32 acc[R][2];
      for (int r = 0; r < R; ++r) acc[r][0] = acc[r][1] = F32::zero();
      if (sealed_end > 0)
        multiply_tile<R, kScorePitch, 1>(scratch.scores,
                                         sides.v_sealed + first * sides.v_stride + c,
                                         sides.v_stride, sealed_end, acc);
      if (sealed_end < exact_begin)
        multiply_tile<R, kMixedPitch, 1>(scratch.mixed_p, scratch.mixed_v + c, width,
                                         2 * (exact_begin - sealed_end), acc);
      if (exact_begin < rows)
        multiply_tile<R, kScorePitch, 1>(scratch.scores + exact_begin,
                                         sides.v_exact + (first + exact_begin) * sides.v_stride + c,
                                         sides.v_stride, rows - exact_begin, acc);
      for (int r = 0; r < R; ++r) {
        if (!sees[r]) continue;
        for (int half = 0; half < 2; ++half) {
          float* o = scratch.out + r * width + c + half * kLanes;
          fma(acc[r][half], F32::all(now[r]), F32::load(o) * F32::all(before[r])).store(o);
        }
      }
    }
  }

  for (int r = 0; r < R; ++r) {
    for (int j = 0; j < head_dim; ++j) queries[r].out[j] = scratch.out[r * width + j] / L[r] + 0.0f;
  }
}

}  // namespace

int attention_rows() { return kTileRows; }

int64_t attention_scratch(int head_dim) { return Scratch::floats(head_dim); }

void attention(const AttentionSides& sides, int head_dim, float scale,
               const AttentionQuery* queries, int count, float* scratch) {
  with_rows(count, [&](auto rows) {
    attend_queries<decltype(rows)::kRows>(sides, head_dim, scale, queries, scratch);
  });
}

void key_panel(const float* rows, int64_t stride, int count, int head_dim, float* panel) {
  static_assert(kPanel % kLanes == 0);
  int i = 0;
  for (; i + kLanes <= head_dim; i += kLanes) {
    for (int first = 0; first < kPanel; first += kLanes) {
      F32 block[kLanes];
      for (int r = 0; r < kLanes; ++r)
        block[r] = first + r < count ? F32::load(rows + (first + r) * stride + i) : F32::zero();
      transpose(block);
      for (int c = 0; c < kLanes; ++c) block[c].store(panel + (i + c) * kPanel + first);
    }
  }
  for (; i < head_dim; ++i) {
    for (int r = 0; r < kPanel; ++r)
      panel[i * kPanel + r] = r < count ? rows[r * stride + i] : 0.0f;
  }
}

}  // namespace kvx::num::KVX_ISA
