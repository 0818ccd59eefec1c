// Working memory of the engine: aligned floats that grow and never shrink.
#pragma once

#include <cstddef>
#include <cstdint>

#include "sim/num/gemm.h"

namespace kvx::model {

class Buffer {
 public:
  // At least `floats` floats; what they held is lost when the buffer grows, and new ones are zeros.
  float* reserve(int64_t floats) {
    const auto count = static_cast<size_t>(floats);
    if (count > capacity_) {
      data_ = num::aligned_floats(count);
      for (size_t i = 0; i < count; ++i) data_[i] = 0.0f;
      capacity_ = count;
    }
    return data_.get();
  }
  float* get() const { return data_.get(); }

 private:
  num::AlignedArray<float> data_;
  size_t capacity_ = 0;
};

}  // namespace kvx::model
