#include "sim/model/attention_rows.h"

#include <algorithm>
#include <stdexcept>
#include <utility>
#include <vector>

#include "sim/num/rope.h"

namespace kvx::model {

void read_rows(const LayerCache& cache, SeqId seq, Side side, RowRange range, Rows out) {
  cache.read(seq, side, range, out);
  if (side == Side::kV || cache.traits().keys == KeySpace::kRotated) return;
  const std::vector<uint64_t>& steps = cache.config().rope_steps;
  if (std::cmp_not_equal(2 * steps.size(), out.dim))
    throw std::logic_error("keys before rotation in a cache without rotary steps");
  std::vector<float> sin(steps.size()), cos(steps.size());
  for (int64_t t = 0; t < range.count; ++t) {
    num::rope_table(steps, range.first + t, sin, cos);
    for (int head = 0; head < out.heads; ++head)
      num::rope_rotate({out.row(t, head), static_cast<size_t>(out.dim)}, sin, cos);
  }
}

std::optional<ReadForm> read_form(const ReadMap& map, int64_t rows) {
  ReadForm form;
  int64_t next = 0;
  for (const RowRange& range : map) {
    if (range.first != next) return std::nullopt;
    next += range.count;
    if (range.held == Held::kExact) continue;
    if (form.sealed != 0) return std::nullopt;
    form = {range.first, next};
  }
  if (next != rows) return std::nullopt;
  return form;
}

void read_form_rows(const LayerCache& cache, SeqId seq, Side side, int64_t lead, int64_t first,
                    int64_t count, Rows out) {
  const int64_t exact = std::clamp<int64_t>(lead - first, 0, count);
  if (exact > 0) read_rows(cache, seq, side, {first, exact, Held::kExact}, out.slice(0, exact));
  if (exact < count) {
    read_rows(cache, seq, side, {first + exact, count - exact, Held::kSealed},
              out.slice(exact, count - exact));
  }
}

}  // namespace kvx::model
