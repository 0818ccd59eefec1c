#include "sim/num/kernels.h"

#include "sim/num/isa.h"

namespace kvx::num {

const Kernels& kernels() {
  return active_isa() == Isa::kAvx512 ? avx512::kKernels : avx2::kKernels;
}

}  // namespace kvx::num
