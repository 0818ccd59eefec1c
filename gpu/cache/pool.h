// The caches of all layers of a model under one descriptor: device memory, sequences, pages. The
// host side of what layout.h describes. All memory is taken when the pool is made; `bytes` says how
// much before. All work on a pool belongs on one stream: a page that a closed sequence gave back is
// written by the next owner's passes, behind those of the old.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "gpu/cache/kernels.h"
#include "gpu/cache/page_table.h"
#include "gpu/cache/pool_plan.h"
#include "gpu/common/memory.h"
#include "sim/api/cache.h"

namespace kvx::gpu {

class CachePool {
 public:
  // One config a layer, of one shape. Throws a usage Error where the scheme has no kernels, or
  // descriptor and shape do not fit; an environment Error naming bytes needed and free, and the
  // batch that fits. Fresh memory is all ones: NaN in every float type.
  CachePool(const Descriptor& descriptor, std::vector<CacheConfig> layers,
            const PoolLimits& limits);

  // Device bytes that the constructor will take.
  static int64_t bytes(const Descriptor& descriptor, const std::vector<CacheConfig>& layers,
                       const PoolLimits& limits);

  int layers() const { return static_cast<int>(configs_.size()); }
  const CacheConfig& config(int layer) const { return configs_[static_cast<size_t>(layer)]; }
  const SchemeKernels& kernels(int layer) const { return *kernels_[static_cast<size_t>(layer)]; }
  SideView view(int layer, Side side) const;
  const CacheShape& shape() const { return plan_.shape; }
  const PoolLimits& limits() const { return limits_; }

  // Sequences. `fork` shares complete pages that are sealed in all layers and copies the others and
  // the rings. A closed sequence, or one that never was, is a std::logic_error.
  SeqId open() { return table_.open(); }
  SeqId fork(SeqId seq, cudaStream_t stream);
  void close(SeqId seq) { table_.close(seq); }
  int32_t length(SeqId seq) const { return table_.length(seq); }
  int32_t slot(SeqId seq) const { return table_.slot(seq); }
  const PageTable& pages() const { return table_; }

  // Gives the sequence pages for `length` tokens; the page table on the device is current when the
  // stream gets there. To be called before every pass, so that what the pass writes is the
  // sequence's alone. Throws an environment Error where no page or room is left, naming what was
  // needed and free and the batch that fits.
  void reserve(SeqId seq, int32_t length, cudaStream_t stream);
  // Free pages that `reserve`, or `fork`, would take.
  int32_t pages_needed(SeqId seq, int32_t length) const;
  int32_t pages_to_fork(SeqId seq) const;
  // Tokens were appended in all layers; or dropped (LayerCache::truncate).
  void set_length(SeqId seq, int32_t length) { table_.set_length(seq, length); }

  // Grows to these limits, none below what they were, keeping contents: for callers that do not
  // plan. If it throws, nothing has changed.
  void grow(const PoolLimits& limits, cudaStream_t stream);

 private:
  struct Memory {
    DeviceArray<std::byte> codes, scale, zero, marks, outliers, rings;
    DeviceArray<int32_t> table;  // page numbers [slots][pages_per_slot]

    Memory(const PoolPlan& plan, cudaStream_t stream);
  };

  // Tokens sealed at this length on both sides of every layer: what no append writes again.
  int32_t sealed_everywhere(int32_t length) const;
  void copy_pages(const std::vector<PageCopy>& copies, cudaStream_t stream);
  void upload_row(SeqId seq, cudaStream_t stream);

  std::vector<CacheConfig> configs_;
  std::vector<std::unique_ptr<SchemeKernels>> kernels_;
  PoolLimits limits_;
  PoolPlan plan_;
  PageTable table_;
  std::optional<Memory> memory_;
};

}  // namespace kvx::gpu
