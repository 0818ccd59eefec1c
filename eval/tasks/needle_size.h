// How much haystack a prompt of given length takes.
#pragma once

#include <cstdint>
#include <functional>

namespace kvx::eval {

// An n >= 1 that fits while n + 1 does not: by doubling n from `start` until it does not fit, and
// bisection. Where nothing up to `most` (>= start >= 1) fails to fit, `most`. `fits(1)` is taken
// for true.
int64_t largest_fitting(int64_t start, int64_t most, const std::function<bool(int64_t)>& fits);

}  // namespace kvx::eval
