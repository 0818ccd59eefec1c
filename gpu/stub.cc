#include "gpu/registry.h"

namespace kvx::gpu {

bool built() { return false; }
bool has_kernel(std::string_view) { return false; }
std::string device_report() { return "built without CUDA"; }

}  // namespace kvx::gpu
