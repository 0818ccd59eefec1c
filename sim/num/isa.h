// Which of the twice-compiled kernels run here.
#pragma once

namespace kvx::num {

enum class Isa { kAvx2, kAvx512 };

// The best this machine has. Throws an environment Error on a machine without AVX2 and FMA.
Isa machine_isa();

// What the vectorised functions use: machine_isa() unless a test chose otherwise. Results do not
// depend on it.
Isa active_isa();
void set_active_isa(Isa isa);  // for tests; must be supported here

}  // namespace kvx::num
