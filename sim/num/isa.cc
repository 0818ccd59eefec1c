#include "sim/num/isa.h"

#include <cpuid.h>

#include <atomic>

#include "sim/api/error.h"

namespace kvx::num {
namespace {

std::atomic<Isa>& active() {
  static std::atomic<Isa> isa{machine_isa()};
  return isa;
}

// __builtin_cpu_supports of clang 14 does not know F16C.
bool has_f16c() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

}  // namespace

Isa machine_isa() {
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !has_f16c())
    throw environment_error("this processor lacks AVX2, FMA or F16C, which kvexact needs");
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                      __builtin_cpu_supports("avx512cd");
  return avx512 ? Isa::kAvx512 : Isa::kAvx2;
}

Isa active_isa() { return active().load(std::memory_order_relaxed); }

void set_active_isa(Isa isa) {
  if (isa == Isa::kAvx512 && machine_isa() != Isa::kAvx512)
    throw environment_error("AVX-512 asked for on a machine without it");
  active().store(isa, std::memory_order_relaxed);
}

}  // namespace kvx::num
