// The CUDA implementations by descriptor. Built with CUDA or as a stub that says it is absent.
#pragma once

#include <string>
#include <string_view>

namespace kvx::gpu {

// Whether this build carries CUDA kernels at all.
bool built();

// Whether there is a kernel for the scheme of this name.
bool has_kernel(std::string_view scheme);

// One line per device, or why there is none.
std::string device_report();

}  // namespace kvx::gpu
