#include "eval/tasks/needle_size.h"

#include <algorithm>
#include <numeric>

namespace kvx::eval {
namespace {

constexpr int64_t kNarrow = 8;
constexpr int kLines = 12;

struct Point {
  int64_t n = 0;
  int64_t tokens = 0;
};

// Where the line through two points reaches `room`.
int64_t on_line(const Point& a, const Point& b, int64_t room) {
  const int64_t rise = std::max<int64_t>(b.tokens - a.tokens, 1);
  return a.n + (room - a.tokens) * (b.n - a.n) / rise;
}

}  // namespace

int64_t largest_fitting(int64_t room, int64_t start, int64_t most,
                        const std::function<int64_t(int64_t)>& tokens) {
  Point below{1, tokens(1)};
  Point low = below;  // fits; `below` is the one that was before it
  Point high{most + 1, 0};
  bool bracketed = false;  // `high` is known not to fit
  int64_t next = start;
  for (int asked = 0; high.n - low.n > 1; ++asked) {
    next = std::clamp(next, low.n + 1, high.n - 1);
    const Point found{next, tokens(next)};
    if (found.tokens <= room) {
      below = low;
      low = found;
    } else {
      high = found;
      bracketed = true;
    }
    if (!bracketed)
      next = asked < kLines ? on_line(below, low, room) : 2 * low.n;
    else if (high.n - low.n <= kNarrow || asked >= kLines)
      next = std::midpoint(low.n, high.n);
    else
      next = on_line(low, high, room);
  }
  return low.n;
}

}  // namespace kvx::eval
