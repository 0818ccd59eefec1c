// One layer of a cache pool through the host interface: rows go up, results come down. For the
// driver, which compares it with the reference, and for whoever looks into an engine's cache.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "gpu/cache/guarded.h"
#include "gpu/cache/pool.h"
#include "sim/api/cache.h"

namespace kvx::gpu {

// A query of the last append may read rows exactly that no ring keeps: the K and V of an append
// stay in device memory until its sequences settle, at the latest with the next append.
//
// Outputs of kernels lie between fences and are checked for values that were not written: an Error
// with Exit::kVerdict.
class DeviceLayerCache final : public LayerCache {
 public:
  // With a pool of its own, which grows. Throws as make_cache does (gpu/registry.h).
  DeviceLayerCache(const Descriptor& descriptor, const CacheConfig& config);
  // A layer of a pool whose passes are all settled, to be read only: whatever changes the cache is
  // a std::logic_error, and no query is of the last append. `stream` is the pool's.
  DeviceLayerCache(const CachePool& pool, int layer, cudaStream_t stream);

  const Traits& traits() const override { return kernels().traits(); }
  const CacheConfig& config() const override { return pool_->config(layer_); }

  SeqId open() override;
  SeqId fork(SeqId seq) override;
  void close(SeqId seq) override;
  int64_t length(SeqId seq) const override { return pool_->length(seq); }

  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override;
  ReadMap held(SeqId seq, Side side) const override;
  ReadMap reads(SeqId seq, Side side, int64_t query) const override;
  void read(SeqId seq, Side side, RowRange range, Rows out) const override;
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override;
  void settle(SeqId seq) override;
  void truncate(SeqId seq, int64_t length) override;

  ByteCount used(SeqId seq, Side side) const override;
  double nominal_bits(Side side) const override { return kernels().nominal_bits(side); }
  std::vector<std::byte> image(SeqId seq) const override;
  void export_to(SeqId seq, const Sink& sink) const override;

 private:
  // Rows of the last append that are not settled.
  struct Pending {
    SeqId seq = 0;
    PassSpan span;
  };
  using Run = std::span<const Pending>;

  const SchemeKernels& kernels() const { return pool_->kernels(layer_); }
  const SealRule& rule(Side side) const { return kernels().format(side).rule; }
  const CacheShape& shape() const { return pool_->shape(); }
  int64_t row_values() const { return int64_t{shape().kv_heads} * shape().head_dim; }
  // Throws std::logic_error.
  static void require(bool condition, const char* what);
  void check_rows(ConstRows rows, std::span<const Span> spans, const char* what) const;
  CachePool& own_pool();
  void make_room(int32_t more_sequences, int32_t length, int32_t pages);

  const Pending* pending(SeqId seq) const;
  // Pending spans whose rows follow each other: each run is a pass by itself.
  std::vector<Run> runs() const;
  // The pass of a run; its spans are copied to the device.
  AppendArgs pass_of(Run run) const;
  void settle(Run run) const;
  void check_finite(ConstRows k, ConstRows v, const AppendArgs& args, Run run) const;
  [[noreturn]] void refuse_scale(Run run) const;
  void attend(Run run, ConstRows q, std::span<const Span> spans, Rows out) const;

  // `unrounded`: of sealed rows what decoding gives before its last rounding.
  void read(SeqId seq, Side side, RowRange range, bool unrounded, Rows out) const;
  // Exact rows [first, first + count), [token][kv head][head dim]: binary16 patterns and, if asked
  // for, their values.
  std::vector<uint16_t> exact_rows(SeqId seq, Side side, int32_t first, int32_t count,
                                   std::vector<float>* values) const;
  // By KV head, all that is sealed.
  // Of the sequence at a length that its pages hold.
  std::vector<SealedHead> sealed_heads(SeqId seq, Side side, int32_t length) const;
  // Values that are marked, of formats that mark some.
  int64_t outliers(SeqId seq, Side side) const;
  // Gives [kv head][token][head dim] of all tokens to the sink.
  void export_values(SeqId seq, Side side, const std::string& name, bool unrounded,
                     const Sink& sink) const;

  std::unique_ptr<CachePool> own_;
  const CachePool* pool_ = nullptr;
  int layer_ = 0;
  cudaStream_t stream_ = nullptr;
  DeviceArray<float> rows_[2];    // of the last append, [row][kv head][head dim], by Side
  std::vector<Pending> pending_;  // in the order of their rows

  mutable std::mutex mutex_;  // of what follows
  mutable DeviceArray<PassSpan> spans_;
  mutable DeviceArray<NonFiniteKey> non_finite_;
  mutable DeviceArray<float> queries_;
  mutable DeviceArray<uint16_t> bits_;
  mutable GuardedFloats out_, scratch_;
};

}  // namespace kvx::gpu
