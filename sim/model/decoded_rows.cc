#include "sim/model/decoded_rows.h"

#include <algorithm>

#include "sim/num/attention_tile.h"

namespace kvx::model {
namespace {

int64_t whole_panels(int64_t count) {
  return (count + num::kPanel - 1) / num::kPanel * num::kPanel;
}

}  // namespace

DecodedRows::DecodedRows(int kv_heads, int head_dim)
    : heads_(kv_heads), dim_(head_dim), stride_(whole_panels(head_dim)) {
  keys_.width = dim_;
  values_.width = stride_;
}

int64_t DecodedRows::bytes(int kv_heads, int head_dim, int64_t rows) {
  return whole_panels(rows) * kv_heads * (head_dim + whole_panels(head_dim)) *
         int64_t{sizeof(float)};
}

void DecodedRows::grow(Store& store, int64_t rows) const {
  if (rows <= store.capacity) return;
  const int64_t capacity = whole_panels(std::max(rows, store.capacity + store.capacity / 2));
  const int64_t kept = whole_panels(store.rows) * store.width;
  auto data = num::aligned_floats(static_cast<size_t>(heads_ * capacity * store.width));
  for (int head = 0; head < heads_; ++head) {
    float* const to = data.get() + head * capacity * store.width;
    if (kept > 0) std::copy_n(store.data.get() + head * store.head_floats(), kept, to);
    std::fill(to + kept, to + capacity * store.width, 0.0f);
  }
  store.data = std::move(data);
  store.capacity = capacity;
}

// Rows that were read in another form are read again.
bool DecodedRows::lacks(Store& store, ReadForm form) {
  if (form.sealed > 0 && form.lead != store.lead) {
    store.rows = 0;
    store.lead = form.lead;
  }
  return form.sealed > store.rows;
}

void DecodedRows::update(const LayerCache& cache, SeqId seq, ReadForm k, ReadForm v) {
  if (lacks(values_, v)) {
    grow(values_, v.sealed);
    const int64_t first = values_.rows, count = v.sealed - first;
    read_form_rows(cache, seq, Side::kV, v.lead, first, count,
                   {values_.data.get() + first * stride_, count, heads_, dim_, stride_,
                    values_.head_floats()});
    values_.rows = v.sealed;
  }
  if (lacks(keys_, k)) {
    grow(keys_, k.sealed);
    // From the start of the panel that was not full.
    const int64_t first = keys_.rows / num::kPanel * num::kPanel, count = k.sealed - first;
    auto rows = num::aligned_floats(static_cast<size_t>(heads_ * count * dim_));
    read_form_rows(cache, seq, Side::kK, k.lead, first, count,
                   {rows.get(), count, heads_, dim_, dim_, count * dim_});
    for (int head = 0; head < heads_; ++head)
      for (int64_t row = 0; row < count; row += num::kPanel)
        num::pack_key_panel(rows.get() + (head * count + row) * dim_, dim_,
                            static_cast<int>(std::min<int64_t>(num::kPanel, count - row)), dim_,
                            keys_.data.get() + head * keys_.head_floats() + (first + row) * dim_);
    keys_.rows = k.sealed;
  }
}

}  // namespace kvx::model
