// The shadow check: layers of a pass are computed again by the CPU reference from the activations
// of the pass itself, and compared bit for bit: what the cache stores (E0), what it decodes to (E1)
// and the attention output of sampled queries (E2).
#pragma once

#include <future>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "eval/pass.h"
#include "eval/place.h"
#include "eval/record.h"

namespace kvx::eval {

// The first value that came out otherwise, of the lowest level: what is stored comes before what is
// read.
struct ShadowMismatch {
  std::string level;  // "E0", "E1", "E2"
  Place place;        // expected: the reference's
};

class Shadow final : public PassListener {
 public:
  // Of a pass under `scheme` in the settings' mode; settings.shadow says how many layers.
  Shadow(const Descriptor& scheme, const model::ModelConfig& config, const PassSettings& settings);

  bool wants(const Piece& piece, int layer) const override;
  void tap(const Piece& piece, const model::LayerTap& tap) override;
  void append_context(const std::vector<ContextRows>& context) override;
  void finish(const model::Transformer& engine, SeqId seq) override;

  const ShadowCount& count() const { return count_; }
  const std::optional<ShadowMismatch>& first() const { return first_; }

 private:
  struct Layer {
    int layer;
    std::unique_ptr<LayerCache> cache;
    SeqId seq;
  };
  // What a tap leaves; the reference works on it beside the rest of the pass.
  struct Taken {
    const Layer* layer;
    Piece piece;
    std::vector<float> k, v;                 // [tokens][kv heads][head dim], keys rotated
    std::vector<float> stored;               // keys before rotation, where the cache stores those
    std::vector<int64_t> positions;          // of the sampled queries, in the sequence
    std::vector<std::vector<float>> q, out;  // of each: [heads][head dim]
  };
  void compute(const Taken& taken);
  void wait();
  void found(const std::string& level, const Place& place);

  PassSettings settings_;
  std::vector<Layer> layers_;  // ascending
  ShadowCount count_;
  std::optional<ShadowMismatch> first_;
  std::future<void> running_;  // owns layers_, count_ and first_ until waited for
};

}  // namespace kvx::eval
