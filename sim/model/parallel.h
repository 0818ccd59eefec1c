// Loops over independent outputs: no reduction, no order that depends on the number of threads.
#pragma once

#include <cstdint>

namespace kvx::model {

template <class Body>
void parallel_for(int threads, int64_t count, const Body& body) {
#pragma omp parallel for schedule(dynamic) num_threads(threads) if (count > 1)
  for (int64_t i = 0; i < count; ++i) body(i);
}

}  // namespace kvx::model
