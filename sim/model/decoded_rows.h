// Sealed rows of one sequence in one layer as a query reads them, kept from one step of generation
// to the next: what is sealed never changes (Law::kPrefix). Private to the engine.
#pragma once

#include <cstdint>

#include "sim/api/cache.h"
#include "sim/model/attention_rows.h"
#include "sim/num/gemm.h"

namespace kvx::model {

class DecodedRows {
 public:
  DecodedRows(int kv_heads, int head_dim);

  // Has rows [0, k.sealed) of K and [0, v.sealed) of V; reads those that are new.
  void update(const LayerCache& cache, SeqId seq, ReadForm k, ReadForm v);

  // Panels [ceil(rows/32)][head dim][32] of the keys of a head, and its values [rows][v_stride()],
  // as num::AttentionSides takes them; nullptr while no row is sealed.
  const float* keys(int head) const { return keys_.data.get() + head * keys_.head_floats(); }
  const float* values(int head) const { return values_.data.get() + head * values_.head_floats(); }
  int64_t v_stride() const { return stride_; }

  // Memory that `rows` rows of both sides take.
  static int64_t bytes(int kv_heads, int head_dim, int64_t rows);

 private:
  struct Store {
    num::AlignedArray<float> data;  // [kv heads][capacity][width]
    int64_t rows = 0, capacity = 0, width = 0;
    int64_t lead = 0;  // of the form it was read in
    int64_t head_floats() const { return capacity * width; }
  };
  static bool lacks(Store& store, ReadForm form);
  void grow(Store& store, int64_t rows) const;

  int heads_, dim_;
  int64_t stride_;
  Store keys_, values_;
};

}  // namespace kvx::model
