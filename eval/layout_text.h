// The byte layout of a cache image for people.
#pragma once

#include <string>
#include <vector>

#include "sim/api/cache.h"

namespace kvx::eval {

// One line an entry. Unless `whole`, of a run of blocks that differ in their numbers only the first
// and the last are shown.
std::string layout_text(const std::vector<LayoutEntry>& entries, bool whole);

}  // namespace kvx::eval
