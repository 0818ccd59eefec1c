// gpu/common/shared_memory.cuh on the emulated device.
#pragma once

#include <type_traits>

#include "tests/emulated/device.h"

namespace kvx::gpu {

template <class T>
T* dynamic_shared() {
  return reinterpret_cast<T*>(emulated::dynamic_shared());
}
template <class T>
T& shared_variable() {
  static_assert(std::is_trivially_default_constructible_v<T>);
  static const char name = 0;  // its address is the type's
  return *static_cast<T*>(emulated::shared_variable(&name, sizeof(T)));
}

}  // namespace kvx::gpu
