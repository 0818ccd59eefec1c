// One window of tokens as a new sequence through an engine: in passes of limited size, with the
// listeners that look into its layers.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "eval/backend.h"
#include "eval/window_record.h"

namespace kvx::eval {

// One sequence of tokens and what is scored of it.
struct Window {
  std::vector<int32_t> tokens;
  int64_t first = 0;    // first position whose prediction is scored; the last is tokens-2
  int64_t context = 0;  // that many tokens are read exactly as computed, in modes with a context

  int64_t targets() const { return static_cast<int64_t>(tokens.size()) - 1 - first; }
};

// Rotated keys, and values, [context][kv heads][head dim], of one layer.
struct ContextRows {
  std::vector<float> k, v;
};

// Stores a context in the caches of all layers, in place of its pass; of schemes that store rotated
// keys.
void append_context(model::Transformer& engine, SeqId seq, const std::vector<ContextRows>& layers,
                    int64_t tokens);

// What the caches of all layers hold of a sequence, by side.
struct CacheUse {
  std::array<ByteCount, 2> bytes;
  std::array<double, 2> nominal{};  // bits per value, mean over layers
};
CacheUse cache_use(const model::Transformer& engine, SeqId seq);

// Base logits up to this size are kept for the schemes; beyond it the rows that enter the output
// projection are kept (vocabulary / hidden size times smaller) and projected again for every
// scheme: the same bits, for the time of one matrix product a scheme. K and V of a context are kept
// up to this size too. An eighth of the machine's memory, but 1 GiB at least and 4 GiB at most.
int64_t default_kept_bytes();

// Layers of every pass that the CPU reference computes again (shadow.h): how many, drawn from
// `seed`.
struct ShadowSettings {
  int64_t layers = 0;
  uint64_t seed = 0;
};

struct PassSettings {
  model::CacheMode mode = model::CacheMode::kStreamed;
  NonFinite nonfinite = NonFinite::kRefuse;
  int threads = 0;                // of the judge; 0: as OpenMP says
  Artifacts artifacts = nullptr;  // must be set for schemes that name one
  int64_t kept_bytes = default_kept_bytes();
  ShadowSettings shadow{};
  std::vector<uint64_t> rope_steps = {};      // of the model: the shadow's caches rotate by them
  Arithmetic arithmetic = Arithmetic::kIeee;  // of the run
};

// Tokens [first, first + count) of a window, fed in one pass.
struct Piece {
  int64_t first, count;
  bool exact;  // the context: reads K and V exactly as computed
};

// What looks into layers of a pass.
class PassListener {
 public:
  virtual ~PassListener() = default;
  virtual bool wants(const Piece& piece, int layer) const = 0;
  // After the attention of a layer that it wants.
  virtual void tap(const Piece& piece, const model::LayerTap& tap) = 0;
  // In place of the context's pass, where its rows came from another: all layers.
  virtual void append_context(const std::vector<ContextRows>&) {}
  // After the last pass, while the sequence is open.
  virtual void finish(const model::Transformer&, SeqId) {}
};

struct PassHooks {
  // Logits [count][vocab] of the targets [first, first + count), in a call of the engine's sink.
  using Judge = std::function<void(model::Transformer& engine, int64_t first, int64_t count,
                                   const float* logits)>;
  Judge judge;
  std::vector<PassListener*> listeners;
  // A context that was computed before and takes the place of its pass; nullptr: none.
  const std::vector<ContextRows>* context = nullptr;
  // Scores what the context itself predicts, where `context` takes the place of its pass.
  std::function<void(model::Transformer& engine)> judge_context;
};

bool has_context(model::CacheMode mode);

// The window under a scheme; the judge is called for every scored position, in order. What the
// listeners take is not in the record's seconds.
WindowRecord run_pass(Backend& backend, const Descriptor& scheme, const Window& window,
                      const PassSettings& settings, const PassHooks& hooks);

}  // namespace kvx::eval
