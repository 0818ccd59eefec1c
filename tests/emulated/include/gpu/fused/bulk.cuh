// gpu/fused/bulk.cuh on the emulated device: a copy is there when it was waited for.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tests/emulated/device.h"

namespace kvx::gpu::fused {

inline uint32_t shared_address(const void* p) { return emulated::shared_offset(p, 1); }

inline int uniform(int x, emulated::Place place = emulated::Place::here()) {
  const int mine = x;
  struct Lane {
    int x;
  } lane{x};
  emulated::of_warp("uniform", place, lane, [](Lane*(&lanes)[32]) {
    for (Lane* other : lanes) other->x = lanes[0]->x;
  });
  if (lane.x != mine) emulated::fail("uniform() of %d and %d", lane.x, mine);
  return x;
}
inline bool elected(emulated::Place place = emulated::Place::here()) {
  bool mine = false;
  emulated::of_warp("elected", place, mine, [](bool*(&lanes)[32]) { *lanes[0] = true; });
  return mine;
}

using CopyBarrier = uint64_t;

inline void init_copies(CopyBarrier* barriers, int count) {
  for (int i = 0; i < count; ++i) emulated::init_copies(barriers + i);
}
inline void expect(CopyBarrier* barrier, int bytes) {
  emulated::expect_copies(barrier, static_cast<size_t>(bytes));
}
inline void copy(void* to, const void* from, int bytes, CopyBarrier* barrier) {
  emulated::begin_copy(to, from, static_cast<size_t>(bytes), barrier);
}
inline void wait_for_copies(CopyBarrier* barrier, uint32_t parity,
                            emulated::Place place = emulated::Place::here()) {
  emulated::wait_for_copies(barrier, parity, place);
}

}  // namespace kvx::gpu::fused
