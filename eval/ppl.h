// Task `ppl`: perplexity in GPTQ's protocol and divergence from the unquantised model, window by
// window, both in one pass: the base's logits of the window are kept and every scheme's rows are
// compared with them as they come.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "eval/record.h"
#include "sim/api/descriptor.h"
#include "sim/model/engine.h"

namespace kvx::eval {

// The unquantised scheme every divergence is from.
inline constexpr const char* kBaseScheme = "fp:f32";

// Logits and scores of the base over the scored positions 0 .. tokens-2 of one window.
struct BaseWindow {
  std::vector<float> logits;  // [targets][vocab]; empty unless kept
  std::vector<double> lse;    // [targets]
  std::vector<int64_t> top;   // [targets], num::argmax
};

struct PassSettings {
  model::CacheMode mode = model::CacheMode::kStreamed;
  NonFinite nonfinite = NonFinite::kRefuse;
  int threads = 0;  // 0: as OpenMP says
};

struct PassResult {
  UnitRecord record;  // all but the key and the side file
  PositionScores scores;
};

// Runs the window as a new sequence under kBaseScheme; fills `base`, with the logits if
// `keep_logits`.
PassResult run_base(const model::Model& model, std::span<const int32_t> window,
                    const PassSettings& settings, bool keep_logits, BaseWindow& base);

// The same under a scheme, compared with the base, whose logits must have been kept.
PassResult run_scheme(const model::Model& model, const Descriptor& scheme,
                      std::span<const int32_t> window, const PassSettings& settings,
                      const BaseWindow& base);

}  // namespace kvx::eval
