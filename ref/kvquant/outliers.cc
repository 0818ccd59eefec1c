#include "ref/kvquant/outliers.h"

#include <algorithm>

namespace kvx::ref::kvquant {
namespace {

constexpr int kNan = 0x7E00;

int nth(std::vector<int>& values, int64_t n) {
  const auto at = values.begin() + n;
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

// Marks the m first of those that are not marked yet, by `before` and among equal ones by channel.
template <class Before>
void mark_first(std::span<const int> order, int64_t m, const Before& before,
                std::vector<uint8_t>& marks) {
  std::vector<int> rest;
  for (size_t j = 0; j < order.size(); ++j) {
    if (marks[j] == 0) rest.push_back(order[j]);
  }
  const auto last = rest.begin() + (m - 1);
  std::nth_element(rest.begin(), last, rest.end(), before);
  const int border = *last;
  int64_t equal = m - std::count_if(rest.begin(), last, [&](int v) { return before(v, border); });
  for (size_t j = 0; j < order.size(); ++j) {
    if (marks[j] != 0) continue;
    const bool tie = order[j] == border;
    if (before(order[j], border) || (tie && equal > 0)) marks[j] = 1;
    if (tie) --equal;
  }
}

// lo, hi of the values that are not marked, and of `also`.
void set_range(std::span<const int> order, int also, TokenRange& out) {
  int low = also, high = also;
  for (size_t j = 0; j < order.size(); ++j) {
    if (out.marks[j] != 0) continue;
    low = std::min(low, order[j]);
    high = std::max(high, order[j]);
  }
  out.lo = f16_of(low);
  out.hi = f16_of(high);
}

}  // namespace

int order_of(uint16_t f16_bits) {
  const int magnitude = f16_bits & 0x7FFF;
  if (magnitude > 0x7C00) return kNan;
  return (f16_bits & 0x8000) != 0 ? -magnitude : magnitude;
}

uint16_t f16_of(int order) { return static_cast<uint16_t>(order < 0 ? 0x8000 | -order : order); }

void range_by_value(std::span<const int> order, int64_t m, TokenRange& out) {
  const auto d = static_cast<int64_t>(order.size());
  out.marks.assign(order.size(), 0);
  if (m == 0) return set_range(order, order[0], out);
  std::vector<int> v(order.begin(), order.end());
  const int upper = nth(v, d - m), lower = nth(v, m - 1), median = nth(v, (d - 1) / 2);
  for (size_t j = 0; j < order.size(); ++j) {
    out.marks[j] = order[j] >= upper || order[j] <= lower;
  }
  set_range(order, median, out);
}

void range_by_rank(std::span<const int> order, int64_t m, TokenRange& out) {
  out.marks.assign(order.size(), 0);
  if (m > 0) {
    mark_first(order, m, std::greater<>(), out.marks);
    mark_first(order, m, std::less<>(), out.marks);
  }
  const auto inlier = std::find(out.marks.begin(), out.marks.end(), uint8_t{0});
  set_range(order, order[static_cast<size_t>(inlier - out.marks.begin())], out);
}

}  // namespace kvx::ref::kvquant
