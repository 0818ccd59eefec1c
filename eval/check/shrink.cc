#include "eval/check/shrink.h"

#include <chrono>

#include "sim/api/error.h"

namespace kvx::check {
namespace {

// Smaller neighbours of a case, those that save the most first.
std::vector<Case> smaller(const Case& from) {
  std::vector<Case> all;
  const auto add = [&](const auto& change) {
    Case one = from;
    change(one);
    if (one != from && !one.steps.empty()) all.push_back(std::move(one));
  };
  if (from.kv_heads > 1) {
    add([](Case& c) { c.q_heads /= c.kv_heads, c.kv_heads = 1; });
    if (from.kv_heads % 2 == 0) add([](Case& c) { c.q_heads /= 2, c.kv_heads /= 2; });
  }
  if (from.q_heads > from.kv_heads) add([](Case& c) { c.q_heads = c.kv_heads; });
  if (from.batch > 1) {
    add([](Case& c) { c.batch = 1; });
    add([](Case& c) { --c.batch; });
  }
  const size_t steps = from.steps.size();
  if (steps > 2) {
    const auto half = static_cast<std::ptrdiff_t>(steps / 2);
    add([&](Case& c) { c.steps.erase(c.steps.begin() + half, c.steps.end()); });
    add([&](Case& c) { c.steps.erase(c.steps.begin(), c.steps.begin() + half); });
  }
  for (size_t i = steps; i-- > 0 && steps > 1;)
    add([&](Case& c) { c.steps.erase(c.steps.begin() + static_cast<std::ptrdiff_t>(i)); });
  for (size_t i = 0; i < steps; ++i) {
    const int64_t count = from.steps[i].count;
    for (const int64_t less : {count / 2, count - count / 4, count - 1})
      if (less > 0 && less < count) add([&](Case& c) { c.steps[i].count = less; });
  }
  for (const int dim : {32, 64, 128})
    if (dim < from.dim) add([&](Case& c) { c.dim = dim; });
  add([](Case& c) { c.inspect_each = false; });
  add([](Case& c) { c.attend_each = false; });
  add([](Case& c) { c.q = gen::Fill::kNormal; });
  add([](Case& c) { c.v = gen::Fill::kNormal; });
  add([](Case& c) { c.k = gen::Fill::kNormal; });
  add([](Case& c) { c.seed = 2; });  // an even one: rows without gaps
  return all;
}

}  // namespace

Case shrink(const Case& failing, const std::function<bool(const Case&)>& fails, double seconds) {
  using Clock = std::chrono::steady_clock;
  const auto end = Clock::now() + std::chrono::duration<double>(seconds);
  Case best = failing;
  for (bool found = true; found;) {
    found = false;
    for (const Case& candidate : smaller(best)) {
      if (Clock::now() >= end) return best;
      try {
        if (!fails(candidate)) continue;
      } catch (const Error&) {  // no such cache
        continue;
      }
      best = candidate;
      found = true;
      break;
    }
  }
  return best;
}

}  // namespace kvx::check
