// Products of 8-bit integers and loads of 8 x 8 matrices by a warp (PTX ISA, mma.m16n8k32 and
// ldmatrix).
#pragma once

#include <array>
#include <cstdint>

#include "tests/emulated/device.h"

namespace kvx::emulated {

// c += A B, of bytes: int8_t or uint8_t.
template <class A, class B>
void multiply(int (&c)[4], std::array<uint32_t, 4> a, std::array<uint32_t, 2> b, Place place);

// ldmatrix.x4.trans.b16: `row` of lane i is that of row i mod 8 of matrix i / 8.
void load_transposed(const void* row, uint32_t (&r)[4], Place place);

}  // namespace kvx::emulated
