// The floating-point environment the `ieee` arithmetic stands on. It belongs to a thread, and a
// library may change it.
#pragma once

namespace kvx::num {

// Throws an environment Error naming the setting unless this thread rounds to nearest even and
// keeps subnormals.
void require_ieee_environment();

}  // namespace kvx::num
