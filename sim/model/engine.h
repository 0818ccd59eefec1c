// The CPU transformer in the `ieee` arithmetic: same bits at any thread count, batch and chunking.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/api/cache.h"
#include "sim/model/checkpoint.h"

namespace kvx::model {

// What attention reads; printed with every number.
enum class CacheMode : uint8_t { kAll, kStreamed, kPrefillExact, kContextExact };
const char* cache_mode_name(CacheMode mode);

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

// Tokens of one sequence fed in one pass.
struct Chunk {
  SeqId seq = 0;
  std::span<const int32_t> tokens;
  bool prompt_end = false;
  bool exact = false;  // attention of this chunk reads K and V exactly as computed (prefill-exact,
                       // context-exact); the chunk must start its sequence. What it appends is
                       // stored as always.
};

// Rows [first, first + count) of the pass (tokens of all chunks in order), logits [count][vocab].
using LogitsSink = std::function<void(int64_t first, int64_t count, const float* logits)>;

// Attention of one layer of a pass, tokens of all chunks in order.
struct LayerTap {
  int layer;
  ConstRows q, k, v;       // q and k after rotation
  ConstRows q_pre, k_pre;  // before rotation
  ConstRows out;           // [tokens][heads][head dim], before the output projection
};

class Engine {
 public:
  // Mode kAll makes caches without windows; the others keep them. threads: 0 = as OpenMP says.
  Engine(const Model& model, const CacheFactory& factory, CacheMode mode, int threads,
         NonFinite nonfinite = NonFinite::kRefuse);
  ~Engine();

  SeqId open();
  SeqId fork(SeqId seq);
  void close(SeqId seq);
  int64_t length(SeqId seq) const;

  // One forward pass over any mix of chunks, at most one per sequence. Calls `sink` with
  // consecutive row ranges (of limited size), in order; `want` selects rows whose logits are needed
  // (empty: all). In mode kAll a sequence is one pass: its chunk must start it.
  void forward(std::span<const Chunk> chunks, const LogitsSink& sink,
               std::span<const int64_t> want = {});

  // Stores rows of K (in the key space of the caches) and V in the cache of one layer as an exact
  // chunk would that ends the prompt; to be called for every layer before the next pass. So a
  // context that one engine computed serves others.
  void append(SeqId seq, int layer, ConstRows k, ConstRows v);

  // During a call of the sink: its rows as they enter the output projection, [count][hidden].
  const float* hidden() const;
  // The logits [count][vocab] of such rows: the bits that `forward` gives for them.
  void project(const float* hidden, int64_t count, float* logits);

  const LayerCache& cache(int layer) const;
  void set_tap(std::function<void(const LayerTap&)> tap);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace kvx::model
