// Hashes of what every scheme stores and reads.
#pragma once

#include "tests/hash/report.h"

namespace kvx::hash {

void caches(Report& report);

}  // namespace kvx::hash
