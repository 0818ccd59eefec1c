// Random cases: descriptors from the schema's keys, shapes, inputs, chunks. A case depends on
// (seed, index) alone.
#pragma once

#include <functional>

#include "eval/check/case.h"

namespace kvx::check {

// `wanted` says which schemes may be drawn, by name. Throws a usage Error where it wants none, or
// none that has the arithmetic.
Case fuzz_case(uint64_t seed, uint64_t index, const std::function<bool(std::string_view)>& wanted,
               Arithmetic arithmetic = Arithmetic::kIeee);

}  // namespace kvx::check
