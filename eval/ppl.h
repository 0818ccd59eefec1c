// Task `ppl`: negative log-likelihoods of a window's tokens and divergence from the unquantised
// model, both in one pass: what is needed of the base's logits is kept and every scheme's rows are
// compared with them as they come.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "eval/backend.h"
#include "eval/pass.h"
#include "eval/shadow.h"
#include "eval/window_record.h"

namespace kvx::eval {

// Floats that are kept from window to window and not set when they are made.
class KeptFloats {
 public:
  void resize(size_t size) {
    if (size > capacity_) {
      data_ = std::make_unique_for_overwrite<float[]>(size);
      capacity_ = size;
    }
    size_ = size;
  }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  float* at(size_t i) const { return data_.get() + i; }

 private:
  std::unique_ptr<float[]> data_;
  size_t size_ = 0, capacity_ = 0;
};

// The base at the scored positions of one window, and its context.
struct BaseWindow {
  KeptFloats logits;         // [targets][vocab], or
  KeptFloats hidden;         // [targets][hidden], before the output projection; or neither
  std::vector<double> lse;   // [targets]
  std::vector<int64_t> top;  // [targets], num::argmax
  // By layer; empty where there is no context or it is too large. It serves every scheme that
  // stores rotated keys; others compute it again.
  std::vector<ContextRows> context;
};

struct PassResult {
  WindowRecord record;  // all but key, protocol and side file
  PositionScores scores;
  std::vector<uint64_t> rows;              // row_hash of the logits of every scored position
  std::optional<ShadowMismatch> mismatch;  // the first one
};

// Runs the window as a new sequence under kBaseScheme; fills `base`, with what schemes need if
// `for_schemes`.
PassResult run_base(Backend& backend, const Window& window, const PassSettings& settings,
                    bool for_schemes, BaseWindow& base);

// The same under a scheme, compared with the base, which must have been run for schemes.
PassResult run_scheme(Backend& backend, const Descriptor& scheme, const Window& window,
                      const PassSettings& settings, const BaseWindow& base);

}  // namespace kvx::eval
