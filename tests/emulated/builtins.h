// What kernels take from CUDA, on the emulated device: types, what stands for the running thread,
// arithmetic, operations of a warp and of a block.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "tests/emulated/device.h"

#define __device__
#define __forceinline__ inline
#define __host__
#define __global__
#define __grid_constant__
#define __launch_bounds__(...)
#define __noinline__

// Types.

struct uint3 {
  unsigned x, y, z;
};
struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
};
struct alignas(8) uint2 {
  unsigned x, y;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

// Of the running thread.
extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;

// Arithmetic.

inline int min(int a, int b) { return a < b ? a : b; }
inline int max(int a, int b) { return a > b ? a : b; }
inline unsigned min(unsigned a, unsigned b) { return a < b ? a : b; }
inline unsigned max(unsigned a, unsigned b) { return a > b ? a : b; }
inline int64_t min(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t max(int64_t a, int64_t b) { return a > b ? a : b; }

inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }

inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __fsqrt_rn(float a) { return std::sqrt(a); }
inline float __fmaf_rn(float a, float b, float c) { return std::fma(a, b, c); }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dsub_rn(double a, double b) { return a - b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __ddiv_rn(double a, double b) { return a / b; }
inline double __fma_rn(double a, double b, double c) { return std::fma(a, b, c); }
inline float __int2float_rn(int x) { return static_cast<float>(x); }

inline unsigned __byte_perm(unsigned a, unsigned b, unsigned select) {
  const uint64_t bytes = uint64_t{b} << 32 | a;
  unsigned r = 0;
  for (unsigned i = 0; i < 4; ++i)
    r |= static_cast<unsigned>(bytes >> 8 * (select >> 4 * i & 7u) & 0xFFu) << 8 * i;
  return r;
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned shift) {
  return static_cast<unsigned>((uint64_t{high} << 32 | low) >> (shift & 31u));
}

// No thread runs beside another.
inline int atomicAdd(int* to, int x) {
  const int before = *to;
  *to += x;
  return before;
}

// Operations of a warp or block.

namespace kvx::emulated {

inline void all_lanes(unsigned mask) {
  if (mask != ~0u) fail("a mask of some lanes, %08x", mask);
}

// Calls act(lanes) once, where lanes[i] is what lane i gave.
template <class T, class Together>
void of_warp(const char* operation, Place place, T& mine, Together) {
  meet_warp(operation, place, &mine, [](void* const(&all)[32]) {
    T* lanes[32];
    for (int i = 0; i < 32; ++i) lanes[i] = static_cast<T*>(all[i]);
    Together{}(lanes);
  });
}

// `x` of all lanes, joined.
template <class T, class Join>
T reduce(const char* operation, unsigned mask, T x, Place place, Join) {
  all_lanes(mask);
  of_warp(operation, place, x, [](T*(&lanes)[32]) {
    T r = *lanes[0];
    for (int i = 1; i < 32; ++i) r = Join{}(r, *lanes[i]);
    for (T* lane : lanes) *lane = r;
  });
  return x;
}

// What `from` of each lane says of another's `x`.
template <class T>
T shuffle(const char* operation, unsigned mask, T x, int from, Place place) {
  all_lanes(mask);
  struct Mine {
    T given, got;
    int from;
  } mine{x, x, from & 31};
  of_warp(operation, place, mine, [](Mine*(&lanes)[32]) {
    for (Mine* lane : lanes) lane->got = lanes[lane->from]->given;
  });
  return mine.got;
}

}  // namespace kvx::emulated

template <class T>
T __shfl_sync(unsigned mask, T x, int lane,
              kvx::emulated::Place place = kvx::emulated::Place::here()) {
  return kvx::emulated::shuffle("__shfl_sync", mask, x, lane, place);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T x, int lanes,
                  kvx::emulated::Place place = kvx::emulated::Place::here()) {
  return kvx::emulated::shuffle("__shfl_xor_sync", mask, x,
                                static_cast<int>(threadIdx.x % 32) ^ lanes, place);
}
template <class T>
T __shfl_up_sync(unsigned mask, T x, int lanes, int width,
                 kvx::emulated::Place place = kvx::emulated::Place::here()) {
  const int lane = static_cast<int>(threadIdx.x % 32);
  return kvx::emulated::shuffle("__shfl_up_sync", mask, x,
                                lane % width >= lanes ? lane - lanes : lane, place);
}
template <class T>
T __reduce_max_sync(unsigned mask, T x, kvx::emulated::Place place = kvx::emulated::Place::here()) {
  return kvx::emulated::reduce("__reduce_max_sync", mask, x, place,
                               [](T a, T b) { return a > b ? a : b; });
}
// Modulo 2^32.
template <class T>
T __reduce_add_sync(unsigned mask, T x, kvx::emulated::Place place = kvx::emulated::Place::here()) {
  return kvx::emulated::reduce("__reduce_add_sync", mask, x, place, [](T a, T b) {
    return static_cast<T>(static_cast<unsigned>(a) + static_cast<unsigned>(b));
  });
}
inline int __any_sync(unsigned mask, int x,
                      kvx::emulated::Place place = kvx::emulated::Place::here()) {
  return kvx::emulated::reduce("__any_sync", mask, x != 0 ? 1 : 0, place,
                               [](int a, int b) { return a | b; });
}
inline void __syncwarp(unsigned mask = ~0u,
                       kvx::emulated::Place place = kvx::emulated::Place::here()) {
  kvx::emulated::all_lanes(mask);
  kvx::emulated::meet_warp("__syncwarp", place, nullptr, [](void* const(&)[32]) {});
}
inline void __syncthreads(kvx::emulated::Place place = kvx::emulated::Place::here()) {
  kvx::emulated::meet_block("__syncthreads", place);
}
int __syncthreads_or(int x);  // of kernels that are not emulated
