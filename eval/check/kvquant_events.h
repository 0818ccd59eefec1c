// Events of kvquant, by the formulas of its page, over the first tokens of sequence 0.
#pragma once

#include <map>
#include <string>

#include "eval/check/events.h"
#include "sim/api/tensor.h"

namespace kvx::check {

// rows: the side's first tokens, as given. content: the reference's canonical tensors.
void kvquant_events(const Case& one, Side side, ConstRows rows,
                    const std::map<std::string, Thing>& content, Events& events);

}  // namespace kvx::check
