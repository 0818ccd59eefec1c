#include <algorithm>
#include <string>
#include <utility>

#include "gpu/cache/pool.h"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

constexpr Side kSides[] = {Side::kK, Side::kV};

using Kernels = std::vector<std::unique_ptr<SchemeKernels>>;

Kernels kernels_of(const Descriptor& descriptor, const std::vector<CacheConfig>& layers) {
  Kernels all;
  for (const CacheConfig& config : layers) {
    all.push_back(make_kernels(descriptor, config));
    if (all.back() == nullptr) {
      throw usage_error("scheme " + std::string(descriptor.name()) + " has no CUDA kernels");
    }
  }
  return all;
}

std::vector<LayerFormats> formats_of(const Kernels& kernels) {
  std::vector<LayerFormats> formats;
  for (const auto& layer : kernels) {
    formats.push_back({layer->format(Side::kK), layer->format(Side::kV)});
  }
  return formats;
}

LayerShape shape_of(const std::vector<CacheConfig>& layers) {
  if (layers.empty()) throw std::logic_error("a pool without layers");
  for (const CacheConfig& config : layers) {
    if (config.shape.kv_heads != layers[0].shape.kv_heads ||
        config.shape.head_dim != layers[0].shape.head_dim) {
      throw std::logic_error("a pool of layers of several shapes");
    }
  }
  return layers[0].shape;
}

void copy(std::byte* to, const std::byte* from, int64_t bytes, cudaStream_t stream) {
  if (bytes == 0) return;
  check(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice, stream),
        "copy of cache memory");
}

template <class T>
DeviceArray<T> fresh(int64_t count, int value, cudaStream_t stream) {
  DeviceArray<T> array(count);
  if (count > 0) {
    check(cudaMemsetAsync(array.get(), value, static_cast<size_t>(array.bytes()), stream),
          "fill of cache memory");
  }
  return array;
}

constexpr int kOnes = 0xFF;

}  // namespace

CachePool::CachePool(const Descriptor& descriptor, std::vector<CacheConfig> layers,
                     const PoolLimits& limits)
    : configs_(std::move(layers)),
      kernels_(kernels_of(descriptor, configs_)),
      limits_(limits),
      plan_(plan_pool(shape_of(configs_), formats_of(kernels_), limits)),
      table_(plan_.slots, plan_.pages_per_slot, plan_.pages, plan_.shape.page_tokens) {
  const int64_t free = device_memory().first;
  if (plan_.bytes() > free) {
    const auto mib = [](int64_t bytes) { return std::to_string((bytes + 0xFFFFF) >> 20) + " MiB"; };
    throw environment_error(
        "CUDA: caches of " + descriptor.str() + " for " + std::to_string(limits.sequences) +
        " sequences of " + std::to_string(limits.tokens) + " tokens: " + mib(plan_.bytes()) +
        " of device memory needed, " + mib(free) + " free; " +
        std::to_string(sequences_that_fit(configs_[0].shape, formats_of(kernels_), limits, free)) +
        " sequences of that length fit");
  }
  memory_.emplace(plan_, nullptr);
  check(cudaStreamSynchronize(nullptr), "fill of cache memory");
}

int64_t CachePool::bytes(const Descriptor& descriptor, const std::vector<CacheConfig>& layers,
                         const PoolLimits& limits) {
  return plan_pool(shape_of(layers), formats_of(kernels_of(descriptor, layers)), limits).bytes();
}

CachePool::Memory::Memory(const PoolPlan& plan, cudaStream_t stream)
    : codes(fresh<std::byte>(plan.codes_bytes, kOnes, stream)),
      scale(fresh<std::byte>(plan.scale_bytes, kOnes, stream)),
      zero(fresh<std::byte>(plan.zero_bytes, kOnes, stream)),
      marks(fresh<std::byte>(plan.mark_bytes, kOnes, stream)),
      outliers(fresh<std::byte>(plan.outlier_bytes, kOnes, stream)),
      rings(fresh<std::byte>(plan.ring_bytes, kOnes, stream)),
      table(fresh<int32_t>(plan.table_bytes / 4, 0, stream)) {}

SideView CachePool::view(int layer, Side side) const {
  const PoolPlan::SideRegions& regions =
      plan_.layers[static_cast<size_t>(layer)][static_cast<size_t>(side)];
  SideView view;
  view.format = regions.format;
  view.shape = plan_.shape;
  view.codes = memory_->codes.get() + regions.codes.at;
  if (regions.scale.part > 0) view.scale = memory_->scale.get() + regions.scale.at;
  if (regions.zero.part > 0) view.zero = memory_->zero.get() + regions.zero.at;
  if (regions.marks.part > 0) {
    view.marks = reinterpret_cast<uint8_t*>(memory_->marks.get() + regions.marks.at);
    view.outliers = reinterpret_cast<uint16_t*>(memory_->outliers.get() + regions.outliers.at);
  }
  if (regions.ring.part > 0) {
    view.ring = reinterpret_cast<uint16_t*>(memory_->rings.get() + regions.ring.at);
  }
  view.pages = memory_->table.get();
  view.pages_per_slot = plan_.pages_per_slot;
  return view;
}

int32_t CachePool::sealed_everywhere(int32_t length) const {
  int32_t sealed = length;
  for (const auto& layer : plan_.layers) {
    for (const auto& side : layer) sealed = std::min(sealed, side.format.rule.sealed(length));
  }
  return sealed;
}

SeqId CachePool::fork(SeqId seq, cudaStream_t stream) {
  std::vector<PageCopy> copies;
  const SeqId child = table_.fork(seq, sealed_everywhere(length(seq)), copies);
  copy_pages(copies, stream);
  for (const auto& layer : plan_.layers) {
    for (const auto& side : layer) {
      std::byte* ring = memory_->rings.get() + side.ring.at;
      copy(ring + slot(child) * side.ring.part, ring + slot(seq) * side.ring.part, side.ring.part,
           stream);
    }
  }
  upload_row(child, stream);
  return child;
}

int32_t CachePool::pages_needed(SeqId seq, int32_t length) const {
  return table_.pages_needed(seq, length, sealed_everywhere(table_.length(seq)));
}

int32_t CachePool::pages_to_fork(SeqId seq) const {
  return table_.pages_to_fork(seq, sealed_everywhere(length(seq)));
}

void CachePool::reserve(SeqId seq, int32_t length, cudaStream_t stream) {
  std::vector<PageCopy> copies;
  if (!table_.reserve(seq, length, sealed_everywhere(table_.length(seq)), copies)) return;
  copy_pages(copies, stream);
  upload_row(seq, stream);
}

void CachePool::copy_pages(const std::vector<PageCopy>& copies, cudaStream_t stream) {
  for (const auto& layer : plan_.layers) {
    for (const auto& side : layer) {
      for (const auto& [region, data] : {std::pair(&side.codes, memory_->codes.get()),
                                         std::pair(&side.scale, memory_->scale.get()),
                                         std::pair(&side.zero, memory_->zero.get()),
                                         std::pair(&side.marks, memory_->marks.get()),
                                         std::pair(&side.outliers, memory_->outliers.get())}) {
        for (const PageCopy& page : copies) {
          copy(data + region->at + page.to * region->part,
               data + region->at + page.from * region->part, region->part, stream);
        }
      }
    }
  }
}

void CachePool::upload_row(SeqId seq, cudaStream_t stream) {
  const auto pages = table_.pages(seq);
  if (pages.empty()) return;
  memory_->table.upload(pages, int64_t{slot(seq)} * plan_.pages_per_slot, stream);
}

void CachePool::grow(const PoolLimits& limits, cudaStream_t stream) {
  const PoolPlan plan = plan_pool(configs_[0].shape, formats_of(kernels_), limits);
  Memory grown(plan, stream);
  table_.grow(plan.slots, plan.pages_per_slot, plan.pages);
  for (size_t l = 0; l < plan.layers.size(); ++l) {
    for (const Side side : kSides) {
      const auto& from = plan_.layers[l][static_cast<size_t>(side)];
      const auto& to = plan.layers[l][static_cast<size_t>(side)];
      const auto keep = [&](const DeviceArray<std::byte>& now, const PoolPlan::Region& now_at,
                            const DeviceArray<std::byte>& was, const PoolPlan::Region& was_at,
                            int64_t parts) {
        copy(now.get() + now_at.at, was.get() + was_at.at, parts * was_at.part, stream);
      };
      keep(grown.codes, to.codes, memory_->codes, from.codes, plan_.pages);
      keep(grown.scale, to.scale, memory_->scale, from.scale, plan_.pages);
      keep(grown.zero, to.zero, memory_->zero, from.zero, plan_.pages);
      keep(grown.marks, to.marks, memory_->marks, from.marks, plan_.pages);
      keep(grown.outliers, to.outliers, memory_->outliers, from.outliers, plan_.pages);
      keep(grown.rings, to.ring, memory_->rings, from.ring, plan_.slots);
    }
  }
  check(cudaStreamSynchronize(stream), "copy of cache memory");
  plan_ = plan;
  limits_ = limits;
  memory_.emplace(std::move(grown));
  for (const SeqId seq : table_.sequences()) upload_row(seq, stream);
}

}  // namespace kvx::gpu
