// The CUDA transformer in the `ieee` arithmetic: the bits of the CPU engine at any batch, chunking
// and launch. One stream computes, another copies logits to the host.
//
// engine.cc: passes, as the host sees them. layers.cc: what they enqueue. greedy.cc: decoding on
// the device. contexts.cc: rows that come from elsewhere.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "gpu/cache/pool.h"
#include "gpu/common/memory.h"
#include "gpu/common/stream.h"
#include "gpu/engine/device_model.h"
#include "gpu/engine/elementwise.h"
#include "gpu/engine/graphs.h"
#include "gpu/engine/memory_plan.h"
#include "gpu/engine/workspace.h"
#include "gpu/registry.h"

namespace kvx::gpu {

class Engine final : public model::Transformer {
 public:
  // Takes the memory that the limits ask for. A larger pass takes more when it comes; more or
  // longer sequences are refused. Throws an environment Error naming the memory needed and free,
  // and the batch that fits; a usage Error where the scheme has no kernels.
  Engine(std::shared_ptr<const DeviceModel> model, const Descriptor& scheme,
         const EngineSettings& settings);
  ~Engine() override;

  const model::ModelConfig& config() const override { return model_->config(); }
  SeqId open() override;
  SeqId fork(SeqId seq) override;
  void close(SeqId seq) override;
  int64_t length(SeqId seq) const override;
  void forward(std::span<const model::Chunk> chunks, const model::LogitsSink& sink,
               std::span<const int64_t> want = {}) override;
  std::vector<int32_t> greedy(std::span<const SeqId> seqs, std::span<const int32_t> tokens,
                              int64_t steps) override;
  void append(SeqId seq, int layer, ConstRows k, ConstRows v) override;
  const float* hidden() const override { return logits_.host_hidden(given_slot_); }
  void project(const float* hidden, int64_t count, float* logits) override;
  const LayerCache& cache(int layer) const override;
  void set_tap(std::function<void(const model::LayerTap&)> tap,
               std::span<const int> layers = {}) override;

 private:
  static constexpr int64_t kStepsAtOnce = 128;  // of greedy, between two looks of the host

  // A pass as the host knows it.
  struct HostPass {
    std::vector<SeqId> seqs;      // by span
    std::vector<PassSpan> spans;  // none is empty
    std::vector<int32_t> tokens;
    bool exact = false;  // some span is

    int64_t rows() const { return static_cast<int64_t>(tokens.size()); }
    int32_t max_count() const;
    int32_t max_length() const;
  };
  // Rows of a context that some layers still lack.
  struct Arrival {
    int32_t first = 0;
    int32_t count = 0;
    std::vector<bool> seen;  // by layer
  };
  // Rows on their way to the device.
  struct RowStage {
    PinnedArray<float> rows;
    PinnedArray<PassSpan> span;
    Event taken;
  };

  Engine(std::shared_ptr<const DeviceModel> model, const Descriptor& scheme,
         const EngineSettings& settings, const MemoryPlan& plan);

  // Refusals, in the words of the CPU engine.
  void check_steps(int64_t first, int64_t steps) const;  // of one token each
  void check_rows(int layer, Side side, int64_t first, const ConstRows& rows) const;
  // For the first note that the host has of a pass; its sequences are as before, then.
  void check_notes(const HostPass& pass);
  [[noreturn]] void refuse(int layer, NonFiniteNote note, const HostPass& pass) const;

  // What the host does before and after a pass.
  HostPass plan(std::span<const model::Chunk> chunks) const;
  void begin(const HostPass& pass);
  void set_lengths(const HostPass& pass, bool after);
  Pass device_pass(const HostPass& pass, int32_t max_length) const;
  // Whether the pass is a step of decoding, which is run as a graph.
  bool is_step(const HostPass& pass) const;
  // The bound of a step's lengths: as many segments as the next power of two has.
  int32_t step_bound(int32_t length) const;
  // For the products of so many rows, any logits, and attention within these bounds.
  void reserve_scratch(int64_t rows, const Pass& bounds);
  void forget_graphs();
  void give_logits(const HostPass& pass, const model::LogitsSink& sink,
                   std::span<const int64_t> want, bool first_is_computed);

  // What is enqueued; nothing here allocates but for taps. `tapped`: the pass whose layers are
  // given to the tap, if any.
  void enqueue_trunk(const Pass& pass, const HostPass* tapped);
  void enqueue_layer(int layer, const Pass& pass, const HostPass* tapped);
  void enqueue_head(int slot, int64_t first, int64_t count, const int32_t* wanted);
  void enqueue_greedy_step(const Pass& step);
  // y [rows][outputs] = x w^T + bias, or the same added to y.
  void multiply(const Projection& w, const float* x, int64_t x_stride, int64_t rows, float* y,
                bool add);

  // Whether the caches take keys before rotation.
  bool stores_unrotated() const { return pool_.kernels(0).traits().keys == KeySpace::kPreRope; }
  bool taps(int layer) const;
  void give_tap(int layer, const HostPass& pass);
  std::vector<int32_t> greedy_part(HostPass& pass, int64_t steps);
  std::vector<int32_t> greedy_by_passes(std::span<const model::Chunk> chunks,
                                        std::vector<int32_t>& fed, int64_t steps);
  void upload_rows(const PassSpan& span, const ConstRows& k, const ConstRows& v);

  std::shared_ptr<const DeviceModel> model_;
  EngineSettings settings_;
  Stream stream_;
  CachePool pool_;
  PassBuffers buffers_;
  LogitSlots logits_;
  DeviceArray<float> scratch_;
  DeviceArray<PassSpan> spans_;
  DeviceArray<NonFiniteNote> notes_;  // by layer
  PinnedArray<NonFiniteNote> host_notes_;
  StepGraphs graphs_;

  DeviceArray<GreedyState> greedy_state_;
  DeviceArray<Choice> choices_;  // by row of a step
  DeviceArray<int32_t> ids_;     // [kStepsAtOnce][sequences]

  int given_slot_ = 0;  // of the logits that the sink reads
  std::map<SeqId, Arrival> arrivals_;
  std::array<RowStage, 2> row_stages_;
  int next_row_stage_ = 0;
  std::function<void(const model::LayerTap&)> tap_;
  std::vector<int> tapped_;  // layers; empty: all
  PinnedArray<float> tap_rows_;
  DeviceArray<float> unrotated_;  // q, then k of the tapped pass
  mutable std::vector<std::unique_ptr<LayerCache>> caches_;
};

}  // namespace kvx::gpu
