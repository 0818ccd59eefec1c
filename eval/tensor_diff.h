// Where two tensors differ: compared as bits, a NaN equals a NaN.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sim/api/artifact.h"

namespace kvx::eval {

struct TensorDifference {
  std::vector<int64_t> index;   // of the first differing value: [batch, head, token, channel], ...
  std::string expected, found;  // "3 (0x03)", "1.5 (0x3e00)"
  int64_t count = 0;            // differing values
};

// Both of one dtype and shape.
std::optional<TensorDifference> first_difference(const ArtifactTensor& expected,
                                                 const ArtifactTensor& found);

}  // namespace kvx::eval
