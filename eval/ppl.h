// Task `ppl`: negative log-likelihoods of a window's tokens and divergence from the unquantised
// model, both in one pass: what is needed of the base's logits is kept and every scheme's rows are
// compared with them as they come.
#pragma once

#include <cstdint>
#include <vector>

#include "eval/record.h"
#include "sim/api/descriptor.h"
#include "sim/model/engine.h"

namespace kvx::eval {

// The unquantised scheme every divergence is from.
inline constexpr const char* kBaseScheme = "fp:f32";

// Base logits up to this size are kept for the schemes; beyond it the rows that enter the output
// projection are kept (vocabulary / hidden size times smaller) and projected again for every
// scheme: the same bits, for the time of one matrix product a scheme. K and V of a context are kept
// up to this size too.
inline constexpr int64_t kKeptBytes = int64_t{1} << 30;

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

// The base at the scored positions of one window, and its context.
struct BaseWindow {
  std::vector<float> logits;  // [targets][vocab], or
  std::vector<float> hidden;  // [targets][hidden], before the output projection; or neither
  std::vector<double> lse;    // [targets]
  std::vector<int64_t> top;   // [targets], num::argmax
  // By layer; empty where there is no context or it is too large. It serves every scheme that
  // stores rotated keys; others compute it again.
  std::vector<ContextRows> context;
};

struct PassSettings {
  model::CacheMode mode = model::CacheMode::kStreamed;
  NonFinite nonfinite = NonFinite::kRefuse;
  int threads = 0;                // 0: as OpenMP says
  Artifacts artifacts = nullptr;  // must be set for schemes that name one
  int64_t kept_bytes = kKeptBytes;
};

struct PassResult {
  UnitRecord record;  // all but key, protocol and side file
  PositionScores scores;
};

// Runs the window as a new sequence under kBaseScheme; fills `base`, with what schemes need if
// `for_schemes`.
PassResult run_base(const model::Model& model, const Window& window, const PassSettings& settings,
                    bool for_schemes, BaseWindow& base);

// The same under a scheme, compared with the base, which must have been run for schemes.
PassResult run_scheme(const model::Model& model, const Descriptor& scheme, const Window& window,
                      const PassSettings& settings, const BaseWindow& base);

}  // namespace kvx::eval
