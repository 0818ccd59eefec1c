// gpu/fused/warpgroup.cuh on the emulated device: each warp's rows by themselves, at once.
#pragma once

#include <cstdint>
#include <cstring>

#include "gpu/fused/bulk.cuh"
#include "tests/emulated/matrix.h"

namespace kvx::gpu::fused {

inline constexpr int kColumnBytes = 128;

inline int swizzled(int column, int chunk) {
  return column * kColumnBytes + ((chunk ^ column) & 7) * 16;
}

inline void show_to_products() {}
inline void begin_products() {}
inline void end_products() {}
template <int kPending, int kCount>
void wait_for_products(int (&)[kCount]) {}

class Columns {
 public:
  explicit Columns(const std::byte* first) : first_(first) {}
  Columns from(int column) const { return Columns(first_ + column * kColumnBytes); }
  // 16 bytes of a column.
  const std::byte* chunk(int column, int chunk) const {
    const std::byte* at = first_ + swizzled(column, chunk);
    emulated::shared_offset(at, 16);
    return at;
  }

 private:
  const std::byte* first_;
};

template <class A>
void multiply_group(int (&c)[16], const uint32_t (&a)[4], const Columns& b, int k, bool add,
                    emulated::Place place) {
  const int lane = static_cast<int>(threadIdx.x) % 32, g = lane / 4, t = lane % 4;
  for (int j = 0; j < 4; ++j) {
    int sum[4] = {};
    uint32_t word[2];
    for (int half = 0; half < 2; ++half)
      std::memcpy(&word[half], b.chunk(8 * j + g, 2 * k + half) + 4 * t, 4);
    emulated::multiply<A, uint8_t>(sum, {a[0], a[1], a[2], a[3]}, {word[0], word[1]}, place);
    for (int i = 0; i < 4; ++i) c[4 * j + i] = (add ? c[4 * j + i] : 0) + sum[i];
  }
}
inline void multiply_group_signed(int (&c)[16], const uint32_t (&a)[4], const Columns& b, int k,
                                  bool add, emulated::Place place = emulated::Place::here()) {
  multiply_group<int8_t>(c, a, b, k, add, place);
}
inline void multiply_group_unsigned(int (&c)[16], const uint32_t (&a)[4], const Columns& b, int k,
                                    bool add, emulated::Place place = emulated::Place::here()) {
  multiply_group<uint8_t>(c, a, b, k, add, place);
}

}  // namespace kvx::gpu::fused
