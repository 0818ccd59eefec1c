// Products of 8-bit integers by a warp, m16n8k32, and what loads their operands. Lane 4 g + t holds
// of A (16 x 32, unsigned) rows g, g + 8, g, g + 8 of columns 4t.., 4t.., 16 + 4t.., 16 + 4t..
// (four each), of B (32 x 8) rows 4t.. and 16 + 4t.. of column g, of C rows g, g, g + 8, g + 8 of
// columns 2t, 2t + 1, 2t, 2t + 1.
#pragma once

#include <cstdint>

#include "gpu/fused/bulk.cuh"

namespace kvx::gpu::fused {

// (x ^ flip) & mask, in one instruction even where x ^ flip is wanted more than once.
__device__ __forceinline__ uint32_t flip_and_mask(uint32_t x, uint32_t flip, uint32_t mask) {
  uint32_t r;
  asm("lop3.b32 %0, %1, %2, %3, 0x28;" : "=r"(r) : "r"(x), "r"(flip), "r"(mask));
  return r;
}

// c += A B, B signed.
__device__ __forceinline__ void multiply_signed(int (&c)[4], uint32_t a0, uint32_t a1, uint32_t a2,
                                                uint32_t a3, uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.s8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
// c += A B, B unsigned.
__device__ __forceinline__ void multiply_unsigned(int (&c)[4], uint32_t a0, uint32_t a1,
                                                  uint32_t a2, uint32_t a3, uint32_t b0,
                                                  uint32_t b1) {
  asm("mma.sync.aligned.m16n8k32.row.col.s32.u8.u8.s32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
      "{%8, %9}, {%0, %1, %2, %3};"
      : "+r"(c[0]), "+r"(c[1]), "+r"(c[2]), "+r"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// Four matrices of 8 x 8 elements of 16 bits in shared memory, transposed: `row` of lane i is the
// address of row i mod 8 of matrix i / 8; lane 4 g + t gets rows 2t (low half), 2t + 1 of column g.
__device__ __forceinline__ void load_transposed(const void* row, uint32_t (&r)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row))
               : "memory");
}

}  // namespace kvx::gpu::fused
