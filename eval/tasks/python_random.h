// The draws of Python's `random.Random(seed)` and of numpy's legacy generator, from which published
// prompts are made: both are MT19937 (Matsumoto, Nishimura 1998), seeded and read differently.
#pragma once

#include <cstddef>
#include <cstdint>
#include <random>
#include <vector>

namespace kvx::eval {

// random.Random(seed): MT19937 seeded by init_by_array of the seed's 32-bit digits.
class PythonRandom {
 public:
  explicit PythonRandom(uint32_t seed);

  // Uniform in 0 .. n-1, n > 0: the top bit_length(n) bits of words, redrawn while >= n (one word
  // for n < 2^32, else little-endian words as getrandbits takes them). randrange(a, b) is
  // a + below(b - a).
  uint64_t below(uint64_t n);

  // sample(range(n), k): k different numbers in order of drawing. k <= n.
  std::vector<size_t> sample(size_t n, size_t k);

  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i-- > 1;) std::swap(items[i], items[below(i + 1)]);
  }

 private:
  std::mt19937 words_;
};

// numpy.random.seed(seed); numpy.random.randint(low, high): MT19937 seeded by init_genrand, a word
// AND the smallest all-ones mask that covers the largest offset, redrawn while too large.
class NumpyRandom {
 public:
  explicit NumpyRandom(uint32_t seed) : words_(seed) {}
  int64_t integer(int64_t low, int64_t high);  // low <= x < high, high - low < 2^32

 private:
  std::mt19937 words_;
};

}  // namespace kvx::eval
