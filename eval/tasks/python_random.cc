#include "eval/tasks/python_random.h"

#include <algorithm>
#include <array>
#include <bit>
#include <stdexcept>
#include <unordered_set>

namespace kvx::eval {
namespace {

constexpr size_t kWords = 624;
using State = std::array<uint32_t, kWords>;

State init_genrand(uint32_t seed) {
  State state{};
  state[0] = seed;
  for (size_t i = 1; i < kWords; ++i)
    state[i] = 1812433253U * (state[i - 1] ^ (state[i - 1] >> 30)) + static_cast<uint32_t>(i);
  return state;
}

// init_by_array of the key {seed}.
State init_by_array(uint32_t seed) {
  State state = init_genrand(19650218U);
  size_t i = 1;
  const auto next = [&] {
    if (++i >= kWords) {
      state[0] = state[kWords - 1];
      i = 1;
    }
  };
  for (size_t step = 0; step < kWords; ++step, next())
    state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * 1664525U)) + seed;
  for (size_t step = 1; step < kWords; ++step, next())
    state[i] = (state[i] ^ ((state[i - 1] ^ (state[i - 1] >> 30)) * 1566083941U)) -
               static_cast<uint32_t>(i);
  state[0] = 0x80000000U;
  return state;
}

// Stands for std::seed_seq: hands a whole state to the engine, whose own seeding takes it as is.
class WholeState {
 public:
  using result_type = uint32_t;
  explicit WholeState(const State& state) : state_(state) {}
  template <class It>
  void generate(It first, It last) const {
    std::copy_n(state_.begin(), std::min<ptrdiff_t>(last - first, std::ssize(state_)), first);
  }
  size_t size() const { return state_.size(); }
  template <class It>
  void param(It to) const {
    std::copy(state_.begin(), state_.end(), to);
  }

 private:
  const State& state_;
};

std::mt19937 seeded(uint32_t seed) {
  const State state = init_by_array(seed);
  WholeState whole(state);
  return std::mt19937(whole);
}

// random.sample draws from a set where that takes less room than a pool.
size_t pool_limit(size_t k) {
  size_t limit = 21;
  if (k > 5) {
    size_t power = 1;
    while (power < 3 * k) power *= 4;
    limit += power;
  }
  return limit;
}

}  // namespace

PythonRandom::PythonRandom(uint32_t seed) : words_(seeded(seed)) {}

uint64_t PythonRandom::below(uint64_t n) {
  if (n == 0) throw std::logic_error("below(0)");
  const int bits = std::bit_width(n);
  for (;;) {
    uint64_t value = 0;
    for (int have = 0; have < bits; have += 32) {
      uint64_t word = static_cast<uint32_t>(words_());
      if (bits - have < 32) word >>= 32 - (bits - have);
      value |= word << have;
    }
    if (value < n) return value;
  }
}

std::vector<size_t> PythonRandom::sample(size_t n, size_t k) {
  if (k > n) throw std::logic_error("sample of more than there are");
  std::vector<size_t> drawn;
  drawn.reserve(k);
  if (n <= pool_limit(k)) {
    std::vector<size_t> pool(n);
    for (size_t i = 0; i < n; ++i) pool[i] = i;
    for (size_t i = 0; i < k; ++i) {
      const size_t j = below(n - i);
      drawn.push_back(pool[j]);
      pool[j] = pool[n - i - 1];
    }
    return drawn;
  }
  std::unordered_set<size_t> chosen;
  while (drawn.size() < k)
    if (const size_t j = below(n); chosen.insert(j).second) drawn.push_back(j);
  return drawn;
}

int64_t NumpyRandom::integer(int64_t low, int64_t high) {
  const uint32_t largest = static_cast<uint32_t>(high - low - 1);
  if (largest == 0) return low;
  const uint32_t mask = static_cast<uint32_t>(std::bit_ceil(uint64_t{largest} + 1) - 1);
  uint32_t offset = 0;
  do offset = static_cast<uint32_t>(words_()) & mask;
  while (offset > largest);
  return low + offset;
}

}  // namespace kvx::eval
