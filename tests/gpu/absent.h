// Why a scheme cannot run on the device here; empty where it can.
#pragma once

#include <string>

#include "gpu/registry.h"
#include "sim/api/descriptor.h"

namespace kvx::test {

inline std::string absent_on_device(const std::string& descriptor) {
  if (std::string reason = gpu::unavailable(); !reason.empty()) return reason;
  const std::string scheme(Descriptor::parse(descriptor).name());
  return gpu::has_kernel(scheme) ? "" : "no CUDA kernels for scheme " + scheme;
}

}  // namespace kvx::test
