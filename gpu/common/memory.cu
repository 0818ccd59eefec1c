#include <map>
#include <mutex>
#include <string>

#include "gpu/common/memory.h"

namespace kvx::gpu {
namespace {

// The device's memory pool, which keeps what it was given back so that the next owner gets it
// without a call of the driver; nullptr where the device has none.
cudaMemPool_t memory_pool() {
  static const cudaMemPool_t pool = [] {
    int device = 0, supported = 0;
    check(cudaGetDevice(&device), "device");
    check(cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, device), "device");
    cudaMemPool_t found = nullptr;
    if (supported == 0) return found;
    check(cudaDeviceGetDefaultMemPool(&found, device), "memory pool");
    uint64_t keep = ~uint64_t{0};
    check(cudaMemPoolSetAttribute(found, cudaMemPoolAttrReleaseThreshold, &keep), "memory pool");
    return found;
  }();
  return pool;
}

// On the default stream: after all that was enqueued before, and there when this returns.
cudaError_t allocate(void** data, size_t bytes) {
  if (memory_pool() == nullptr) return cudaMalloc(data, bytes);
  const cudaError_t error = cudaMallocAsync(data, bytes, nullptr);
  return error == cudaSuccess ? cudaStreamSynchronize(nullptr) : error;
}

// Page-locked blocks that no one owns, by size: locking pages takes long.
struct PinnedBlocks {
  std::mutex mutex;
  std::multimap<int64_t, void*> free;
};
PinnedBlocks& pinned_blocks() {
  static PinnedBlocks* const blocks = new PinnedBlocks;  // outlives every owner
  return *blocks;
}

}  // namespace

void* device_allocate(int64_t bytes) {
  void* data = nullptr;
  cudaError_t error = allocate(&data, static_cast<size_t>(bytes));
  if (error == cudaErrorMemoryAllocation && memory_pool() != nullptr) {
    cudaGetLastError();
    check(cudaStreamSynchronize(nullptr), "memory pool");  // what is freed on the stream is free
    check(cudaMemPoolTrimTo(memory_pool(), 0), "memory pool");
    error = allocate(&data, static_cast<size_t>(bytes));
  }
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    throw environment_error("CUDA: device memory: " + std::to_string(bytes >> 20) +
                            " MiB needed, " + std::to_string(device_memory().first >> 20) +
                            " MiB free");
  }
  check(error, "device memory");
  return data;
}

void device_free(void* data) noexcept {
  if (data == nullptr) return;
  if (memory_pool() == nullptr) {
    cudaFree(data);
  } else {
    cudaFreeAsync(data, nullptr);
  }
}

std::pair<int64_t, int64_t> device_memory() {
  size_t free = 0, total = 0;
  check(cudaMemGetInfo(&free, &total), "device memory");
  uint64_t reserved = 0, used = 0;
  if (memory_pool() != nullptr) {
    check(cudaMemPoolGetAttribute(memory_pool(), cudaMemPoolAttrReservedMemCurrent, &reserved),
          "memory pool");
    check(cudaMemPoolGetAttribute(memory_pool(), cudaMemPoolAttrUsedMemCurrent, &used),
          "memory pool");
  }
  return {static_cast<int64_t>(free + (reserved - used)), static_cast<int64_t>(total)};
}

void* pinned_allocate(int64_t bytes) {
  PinnedBlocks& blocks = pinned_blocks();
  {
    const std::lock_guard lock(blocks.mutex);
    if (const auto found = blocks.free.find(bytes); found != blocks.free.end()) {
      void* const data = found->second;
      blocks.free.erase(found);
      return data;
    }
  }
  void* data = nullptr;
  check(cudaMallocHost(&data, static_cast<size_t>(bytes)), "page-locked memory");
  return data;
}

void pinned_free(void* data, int64_t bytes) noexcept {
  if (data == nullptr) return;
  PinnedBlocks& blocks = pinned_blocks();
  const std::lock_guard lock(blocks.mutex);
  blocks.free.emplace(bytes, data);
}

}  // namespace kvx::gpu
