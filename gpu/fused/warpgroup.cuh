// Products of 8-bit integers by a warpgroup, m64n32k32, asynchronously. Warp i of the group has
// rows 16 i .. 16 i + 15 of A and C, held as by m16n8k32 (mma.cuh): of C, columns 8 j .. 8 j + 7 at
// c[4 j .. 4 j + 3].
//
// B lies in shared memory, 32 columns of 128 bytes each, from a multiple of 1024 bytes on; chunk i
// of 16 bytes of column n is at place i ^ (n mod 8) (the layout K-major with a swizzle of 128
// bytes; PTX ISA, wgmma).
#pragma once

#include <cstdint>

#include "gpu/fused/bulk.cuh"

namespace kvx::gpu::fused {

inline constexpr int kColumnBytes = 128;

// Where a chunk of a column lies.
__device__ inline int swizzled(int column, int chunk) {
  return column * kColumnBytes + ((chunk ^ column) & 7) * 16;
}

// What the thread wrote into shared memory is seen by products behind the next barrier.
__device__ inline void show_to_products() {
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// Registers of products that follow are as written.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
// Ends a group of products.
__device__ inline void end_products() {
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
// All groups but the last `kPending` are done; `c`, of one that is, may be read.
template <int kPending, int kCount>
__device__ inline void wait_for_products(int (&c)[kCount]) {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(c[i])::"memory");
}

// Where columns of B lie; `step`: from bytes 32 step on of each.
class Columns {
 public:
  __device__ explicit Columns(const std::byte* first)
      : at_(shared_address(first) >> 4 | uint64_t{1} << 16 | uint64_t{8 * kColumnBytes / 16} << 32 |
            uint64_t{1} << 62) {}
  // Those from column `column` on, a multiple of 8.
  __device__ Columns from(int column) const {
    Columns r = *this;
    r.at_ += static_cast<uint64_t>(column * kColumnBytes / 16);
    return r;
  }
  __device__ uint64_t step(int step) const { return at_ + 2u * static_cast<uint64_t>(step); }

 private:
  uint64_t at_;
};

#define KVX_WARPGROUP_PRODUCT(types)                                                            \
  asm volatile(                                                                                 \
      "{\n"                                                                                     \
      ".reg .pred add;\n"                                                                       \
      "setp.ne.b32 add, %21, 0;\n"                                                              \
      "wgmma.mma_async.sync.aligned.m64n32k32.s32." types                                       \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, "               \
      "{%16, %17, %18, %19}, %20, add;\n"                                                       \
      "}"                                                                                       \
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3]), "+r"(c[4]), "+r"(c[5]), "+r"(c[6]),     \
        "+r"(c[7]), "+r"(c[8]), "+r"(c[9]), "+r"(c[10]), "+r"(c[11]), "+r"(c[12]), "+r"(c[13]), \
        "+r"(c[14]), "+r"(c[15])                                                                \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b.step(k)), "r"(add ? 1 : 0))

// c = A B, or c += A B where `add`; A signed, B unsigned.
__device__ inline void multiply_group_signed(int (&c)[16], const uint32_t (&a)[4], const Columns& b,
                                             int k, bool add) {
  KVX_WARPGROUP_PRODUCT("s8.u8");
}
// The same, both unsigned.
__device__ inline void multiply_group_unsigned(int (&c)[16], const uint32_t (&a)[4],
                                               const Columns& b, int k, bool add) {
  KVX_WARPGROUP_PRODUCT("u8.u8");
}
#undef KVX_WARPGROUP_PRODUCT

}  // namespace kvx::gpu::fused
