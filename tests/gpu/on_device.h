// Values of the host in memory of the device.
#pragma once

#include <iterator>
#include <vector>

#include "gpu/common/check.h"
#include "gpu/common/memory.h"

namespace kvx::gpu {

template <class T>
DeviceArray<T> on_device(const std::vector<T>& values) {
  DeviceArray<T> array(std::ssize(values));
  array.upload(values);
  check(cudaStreamSynchronize(nullptr), "upload");
  return array;
}

}  // namespace kvx::gpu
