// What the laws are checked on: a cache, and random inputs for it.
#pragma once

#include <rapidcheck.h>

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "tests/support/caches.h"

namespace kvx {
// As counterexamples print them.
inline void showValue(Windows windows, std::ostream& out) {
  out << (windows == Windows::kKept ? "kept" : "none");
}
namespace gen {
inline void showValue(Fill fill, std::ostream& out) { out << fill_name(fill); }
}  // namespace gen
}  // namespace kvx

namespace kvx::laws {

inline constexpr int kHeads = 2;    // KV heads
inline constexpr int kQueries = 4;  // query heads
inline constexpr int kDim = 64;
inline constexpr Side kSides[] = {Side::kK, Side::kV};

struct Subject {
  std::string name;  // of the test
  std::string descriptor;
  std::function<std::unique_ptr<LayerCache>(Windows)> make;
  std::string absent = {};  // why it cannot be made here
  bool extremes = true;     // whether its inputs may be as large as binary16 numbers get
};
inline void PrintTo(const Subject& subject, std::ostream* out) { *out << subject.descriptor; }

// The scheme of that descriptor, as registered.
Subject registered(const std::string& descriptor, Arithmetic arithmetic = Arithmetic::kIeee);

// Makes caches of one choice of windows, drawn for the case.
using Make = std::function<std::unique_ptr<LayerCache>()>;
Make drawn(const Subject& subject);

// The cache as one that takes its bytes back, nullptr if it does not.
inline StoredCache* stored(LayerCache& cache) { return dynamic_cast<StoredCache*>(&cache); }

// Inputs of one random case.
struct Input {
  test::Tensor q, k, v;
  explicit Input(int64_t tokens, gen::Fill fill = gen::Fill::kNormal, uint64_t seed = 0);
};
Input random_input(const Subject& subject, int64_t tokens);
int64_t random_length(int64_t least = 0);
// Lengths that add up to `tokens`.
std::vector<int64_t> random_chunks(int64_t tokens);

std::vector<uint32_t> attend(const LayerCache& cache, const Input& input, const Span& span);
// Appends and attends; the attention outputs.
std::vector<uint32_t> feed(LayerCache& cache, SeqId seq, const Input& input, int64_t first,
                           int64_t count);

}  // namespace kvx::laws
