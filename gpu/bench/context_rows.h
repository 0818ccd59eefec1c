// K and V of contexts as they come out of a prefill: binary16 rows in device memory, enough of them
// that passes can go round rows which no cache level holds.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "gpu/cache/layout.h"
#include "gpu/common/memory.h"
#include "sim/api/layer_bench.h"

namespace kvx::gpu {

class ContextRows {
 public:
  // Slots of `pass_rows` rows each, of `row_values` values, at least `bytes` together; filled with
  // the inputs' rows over and over.
  ContextRows(const BenchInputs& inputs, int64_t row_values, int64_t pass_rows, int64_t bytes,
              cudaStream_t stream);

  int64_t slots() const { return slots_; }
  int64_t bytes() const { return k_.bytes() + v_.bytes(); }
  // Rows of a pass: of slot `pass` mod slots.
  PassRows k(int64_t pass) const { return rows(k_, pass); }
  PassRows v(int64_t pass) const { return rows(v_, pass); }

 private:
  PassRows rows(const DeviceArray<uint16_t>& side, int64_t pass) const {
    return {side.get() + pass % slots_ * slot_values_, ScalarType::kF16};
  }
  int64_t slot_values_ = 0, slots_ = 0;
  DeviceArray<uint16_t> k_, v_;
};

}  // namespace kvx::gpu
