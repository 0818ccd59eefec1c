#include "eval/tasks/needle_size.h"

#include <algorithm>
#include <numeric>

namespace kvx::eval {

int64_t largest_fitting(int64_t start, int64_t most, const std::function<bool(int64_t)>& fits) {
  int64_t low = 1;
  int64_t high = start;
  for (; fits(high); high = std::min(2 * high, most)) {
    if (high == most) return most;
    low = high;
  }
  while (high - low > 1) {
    const int64_t middle = std::midpoint(low, high);
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

}  // namespace kvx::eval
