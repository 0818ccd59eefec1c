// What benches do on the host.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <vector>

namespace kvx::bench {

template <class Work>
double seconds_of(const Work& work) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point begin = Clock::now();
  work();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// `count` values: the block's, again and again.
inline std::vector<float> repeated(const std::vector<float>& block, int64_t count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) values[i] = block[i % block.size()];
  return values;
}

// 0: not known.
inline int64_t last_cache_bytes() { return std::max<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE), 0); }

}  // namespace kvx::bench
