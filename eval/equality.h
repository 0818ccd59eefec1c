// Whether two passes over a unit gave the same values (E3: every logit and every likelihood), and
// where they parted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/pass.h"
#include "eval/place.h"
#include "eval/window_record.h"

namespace kvx::eval {

// The first value of a unit that two passes do not share.
struct ValueDifference {
  std::string value;            // "nll", "kl", "same_top", "logits", "bytes"
  int64_t position = -1;        // in the window; -1: of the unit as a whole
  std::string expected, found;  // "1.5 (0x3ff8000000000000)"
};

std::string value_text(const ValueDifference& difference);

// Compares the scores of every position as bits, NaN equal to NaN, then the hash of the logits,
// where both have one, and the counted bytes.
std::optional<ValueDifference> first_difference(const WindowRecord& expected,
                                                const PositionScores& expected_scores,
                                                const WindowRecord& found,
                                                const PositionScores& found_scores);

// Runs the window again on both backends and looks into every layer: the first layer in which K, V,
// Q or the attention output differ, and if it is the output alone, what the caches of that layer
// hold differently; behind equal layers the first differing logit. In the order of the computation;
// empty where this time everything is equal.
std::vector<Place> locate(Backend& expected, Backend& found, const Descriptor& scheme,
                          const Window& window, const PassSettings& settings);

}  // namespace kvx::eval
