// The definition of fixed.md, section 2: one query, one tile after the other.
#include "sim/num/fixed.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "sim/num/fixed_rows.h"
#include "sim/num/fixed_steps.h"

namespace kvx::num::fixed::plain {
namespace {

std::span<const float> part(const float* x, int first, int count) {
  return {x + first, static_cast<size_t>(count)};
}

class Attention {
 public:
  Attention(const Head& head, const Query& query)
      : head_(head),
        query_(query),
        c_(score_factor(head.dim)),
        groups_(head.v.codes ? head.dim / head.v.group : 1) {
    if (!head.k.codes || head.k.along == Along::kTokens) return;
    for (int j = 0; j < head.dim; j += head.k.group) {
      digits_.push_back(query_digits(part(query.q, j, head.k.group), nullptr));
      sums_.push_back(zero_sum(part(query.q, j, head.k.group), nullptr));
    }
  }

  void run() {
    Partial all(groups_, head_.dim);
    const TileRange tiles = tile_range(query_.k);
    constexpr int64_t kSpanTiles = kSegmentTiles * kSpanSegments;
    for (int64_t i = tiles.begin; i < tiles.end;) {
      Partial span(groups_, head_.dim);
      const int64_t span_end = std::min(tiles.end, (i / kSpanTiles + 1) * kSpanTiles);
      while (i < span_end) {
        Partial segment(groups_, head_.dim);
        const int64_t end = std::min(span_end, (i / kSegmentTiles + 1) * kSegmentTiles);
        for (; i < end; ++i) add_tile(i * kTile, segment);
        span.fold(segment);
      }
      all.fold(span);
    }
    all.out({query_.out, static_cast<size_t>(head_.dim)});
  }

 private:
  const uint8_t* codes(const Sealed& side, int64_t row) const {
    return side.codes + (row - side.first) * head_.dim;
  }

  // Steps 1, 2 and 3a; digits and zero sum of a group are made once for its rows.
  float score_per_channel(int64_t row) {
    const int64_t group = token_group(head_.k, row);
    if (group != group_) {
      const std::span<const float> q = part(query_.q, 0, head_.dim);
      group_ = group;
      digits_.assign(1, query_digits(q, head_.k.scale + group * head_.dim));
      sums_.assign(1, zero_sum(q, head_.k.zero + group * head_.dim) * c_);
    }
    int32_t s = 0;
    for (int j = 0; j < head_.dim; ++j)
      s += codes(head_.k, row)[j] * digits_[0].y[static_cast<size_t>(j)];
    return std::fma(static_cast<float>(s), c_ * power(digits_[0].e - 14), sums_[0]);
  }

  // Step 3b.
  float score_per_token(int64_t row) const {
    const int64_t at = (row - head_.k.first) * static_cast<int64_t>(digits_.size());
    float a = 0;
    for (size_t g = 0; g < digits_.size(); ++g) {
      const int first = static_cast<int>(g) * head_.k.group;
      int32_t s = 0;
      for (int j = 0; j < head_.k.group; ++j)
        s += codes(head_.k, row)[first + j] * digits_[g].y[static_cast<size_t>(j)];
      const auto i = at + static_cast<int64_t>(g);
      a = std::fma(static_cast<float>(s), head_.k.scale[i] * power(digits_[g].e - 14), a);
      a = std::fma(sums_[g], head_.k.zero[i], a);
    }
    return a * c_;
  }

  // Step 3c.
  float score_exact(const float* k) const {
    float a = 0;
    for (int j = 0; j < head_.dim; ++j) a = std::fma(query_.q[j], k[j], a);
    return a * c_;
  }

  void add_tile(int64_t first, Partial& segment) {
    const TileReads k = tile_reads(query_.k, first, head_.dim);
    const TileReads v = tile_reads(query_.v, first, head_.dim);
    if (!k.any) return;
    std::array<float, kTile> x{};
    for (size_t i = 0; i < kTile; ++i) {
      if (!k.visible[i]) continue;
      const int64_t row = first + static_cast<int64_t>(i);
      const float s = k.exact[i]                        ? score_exact(k.exact[i])
                      : head_.k.along == Along::kTokens ? score_per_channel(row)
                                                        : score_per_token(row);
      x[i] = std::min(std::max(s, -0x1p+20f), 0x1p+20f);
    }
    const Weights w = weights(x, k.visible);

    // Step 10.
    segment.raise(w.m);
    const int down = w.m - segment.m;
    segment.l = std::fma(static_cast<float>(w.l), power(down - 21), segment.l);
    for (int g = 0; v.any_sealed && g < groups_; ++g) add_values(first, v, w, g, down, segment);
    if (!v.any_exact) return;
    for (int j = 0; j < head_.dim; ++j) {
      float o = 0;  // step 9
      for (size_t i = 0; i < kTile; ++i)
        if (v.exact[i]) o = std::fma(w.p[i], v.exact[i][j], o);
      float& sum = segment.o[static_cast<size_t>(j)];
      sum = std::fma(o, power(down - 21), sum);
    }
  }

  // Steps 6 to 8 of one V group, and its part of step 10.
  void add_values(int64_t first, const TileReads& v, const Weights& w, int g, int down,
                  Partial& segment) const {
    std::array<float, kTile> scale{}, zero{};
    for (size_t i = 0; i < kTile; ++i) {
      if (!v.sealed[i]) continue;
      const int64_t at = (first + static_cast<int64_t>(i) - head_.v.first) * groups_ + g;
      scale[i] = head_.v.scale[at];
      zero[i] = head_.v.zero[at];
    }
    const ValueDigits d = value_digits(w.p, scale, zero);
    float& z = segment.z[static_cast<size_t>(g)];
    z = std::fma(static_cast<float>(d.zi), power(down + d.ez - 18), z);
    const float unit = power(down + d.eu - 15);
    for (int j = g * head_.v.group; j < (g + 1) * head_.v.group; ++j) {
      int32_t sum = 0;
      for (size_t i = 0; i < kTile; ++i)
        if (v.sealed[i]) sum += d.digits[i] * codes(head_.v, first + static_cast<int64_t>(i))[j];
      float& o = segment.o[static_cast<size_t>(j)];
      o = std::fma(static_cast<float>(sum), unit, o);
    }
  }

  const Head& head_;
  const Query& query_;
  const float c_;
  const int groups_;                 // of V
  int64_t group_ = -1;               // of K along tokens, whose digits and sum are below
  std::vector<QueryDigits> digits_;  // of each group along channels, or of group_
  std::vector<float> sums_;          // zero sums: w_g, or zc of group_
};

}  // namespace

void attend(const Head& head, std::span<const Query> queries) {
  require_rules(head, queries);
  for (const Query& query : queries) Attention(head, query).run();
}

}  // namespace kvx::num::fixed::plain
