// A decoder-only transformer over sequences whose K and V lie in the caches of a scheme: what the
// driver knows of an engine. The CPU and the CUDA engine give the same bits in `ieee`.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "sim/api/cache.h"
#include "sim/model/config.h"

namespace kvx::model {

// What attention reads; printed with every number.
enum class CacheMode : uint8_t { kAll, kStreamed, kPrefillExact, kContextExact };
const char* cache_mode_name(CacheMode mode);

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
  ConstRows q, k, v;             // q and k after rotation
  ConstRows q_pre, k_pre;        // before rotation
  ConstRows out;                 // [tokens][heads][head dim], before the output projection
  const float* input = nullptr;  // [tokens][hidden], what enters the layer; of the CPU engine alone
};

class Transformer {
 public:
  virtual ~Transformer() = default;

  virtual const ModelConfig& config() const = 0;

  virtual SeqId open() = 0;
  virtual SeqId fork(SeqId seq) = 0;
  virtual void close(SeqId seq) = 0;
  virtual int64_t length(SeqId seq) const = 0;

  // One forward pass over any mix of chunks, at most one per sequence. Calls `sink` with
  // consecutive row ranges (of limited size), in order; `want` selects rows whose logits are needed
  // (empty: all). In mode kAll a sequence is one pass: its chunk must start it.
  virtual void forward(std::span<const Chunk> chunks, const LogitsSink& sink,
                       std::span<const int64_t> want = {}) = 0;

  // Greedy continuation of sequences in lockstep: `tokens` [sequences] are fed first, then each
  // step's choice (num::argmax: greatest logit, lowest token on ties). Returns the choices
  // [steps][sequences]; the last ones are not fed.
  virtual std::vector<int32_t> greedy(std::span<const SeqId> seqs, std::span<const int32_t> tokens,
                                      int64_t steps) = 0;

  // Stores rows of K (in the key space of the caches) and V in the cache of one layer as an exact
  // chunk would that ends the prompt; to be called for every layer before the next pass. So a
  // context that one engine computed serves others.
  virtual void append(SeqId seq, int layer, ConstRows k, ConstRows v) = 0;

  // During a call of the sink: its rows as they enter the output projection, [count][hidden], in
  // host memory.
  virtual const float* hidden() const = 0;
  // The logits [count][vocab] of such rows: the bits that `forward` gives for them.
  virtual void project(const float* hidden, int64_t count, float* logits) = 0;

  // The cache of one layer, to be read only.
  virtual const LayerCache& cache(int layer) const = 0;

  // Called after the attention of each layer of each pass (every layer: `layers` empty), with host
  // memory that is valid during the call.
  virtual void set_tap(std::function<void(const LayerTap&)> tap,
                       std::span<const int> layers = {}) = 0;
};

}  // namespace kvx::model
