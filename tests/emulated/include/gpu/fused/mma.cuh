// gpu/fused/mma.cuh on the emulated device: the products and loads of PTX, by what its tables say
// each lane holds.
#pragma once

#include <cstdint>

#include "gpu/fused/bulk.cuh"
#include "tests/emulated/matrix.h"

namespace kvx::gpu::fused {

inline uint32_t flip_and_mask(uint32_t x, uint32_t flip, uint32_t mask) {
  return (x ^ flip) & mask;
}

inline void multiply_signed(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                            uint32_t b0, uint32_t b1,
                            emulated::Place place = emulated::Place::here()) {
  emulated::multiply<uint8_t, int8_t>(c, {a0, a1, a2, a3}, {b0, b1}, place);
}
inline void multiply_unsigned(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2, uint32_t a3,
                              uint32_t b0, uint32_t b1,
                              emulated::Place place = emulated::Place::here()) {
  emulated::multiply<uint8_t, uint8_t>(c, {a0, a1, a2, a3}, {b0, b1}, place);
}

inline void load_transposed(const void* row, uint32_t (&r)[4],
                            emulated::Place place = emulated::Place::here()) {
  emulated::load_transposed(row, r, place);
}

}  // namespace kvx::gpu::fused
