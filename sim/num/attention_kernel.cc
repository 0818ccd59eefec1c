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

// Scores to probabilities in place, +0 from `count` to the segment's end. m: the ceiling of the
// greatest score; l: the sum of the probabilities (2.2, 256 values). Where a score is NaN or the
// greatest one infinite, only l is right: it is NaN, and with it the whole row of outputs.
void softmax_segment(float* s, int64_t count, float* m, float* l) {
  constexpr int kVectors = kSegment / kLanes;
  const F32 lowest = F32::all(-__builtin_inff());
  for (int64_t i = count; i < kSegment; ++i) s[i] = -__builtin_inff();

  F32 top[4] = {lowest, lowest, lowest, lowest};
  F32::Mask nans = is_nan(lowest);
  for (int i = 0; i < kVectors; i += 4) {
    F32 x[4];
    for (int j = 0; j < 4; ++j) {
      x[j] = F32::load(s + (i + j) * kLanes);
      top[j] = max_x86(x[j], top[j]);
    }
    nans = F32::either(nans, F32::either(either_nan(x[0], x[1]), either_nan(x[2], x[3])));
  }
  const float greatest = greatest_lane(max_x86(max_x86(top[0], top[1]), max_x86(top[2], top[3])));
  const F32 ceiling = ceil(F32::all(greatest));

  // Lanes 0..127 of the sum are x_j + x_(j+128); the first step of its tree adds j + 64 to j.
  constexpr int kQuarter = kVectors / 4;
  F32 part[kQuarter];
  for (int i = 0; i < kQuarter; ++i) {
    F32 p[4];
    for (int j = 0; j < 4; ++j) {
      float* at = s + (i + j * kQuarter) * kLanes;
      p[j] = exp2_not_above(F32::load(at) - ceiling);
      p[j].store(at);
    }
    part[i] = (p[0] + p[2]) + (p[1] + p[3]);
  }
  for (int h = kQuarter / 2; h >= 1; h /= 2)
    for (int i = 0; i < h; ++i) part[i] = part[i] + part[i + h];
  ceiling.store_first(m, 1);
  *l = add_halves(part[0]);
  if (F32::any(nans) || __builtin_isinf(greatest)) *l = __builtin_nanf("");
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
  // One lane a query.
  static_assert(R <= kLanes);
  F32 M = F32::all(-__builtin_inff()), L = F32::zero();
  float before[kLanes], now[kLanes], sums[kLanes];
  bool sees[R];

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

    float m[kLanes], l[kLanes];
    F32::all(-__builtin_inff()).store(m);
    F32::zero().store(l);
    for (int r = 0; r < R; ++r) {
      const int64_t visible = clamp_rows(queries[r].position + 1 - first, kSegment);
      sees[r] = visible > 0;
      float* s = scratch.scores + r * kScorePitch;
      if (sees[r]) {
        softmax_segment(s, visible, &m[r], &l[r]);
      } else {
        for (int64_t i = 0; i < kSegment; i += kLanes) F32::zero().store(s + i);
      }
    }
    // A query that sees nothing of the segment has m = -inf and l = 0, which change nothing.
    const F32 top = F32::load(m), next = max_x86(M, top);
    const F32 a = exp2(M - next), b = exp2(top - next);
    L = fma(F32::load(l), b, L * a);
    M = next;
    a.store(before);
    b.store(now);

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

  L.store(sums);
  for (int r = 0; r < R; ++r) {
    for (int64_t j = 0; j < head_dim; j += kLanes) {
      const F32 out = F32::load(scratch.out + r * width + j) / F32::all(sums[r]) + F32::zero();
      out.store_first(queries[r].out + j, static_cast<int>(least(kLanes, head_dim - j)));
    }
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
