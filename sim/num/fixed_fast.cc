// The vectorised attention of fixed.md: tiles outside, the queries that share a KV head inside, so
// that codes of V are unpacked once for all of them.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "sim/num/fixed.h"
#include "sim/num/fixed_kernel.h"
#include "sim/num/fixed_rows.h"
#include "sim/num/fixed_steps.h"
#include "sim/num/isa.h"

namespace kvx::num::fixed {

const Kernels& kernels() {
  static const bool vnni = __builtin_cpu_supports("avx512vnni");
  return vnni && active_isa() == Isa::kAvx512 ? avx512::kFixedKernels : avx2::kFixedKernels;
}

namespace {

// Kernels take 32 channels at a time; other shapes are left to the plain loops.
bool vectorised(const Head& head) {
  const auto whole = [](const Sealed& side) {
    return !side.codes || side.along == Along::kTokens || side.group % kPairChannels == 0;
  };
  return head.dim % kPairChannels == 0 && whole(head.k) && whole(head.v);
}

class QueryState {
 public:
  QueryState(const Head& head, const Query& query, const Kernels& kernel)
      : head_(head),
        query_(query),
        kernel_(kernel),
        c_(score_factor(head.dim)),
        groups_(head.v.codes ? head.dim / head.v.group : 1),
        tiles_(tile_range(query.k)),
        segment_(groups_, head.dim),
        span_(groups_, head.dim),
        all_(groups_, head.dim),
        value_digits_(static_cast<size_t>(groups_ * kTile)),
        eu_(static_cast<size_t>(groups_)) {
    if (!head.k.codes || head.k.along == Along::kTokens) return;
    for (int j = 0; j < head.dim; j += head.k.group) {
      e_.push_back(kernel.query_digits(query.q + j, nullptr, head.k.group, y_ + j));
      sums_.push_back(kernel.zero_sum(query.q + j, nullptr, head.k.group));
    }
    dots_.resize(e_.size() * kTile);
  }

  const TileRange& tiles() const { return tiles_; }

  // Steps 1 to 7 and 9 of a tile, and their parts of step 10. Returns whether codes of V are read:
  // then add_products follows for each 32 channels.
  bool add_tile(int64_t tile) {
    const int64_t first = tile * kTile;
    if (tile < tiles_.begin || tile >= tiles_.end) return false;
    const TileReads k = tile_reads(query_.k, first, head_.dim);
    if (!k.any) return false;
    v_ = tile_reads(query_.v, first, head_.dim);
    scores(first, k);
    int32_t l;
    const int m = kernel_.weights(x_, p_, &l);
    segment_.raise(m);
    down_ = m - segment_.m;
    segment_.l = std::fma(static_cast<float>(l), power(down_ - 21), segment_.l);
    if (v_.any_sealed) value_weights(first);
    if (v_.any_exact && !v_.any_sealed) add_exact();
    return v_.any_sealed;
  }

  // Step 8 and its part of step 10 for 32 channels, whose codes of the tile sum up to `codes`;
  // after the last channels step 9's part of step 10.
  void add_products(int channel, const uint32_t* pairs, const int32_t* codes) {
    const int g = channel / head_.v.group;
    alignas(64) int32_t sums[kPairChannels];
    kernel_.value_sums(pairs, value_digits_.data() + g * kTile, sums);
    const float unit = power(down_ + eu_[static_cast<size_t>(g)] - 15);
    float* o = segment_.o.data() + channel;
    for (int j = 0; j < kPairChannels; ++j) {
      const uint32_t sum = static_cast<uint32_t>(sums[j]) + (static_cast<uint32_t>(codes[j]) << 15);
      o[j] = std::fma(static_cast<float>(static_cast<int32_t>(sum)), unit, o[j]);
    }
    if (v_.any_exact && channel + kPairChannels == head_.dim) add_exact();
  }

  const TileReads& values_read() const { return v_; }

  // After the last tile of a segment or span, and after the last of all.
  void end_tile(int64_t tile) {
    constexpr int64_t kSpanTiles = kSegmentTiles * kSpanSegments;
    const bool last = tile + 1 == tiles_.end;
    if (last || tile % kSegmentTiles == kSegmentTiles - 1) {
      span_.fold(segment_);
      segment_.clear();
    }
    if (last || tile % kSpanTiles == kSpanTiles - 1) {
      all_.fold(span_);
      span_.clear();
    }
  }

  void end() { all_.out({query_.out, static_cast<size_t>(head_.dim)}); }

 private:
  // Steps 1 to 3, without the clamp. Runs of rows that are read alike and share a K group.
  void scores(int64_t first, const TileReads& k) {
    std::fill_n(x_, kTile, -std::numeric_limits<float>::infinity());
    for (size_t i = 0; i < kTile;) {
      size_t end = i + 1;
      const int64_t row = first + static_cast<int64_t>(i) - head_.k.first;
      if (k.sealed[i]) {
        const bool along_tokens = head_.k.along == Along::kTokens;
        const int64_t group = along_tokens ? row / head_.k.group : 0;
        const int64_t left = along_tokens ? (group + 1) * head_.k.group - row : kTile;
        const size_t stop = std::min<size_t>(kTile, i + static_cast<size_t>(left));
        while (end < stop && k.sealed[end]) ++end;
        if (along_tokens)
          scores_per_channel(row, group, static_cast<int>(end - i), x_ + i);
        else
          scores_per_token(row, static_cast<int>(end - i), x_ + i);
      } else if (k.exact[i]) {
        while (end < kTile && k.exact[end]) ++end;
        const int count = static_cast<int>(end - i);
        kernel_.exact_dots(k.exact.data() + i, count, query_.q, head_.dim, x_ + i);
        for (int r = 0; r < count; ++r) x_[i + static_cast<size_t>(r)] *= c_;
      }
      i = end;
    }
  }

  void scores_per_channel(int64_t row, int64_t group, int count, float* x) {
    if (group != group_) {
      group_ = group;
      const int64_t at = group * head_.dim;
      e_.assign(1, kernel_.query_digits(query_.q, head_.k.scale + at, head_.dim, y_));
      sums_.assign(1, kernel_.zero_sum(query_.q, head_.k.zero + at, head_.dim) * c_);
      dots_.resize(kTile);
    }
    kernel_.dots(head_.k.codes + row * head_.dim, head_.dim, count, y_, head_.dim, dots_.data());
    const float unit = c_ * power(e_[0] - 14), zc = sums_[0];
    for (int r = 0; r < count; ++r)
      x[r] = std::fma(static_cast<float>(dots_[static_cast<size_t>(r)]), unit, zc);
  }

  void scores_per_token(int64_t row, int count, float* x) {
    const size_t groups = e_.size();
    for (size_t g = 0; g < groups; ++g) {
      const int first = static_cast<int>(g) * head_.k.group;
      kernel_.dots(head_.k.codes + row * head_.dim + first, head_.dim, count, y_ + first,
                   head_.k.group, dots_.data() + g * kTile);
    }
    for (int r = 0; r < count; ++r) {
      const size_t at = static_cast<size_t>(row + r) * groups;
      float a = 0;
      for (size_t g = 0; g < groups; ++g) {
        const auto s = static_cast<float>(dots_[g * kTile + static_cast<size_t>(r)]);
        a = std::fma(s, head_.k.scale[at + g] * power(e_[g] - 14), a);
        a = std::fma(sums_[g], head_.k.zero[at + g], a);
      }
      x[r] = a * c_;
    }
  }

  // Steps 6 and 7, and step 10 for Z.
  void value_weights(int64_t first) {
    for (int g = 0; g < groups_; ++g) {
      alignas(64) float scales[kTile], zeros[kTile];
      const int64_t at = (first - head_.v.first) * groups_ + g;
      const bool as_stored = groups_ == 1 && v_.all_sealed;
      for (int i = 0; !as_stored && i < kTile; ++i) {
        const bool sealed = v_.sealed[static_cast<size_t>(i)];
        scales[i] = sealed ? head_.v.scale[at + static_cast<int64_t>(i) * groups_] : 0.0f;
        zeros[i] = sealed ? head_.v.zero[at + static_cast<int64_t>(i) * groups_] : 0.0f;
      }
      const float* scale = as_stored ? head_.v.scale + at : scales;
      const float* zero = as_stored ? head_.v.zero + at : zeros;
      eu_[static_cast<size_t>(g)] =
          kernel_.value_digits(p_, scale, value_digits_.data() + g * kTile);
      const ZeroPart part = kernel_.zero_part(p_, zero);
      float& z = segment_.z[static_cast<size_t>(g)];
      z = std::fma(static_cast<float>(part.zi), power(down_ + part.ez - 18), z);
    }
  }

  // Step 9 and its part of step 10.
  void add_exact() {
    const float* rows[kTile];
    float p[kTile], o[kMaxDim];
    int count = 0;
    for (size_t i = 0; i < kTile; ++i) {
      if (!v_.exact[i]) continue;
      rows[count] = v_.exact[i];
      p[count++] = p_[i];
    }
    kernel_.exact_values(rows, p, count, head_.dim, o);
    const float unit = power(down_ - 21);
    for (size_t j = 0; j < segment_.o.size(); ++j)
      segment_.o[j] = std::fma(o[j], unit, segment_.o[j]);
  }

  const Head& head_;
  const Query& query_;
  const Kernels& kernel_;
  const float c_;
  const int groups_;  // of V
  const TileRange tiles_;
  Partial segment_, span_, all_;
  alignas(64) int16_t y_[kMaxDim] = {};
  int64_t group_ = -1;       // of K along tokens, whose digits, exponent and zero sum are held
  std::vector<int> e_;       // of each K group along channels, or of group_
  std::vector<float> sums_;  // zero sums: w_g, or zc of group_
  std::vector<int32_t> dots_;
  // Of the tile at hand.
  TileReads v_;
  alignas(64) float x_[kTile], p_[kTile];
  int down_ = 0;
  std::vector<int16_t> value_digits_;  // [groups][kTile]
  std::vector<int> eu_;
};

}  // namespace

void attend(const Head& head, std::span<const Query> queries) {
  if (!vectorised(head)) return plain::attend(head, queries);
  require_rules(head, queries);
  const Kernels& kernel = kernels();
  std::vector<QueryState> states;
  states.reserve(queries.size());
  int64_t begin = std::numeric_limits<int64_t>::max(), end = 0;
  for (const Query& query : queries) {
    const TileRange& tiles = states.emplace_back(head, query, kernel).tiles();
    if (tiles.begin < tiles.end) begin = std::min(begin, tiles.begin);
    end = std::max(end, tiles.end);
  }

  const std::vector<uint8_t> absent(kMaxDim);
  std::vector<int16_t> ones(kTile, 1);
  std::vector<QueryState*> readers;
  alignas(64) uint32_t pairs[kTile / 2 * kPairChannels];
  for (int64_t tile = begin; tile < end; ++tile) {
    readers.clear();
    for (QueryState& state : states)
      if (state.add_tile(tile)) readers.push_back(&state);
    const uint8_t* rows[kTile];
    for (size_t i = 0; !readers.empty() && i < kTile; ++i) {
      const bool read = std::any_of(readers.begin(), readers.end(), [i](const QueryState* state) {
        return state->values_read().sealed[i];
      });
      const int64_t row = tile * kTile + static_cast<int64_t>(i) - head.v.first;
      rows[i] = read ? head.v.codes + row * head.dim : absent.data();
    }
    for (int c = 0; !readers.empty() && c < head.dim; c += kPairChannels) {
      alignas(64) int32_t sums[kPairChannels];
      kernel.pair_rows(rows, c, pairs);
      kernel.value_sums(pairs, ones.data(), sums);
      for (QueryState* state : readers) state->add_products(c, pairs, sums);
    }
    for (QueryState& state : states) state.end_tile(tile);
  }
  for (QueryState& state : states) state.end();
}

}  // namespace kvx::num::fixed
