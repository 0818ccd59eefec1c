// Task `error`: one layer under a scheme, on what the unquantised model computes there (error.md).
#pragma once

#include <array>
#include <vector>

#include "eval/pass.h"
#include "sim/api/cache.h"
#include "sim/model/transformer.h"

namespace kvx::eval {

// Attention of one layer of the unquantised model over a window; q and k after rotation, k_pre
// before.
struct LayerActivations {
  int heads = 0, kv_heads = 0, dim = 0;
  std::vector<float> q, out;      // [tokens][heads][head dim]
  std::vector<float> k, v;        // [tokens][kv heads][head dim]
  std::vector<float> k_pre = {};  // the same; for schemes that store keys before rotation

  int64_t tokens() const { return static_cast<int64_t>(k.size()) / (int64_t{kv_heads} * dim); }
};

// Takes them from a pass, every layer.
class ActivationsListener final : public PassListener {
 public:
  explicit ActivationsListener(const model::ModelConfig& config);

  bool wants(const Piece&, int) const override { return true; }
  void tap(const Piece& piece, const model::LayerTap& tap) override;

  std::vector<LayerActivations> take() { return std::move(layers_); }

 private:
  std::vector<LayerActivations> layers_;
};

// Relative errors ||x^ - x||_F / ||x||_F; 0 where nothing differs.
struct LayerErrors {
  double k = 0, v = 0;  // as the window's last query reads them
  double weights = 0;   // softmax rows of the last queries (error_weights.h)
  double out = 0;       // attention output of every query
  bool operator==(const LayerErrors&) const = default;
};

// What a layer's cache made of the window.
struct LayerResult {
  LayerErrors errors;
  std::array<ByteCount, 2> bytes;  // by side
  std::array<double, 2> nominal{};
};

// Appends the window to `cache`, which is empty and without windows in mode kAll, and compares what
// kAll or kStreamed reads. Throws what `append` throws.
LayerResult layer_result(LayerCache& cache, const LayerActivations& base, model::CacheMode mode);

}  // namespace kvx::eval
