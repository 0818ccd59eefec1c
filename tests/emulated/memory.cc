// Device memory, and what there is of kvx_gpu on the emulated device.
#include "gpu/common/memory.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "gpu/registry.h"
#include "tests/emulated/device.h"

namespace kvx::gpu {

void* device_allocate(int64_t bytes) {
  const auto size = static_cast<size_t>((bytes + 255) / 256 * 256);
  void* data = std::aligned_alloc(256, size);
  if (data == nullptr) throw std::bad_alloc();
  return std::memset(data, static_cast<int>(emulated::kPattern), size);
}
void device_free(void* data) noexcept { std::free(data); }

std::string unavailable() { return {}; }

}  // namespace kvx::gpu
