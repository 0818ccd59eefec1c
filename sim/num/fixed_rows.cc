#include "sim/num/fixed_rows.h"

#include <algorithm>
#include <stdexcept>

#include "sim/num/attention.h"

namespace kvx::num::fixed {
namespace {

void require(bool rule, const char* message) {
  if (!rule) throw std::logic_error(message);
}

void require_ranges(std::span<const RowRead> rows, const Sealed& side) {
  int64_t end = 0;
  for (const RowRead& range : rows) {
    require(range.first >= end && range.count > 0, "fixed: row ranges that do not ascend");
    require(range.exact || (side.codes && range.first >= side.first),
            "fixed: a sealed row before the first");
    end = range.first + range.count;
  }
}

// Both cover the same rows, however they are cut.
bool same_rows(std::span<const RowRead> a, std::span<const RowRead> b) {
  const auto next_run = [](std::span<const RowRead> rows, size_t& i) {
    RowRead run = rows[i++];
    while (i < rows.size() && rows[i].first == run.first + run.count) run.count += rows[i++].count;
    return run;
  };
  size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    const RowRead x = next_run(a, i), y = next_run(b, j);
    if (x.first != y.first || x.count != y.count) return false;
  }
  return i == a.size() && j == b.size();
}

}  // namespace

TileReads tile_reads(std::span<const RowRead> rows, int64_t first, int dim) {
  TileReads reads;
  int64_t sealed = 0;
  for (const RowRead& range : rows) {
    const int64_t begin = std::max(first, range.first);
    const int64_t end = std::min(first + kTile, range.first + range.count);
    for (int64_t t = begin; t < end; ++t) {
      const auto i = static_cast<size_t>(t - first);
      reads.visible[i] = true;
      reads.sealed[i] = range.exact == nullptr;
      if (range.exact) reads.exact[i] = range.exact + (t - range.first) * dim;
    }
    if (begin >= end) continue;
    (range.exact ? reads.any_exact : reads.any_sealed) = true;
    if (!range.exact) sealed += end - begin;
  }
  reads.all_sealed = sealed == kTile;
  reads.any = reads.any_sealed || reads.any_exact;
  return reads;
}

TileRange tile_range(std::span<const RowRead> rows) {
  if (rows.empty()) return {};
  return {rows.front().first / kTile, (rows.back().first + rows.back().count - 1) / kTile + 1};
}

float score_factor(int dim) { return attention_scale(dim); }

void require_rules(const Head& head, std::span<const Query> queries) {
  require(head.dim > 0 && head.dim <= kMaxDim, "fixed: head dim");
  for (const Sealed* side : {&head.k, &head.v}) {
    if (!side->codes) continue;
    require(side->scale && side->zero && side->first >= 0 && side->group > 0, "fixed: parameters");
    require(side->along == Along::kTokens || head.dim % side->group == 0,
            "fixed: a group along channels that does not divide the head dim");
  }
  require(!head.v.codes || head.v.along == Along::kChannels, "fixed: V in groups along tokens");
  for (const Query& query : queries) {
    require_ranges(query.k, head.k);
    require_ranges(query.v, head.v);
    require(same_rows(query.k, query.v), "fixed: K and V of different rows");
  }
}

}  // namespace kvx::num::fixed
