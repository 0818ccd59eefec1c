// Owning arrays in device and in page-locked host memory.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "gpu/common/check.h"

namespace kvx::gpu {

// Throws an environment Error naming the bytes asked for and those free; what is not freed by its
// owner is a leak. Freed memory stays with the process for the next owner, who may not be in front
// of work enqueued before on a stream that the default stream does not wait for.
void* device_allocate(int64_t bytes);
void device_free(void* data) noexcept;
// Free bytes, those that the process keeps included, and total bytes of the current device.
std::pair<int64_t, int64_t> device_memory();

// Page-locked host memory; freed blocks stay locked for owners of the same size.
void* pinned_allocate(int64_t bytes);
void pinned_free(void* data, int64_t bytes) noexcept;

// Uninitialised elements in device memory, aligned to 256 bytes.
template <class T>
class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(int64_t count)
      : data_(count > 0 ? static_cast<T*>(device_allocate(count * int64_t{sizeof(T)})) : nullptr),
        count_(count) {}
  ~DeviceArray() { device_free(data_); }
  DeviceArray(DeviceArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }

  T* get() const { return data_; }
  int64_t count() const { return count_; }
  int64_t bytes() const { return count_ * int64_t{sizeof(T)}; }

  // At least `count` elements; what was there is lost if it grows.
  T* reserve(int64_t count) {
    if (count > count_) *this = DeviceArray(count);
    return data_;
  }

  void upload(std::span<const T> from, int64_t at = 0, cudaStream_t stream = nullptr) {
    check(
        cudaMemcpyAsync(data_ + at, from.data(), from.size_bytes(), cudaMemcpyHostToDevice, stream),
        "copy to the device");
  }
  void download(std::span<T> to, int64_t at = 0, cudaStream_t stream = nullptr) const {
    check(cudaMemcpyAsync(to.data(), data_ + at, to.size_bytes(), cudaMemcpyDeviceToHost, stream),
          "copy from the device");
    check(cudaStreamSynchronize(stream), "copy from the device");
  }

 private:
  T* data_ = nullptr;
  int64_t count_ = 0;
};

// Page-locked host memory: copies from and to it run beside kernels.
template <class T>
class PinnedArray {
 public:
  PinnedArray() = default;
  explicit PinnedArray(int64_t count)
      : data_(count > 0 ? static_cast<T*>(pinned_allocate(count * int64_t{sizeof(T)})) : nullptr),
        count_(count) {}
  ~PinnedArray() { pinned_free(data_, count_ * int64_t{sizeof(T)}); }
  PinnedArray(PinnedArray&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), count_(std::exchange(other.count_, 0)) {}
  PinnedArray& operator=(PinnedArray&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(count_, other.count_);
    return *this;
  }

  T* get() const { return data_; }
  int64_t count() const { return count_; }
  T& operator[](int64_t i) const { return data_[i]; }
  T* reserve(int64_t count) {
    if (count > count_) *this = PinnedArray(count);
    return data_;
  }

 private:
  T* data_ = nullptr;
  int64_t count_ = 0;
};

}  // namespace kvx::gpu
