// The K, V and Q of a case's sequences, and rows in memory whose surroundings are watched.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <vector>

#include "eval/check/case.h"
#include "sim/api/tensor.h"

namespace kvx::check {

// Runs body(i) for i in [0, count) on up to `threads` threads; the first exception is thrown again.
void parallel(int threads, int64_t count, const std::function<void(int64_t)>& body);

// Sequences are numbered: those of the batch, then forks. A row depends on the case's fills and
// seed, on the sequence's number and the position.
class Inputs {
 public:
  explicit Inputs(const Case& one, int threads = 1);

  int64_t tokens(size_t sequence) const;  // at most taken
  // Tokens [first, first + count) of a sequence, dense.
  ConstRows k(size_t sequence, int64_t first, int64_t count) const;
  ConstRows v(size_t sequence, int64_t first, int64_t count) const;
  // Made anew by each call: [count][query heads][dim].
  std::vector<float> q(size_t sequence, int64_t first, int64_t count) const;

  // Tokens that sequence `i` of a case takes of a step of `count`.
  static int64_t share(size_t i, int64_t count) {
    return i == 0 ? count : std::max<int64_t>(1, count - static_cast<int64_t>(i));
  }

 private:
  Case one_;
  std::vector<std::vector<float>> k_, v_;  // per sequence
};

// Rows [tokens][heads][dim] between fences, and with a gap behind each token where `padded`. All of
// it holds the poison (record.h) at first.
class FencedRows {
 public:
  FencedRows(int64_t tokens, int heads, int dim, bool padded);

  Rows view();
  ConstRows view() const { return const_cast<FencedRows*>(this)->view(); }
  void put(int64_t first, ConstRows rows);  // copies them to tokens [first, first + rows.tokens)
  std::vector<float> dense() const;
  // Whether nothing was written outside the rows.
  bool intact() const;

 private:
  int64_t tokens_;
  int heads_, dim_;
  int64_t stride_;  // of a token
  std::vector<float> values_;
};

}  // namespace kvx::check
