// What the arithmetics of attention make of the same codes, beside binary64: their rounding error
// alone, without a quantiser's.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "sim/api/descriptor.h"
#include "sim/api/tensor.h"

namespace kvx::test {

enum class Rounding : uint8_t {
  kIeee,         // ieee.md, 2.7, over code * s + z rounded once to binary32
  kIeeeDecoded,  // the same over the values that a read of the cache returns: what `ieee` caches do
  kFixed,        // fixed.md
  kFp16,         // fp16_attention over code * s + z rounded to binary32, then to binary16
};
inline constexpr std::array<const char*, 4> kRoundings{"ieee", "ieee-decoded", "fixed", "fp16"};

// Attention of one query [dim] over rows [rows][dim] in binary64: softmax(q k / sqrt(dim)) v.
struct ExactAttention {
  std::vector<double> out;  // [dim]
  double size = 0;          // sum p |v|, mean over channels
};
ExactAttention exact_attention(std::span<const float> q, std::span<const double> k,
                               std::span<const double> v);

// The same as kernels with binary16 operands of tensor cores compute it. k and v hold binary16
// numbers; q is rounded to binary16 here. Scores: exact products, added in binary32, channels
// ascending. Weights p = exp2(score - greatest score) and their sum in binary32; then p is rounded
// to binary16, and p v is added in binary32, rows ascending. One division, binary32.
// (How a tensor core adds several products at once is not modelled.)
std::vector<float> fp16_attention(std::span<const float> q, std::span<const float> k,
                                  std::span<const float> v);

// Outputs of the last positions of a window, [query heads][queries][dim].
struct AttentionOutputs {
  int heads = 0, dim = 0;
  int64_t queries = 0;
  std::vector<double> exact = {};  // binary64 over code * s + z, which is exact in it
  std::vector<double> size = {};   // [query heads][queries], ExactAttention::size
  std::array<std::vector<float>, kRoundings.size()> found = {};  // by Rounding
};

// k, v [tokens][kv heads][dim] go into a cache of `scheme` in one append, in cache mode `all`: the
// query at position t reads what is held then, up to t. q [queries][query heads][dim] are those of
// the last positions. Throws a usage Error where the scheme has no arithmetic `fixed`.
AttentionOutputs attention_outputs(const Descriptor& scheme, int layer, ConstRows q, ConstRows k,
                                   ConstRows v);

// Errors of channels relative to sum p |v| of their query and head.
class OutputError {
 public:
  void add(std::span<const float> found, std::span<const double> exact, double size) {
    for (size_t j = 0; j < found.size(); ++j) {
      const double error = std::fabs(static_cast<double>(found[j]) - exact[j]);
      const double relative = error == 0 ? 0 : error / size;
      squares_ += relative * relative;
      worst_ = std::max(worst_, relative);
    }
    count_ += std::ssize(found);
  }
  void add(const OutputError& other) {
    squares_ += other.squares_;
    worst_ = std::max(worst_, other.worst_);
    count_ += other.count_;
  }
  double rms() const { return std::sqrt(squares_ / static_cast<double>(count_)); }
  double worst() const { return worst_; }

 private:
  double squares_ = 0, worst_ = 0;
  int64_t count_ = 0;
};

// Of each query head, over all queries and channels; by Rounding.
using HeadErrors = std::array<OutputError, kRoundings.size()>;
std::vector<HeadErrors> head_errors(const AttentionOutputs& outputs);

}  // namespace kvx::test
