// The CPU transformer: same bits at any thread count, batch and chunking. All of it is in the
// `ieee` arithmetic, but for attention over caches under `fixed`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/model/checkpoint.h"
#include "sim/model/transformer.h"

namespace kvx::model {

// Weights in memory, packed for the matrix product; 16-bit weights stay 16 bits.
class Model {
 public:
  // Throws an environment Error naming tensor, row and column for a non-finite weight.
  explicit Model(const Checkpoint& checkpoint);
  ~Model();
  const ModelConfig& config() const;
  // Steps of the rotary table (2^64 per turn), one per pair: recorded in results.
  std::span<const uint64_t> rope_steps() const;

  struct Impl;
  const Impl& impl() const { return *impl_; }

 private:
  std::unique_ptr<Impl> impl_;
};

class Engine final : public Transformer {
 public:
  // Mode kAll makes caches without windows; the others keep them. threads: 0 = as OpenMP says.
  // arithmetic: of attention over the caches. Chunks that read K and V as computed are the
  // unquantised model's, and `ieee` under either.
  Engine(const Model& model, const CacheFactory& factory, CacheMode mode, int threads,
         NonFinite nonfinite = NonFinite::kRefuse, Arithmetic arithmetic = Arithmetic::kIeee);
  ~Engine() override;

  const ModelConfig& config() const override;
  SeqId open() override;
  SeqId fork(SeqId seq) override;
  void close(SeqId seq) override;
  int64_t length(SeqId seq) const override;
  void forward(std::span<const Chunk> chunks, const LogitsSink& sink,
               std::span<const int64_t> want = {}) override;
  std::vector<int32_t> greedy(std::span<const SeqId> seqs, std::span<const int32_t> tokens,
                              int64_t steps) override;
  void append(SeqId seq, int layer, ConstRows k, ConstRows v) override;
  const float* hidden() const override;
  void project(const float* hidden, int64_t count, float* logits) override;
  const LayerCache& cache(int layer) const override;
  void set_tap(std::function<void(const LayerTap&)> tap, std::span<const int> layers = {}) override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvx::model
