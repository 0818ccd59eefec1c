// What a scheme learns from exact K and V of a model before it can be used: it is shown the rows of
// every layer and writes the tensors of an artifact (sim/api/artifact.h).
#pragma once

#include "sim/api/cache.h"

namespace kvx {

// What a scheme is calibrated on.
struct CalibrationNeeds {
  KeySpace keys = KeySpace::kRotated;
  bool gradients = false;  // dL/dK and dL/dV besides K and V
  int64_t tokens = 1;      // least of a window
};

// One layer of one window, a sequence of its own: [tokens][kv heads][head dim] each, keys (and
// their gradients) in the key space asked for. L is the mean negative log-likelihood of the
// window's tokens from the second on. dk and dv have no data where no gradients are asked for.
struct CalibrationRows {
  int layer = 0;
  int64_t window = 0;
  ConstRows k, v;
  ConstRows dk, dv;
};

class Calibrator {
 public:
  virtual ~Calibrator() = default;

  virtual CalibrationNeeds needs() const = 0;

  // Windows and layers come in any order, each pair once; the tensors do not depend on the order. A
  // value that is not finite in the scheme's input type, or a gradient that is not, is an
  // environment Error naming layer, side, head and channel.
  virtual void observe(const CalibrationRows& rows) = 0;

  // What is computed once all rows were seen, in independent pieces: each is to be fitted once, any
  // number of them at the same time.
  virtual int64_t pieces() const { return 0; }
  virtual void fit(int64_t piece);

  // The artifact's tensors.
  virtual void export_to(const Sink& sink) const = 0;
};

inline void Calibrator::fit(int64_t) {}

}  // namespace kvx
