// A cache that gives another cache its rows in other chunks, one sequence at a time, and answers
// from snapshots (forks) in between: by the laws of LayerCache nobody can tell. The subject of
// `kvx check --backend cpu`.
#pragma once

#include <map>
#include <memory>

#include "sim/api/cache.h"

namespace kvx::check {

std::unique_ptr<LayerCache> rechunked(std::unique_ptr<LayerCache> cache);

}  // namespace kvx::check
