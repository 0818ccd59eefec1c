// What a scheme learns from exact K and V of a model before it can be used: it is shown the rows of
// every layer and writes the tensors of an artifact (sim/api/artifact.h).
#pragma once

#include "sim/api/cache.h"

namespace kvx {

class Calibrator {
 public:
  virtual ~Calibrator() = default;

  // Rows of one layer as LayerCache::append gets them. Any order and chunking of the same rows
  // gives the same tensors. A value that is not finite in the scheme's input type is an environment
  // Error naming layer, side, head and channel.
  virtual void observe(int layer, ConstRows k, ConstRows v) = 0;

  // The artifact's tensors.
  virtual void export_to(const Sink& sink) const = 0;
};

}  // namespace kvx
