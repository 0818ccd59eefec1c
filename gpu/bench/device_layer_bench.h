// One layer of device caches under load. Distinct caches are the layers of one pool, as in a model
// of so many layers; a round of calls goes over all of them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "gpu/bench/context_rows.h"
#include "gpu/bench/step_lengths.h"
#include "gpu/cache/pool.h"
#include "gpu/common/stream.h"
#include "sim/api/layer_bench.h"

namespace kvx::gpu {

class DeviceLayerBench final : public LayerBench {
 public:
  // Throws as make_layer_bench does (gpu/bench/registry.h).
  DeviceLayerBench(const Descriptor& descriptor, const CacheConfig& config, const BenchShape& shape,
                   const BenchInputs& inputs);

  bool has(BenchOp op) const override { return op != BenchOp::kSeal || lengths_.seal; }
  int64_t length(BenchOp op) const override;
  int64_t bytes(BenchOp op) const override;
  ByteCount used(Side side) const override { return used_[static_cast<size_t>(side)]; }
  BenchTimes time(BenchOp op, int samples) override;
  std::vector<float> attended(bool timed) override;

 private:
  // Passes that bring all sequences from one length to another.
  struct Passes {
    DeviceArray<PassSpan> spans;
    std::vector<Pass> all;
  };

  int buffers() const { return pool_->layers(); }
  int layer_of(int64_t call) const { return static_cast<int>(call % buffers()); }
  int64_t sequences() const { return shape_.sequences; }
  int32_t queries() const { return static_cast<int32_t>(shape_.queries); }
  int64_t row_values() const { return int64_t{shape_.kv_heads} * shape_.head_dim; }
  // Bytes of rows that come in as binary16, K and V, of so many tokens of every sequence.
  int64_t bytes_in(int64_t tokens) const { return sequences() * tokens * row_values() * 2 * 2; }

  void make_pool(const Descriptor& descriptor, const CacheConfig& config);
  Passes passes(int32_t first, int32_t end) const;
  AppendArgs append_args(int layer, const Pass& pass, const PassRows& k, const PassRows& v) const;
  void enqueue_fill(const Passes& fill, int64_t call, cudaStream_t stream) const;
  AppendArgs step_args(int layer, const Pass& pass) const;
  void enqueue_append(int64_t call, const Pass& pass, cudaStream_t stream) const;
  void enqueue_attend(int64_t call, cudaStream_t stream) const;
  void enqueue_settle(int64_t call, cudaStream_t stream) const;

  // Brings every cache to that many settled tokens.
  void prepare(int32_t tokens);
  ByteCount counted(Side side, int32_t tokens);
  float* out(int layer) const { return out_.get() + layer * q_.count(); }

  BenchShape shape_;
  Stream stream_;
  int64_t l2_bytes_ = 0;
  StepLengths lengths_;
  int32_t pass_tokens_ = 0;  // of a sequence in one pass of a prefill
  std::unique_ptr<CachePool> pool_;
  std::unique_ptr<ContextRows> rows_;
  Passes context_, step_, seal_;
  DeviceArray<float> k_, v_, q_, out_, scratch_;  // k_, v_: rows of a step; out_: by layer
  DeviceArray<NonFiniteKey> non_finite_;
  NonFinite nonfinite_;
  int32_t held_ = 0;               // settled tokens of every sequence in every cache
  ByteCount used_[2], filled_[2];  // after a step, after the context; by Side
};

}  // namespace kvx::gpu
