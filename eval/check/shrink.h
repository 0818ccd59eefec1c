// A smaller case that still fails.
#pragma once

#include <functional>

#include "eval/check/case.h"

namespace kvx::check {

// Tries smaller cases (fewer sequences, steps, tokens, heads, channels; plainer inputs) as long as
// `fails` says that one still does, until none does or the time is up. `fails` may throw: such a
// case does not count.
Case shrink(const Case& failing, const std::function<bool(const Case&)>& fails, double seconds);

}  // namespace kvx::check
