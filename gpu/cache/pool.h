// The caches of all layers of a model under one descriptor: device memory, sequences, pages. The
// host side of what layout.h describes. All memory is taken when the pool is made; `bytes` says how
// much before.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "gpu/cache/kernels.h"
#include "gpu/common/memory.h"
#include "sim/api/cache.h"

namespace kvx::gpu {

struct PoolLimits {
  int32_t sequences = 1;  // open at a time
  int32_t tokens = 0;     // of the longest sequence
  int32_t pages = 0;      // of all sequences; 0: enough for `sequences` of `tokens` each
};

class CachePool {
 public:
  // One config a layer, of one shape. Throws a usage Error where the scheme has no kernels, or
  // descriptor and shape do not fit; an environment Error naming bytes needed and free.
  CachePool(const Descriptor& descriptor, std::vector<CacheConfig> layers,
            const PoolLimits& limits);

  // Device bytes that the constructor will take.
  static int64_t bytes(const Descriptor& descriptor, const std::vector<CacheConfig>& layers,
                       const PoolLimits& limits);

  int layers() const { return static_cast<int>(configs_.size()); }
  const CacheConfig& config(int layer) const { return configs_[static_cast<size_t>(layer)]; }
  const SchemeKernels& kernels(int layer) const { return *kernels_[static_cast<size_t>(layer)]; }
  SideView view(int layer, Side side) const;
  const PoolLimits& limits() const { return limits_; }

  // Sequences. `fork` shares complete pages and copies the open one and the ring.
  SeqId open();
  SeqId fork(SeqId seq, cudaStream_t stream);
  void close(SeqId seq);
  int32_t length(SeqId seq) const;
  int32_t slot(SeqId seq) const;

  // Gives the sequence pages for `length` tokens; the page table on the device is current when the
  // stream gets there. Throws an environment Error where no page or room is left, naming what was
  // needed and free and the batch that fits.
  void reserve(SeqId seq, int32_t length, cudaStream_t stream);
  // Tokens were appended in all layers; or dropped (LayerCache::truncate).
  void set_length(SeqId seq, int32_t length);

  // Grows to `pages` pages, keeping contents: for callers that do not plan.
  void grow(int32_t pages, cudaStream_t stream);

 private:
  // (the implementer's)
  std::vector<CacheConfig> configs_;
  std::vector<std::unique_ptr<SchemeKernels>> kernels_;
  PoolLimits limits_;
};

}  // namespace kvx::gpu
