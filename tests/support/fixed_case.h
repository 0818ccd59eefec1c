// One KV head and one query for tests of arithmetic `fixed`: arrays that own what fixed.h points
// to.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/num/fixed.h"

namespace kvx::test {

struct FixedSide {
  std::vector<uint8_t> codes;
  std::vector<float> scale, zero;
  num::fixed::Along along = num::fixed::Along::kChannels;
  int group = 1;
  int64_t first = 0;

  num::fixed::Sealed view() const {
    return {codes.data(), scale.data(), zero.data(), along, group, first};
  }
};

struct FixedCase {
  int dim = 0;
  FixedSide k, v;
  std::vector<float> q;
  // Exact rows [rows][dim], by row number; empty where none is read.
  std::vector<float> exact_k, exact_v;

  num::fixed::Head head() const { return {dim, k.view(), v.view()}; }
};

// The data of fixed.md, section 4.
inline FixedCase fixed_page_case(int dim, int bits, int64_t rows) {
  FixedCase c;
  const auto at = [dim](int64_t t, int j) { return static_cast<size_t>(t * dim + j); };
  const int64_t groups = (rows + 127) / 128;
  c.dim = dim;
  c.k = {std::vector<uint8_t>(at(rows, 0)),
         std::vector<float>(at(groups, 0)),
         std::vector<float>(at(groups, 0)),
         num::fixed::Along::kTokens,
         128,
         0};
  c.v = {std::vector<uint8_t>(at(rows, 0)),
         std::vector<float>(static_cast<size_t>(rows)),
         std::vector<float>(static_cast<size_t>(rows)),
         num::fixed::Along::kChannels,
         dim,
         0};
  for (int64_t t = 0; t < rows; ++t) {
    for (int j = 0; j < dim; ++j) {
      c.k.codes[at(t, j)] = static_cast<uint8_t>((5 * t + 3 * j) % (1 << bits));
      c.v.codes[at(t, j)] = static_cast<uint8_t>((7 * t + 5 * j) % (1 << bits));
    }
    c.v.scale[static_cast<size_t>(t)] = static_cast<float>(t % 5 + 1) / 8;
    c.v.zero[static_cast<size_t>(t)] = static_cast<float>(3 * t % 7 - 5) / 4;
  }
  for (int64_t i = 0; i < groups; ++i) {
    for (int j = 0; j < dim; ++j) {
      c.k.scale[at(i, j)] = static_cast<float>(j % 7 + 1) / 16;
      c.k.zero[at(i, j)] = static_cast<float>((11 * j + 3 * i) % 13 - 6) / 8;
    }
  }
  for (int j = 0; j < dim; ++j) c.q.push_back(static_cast<float>(29 * j % 31 - 15) / 8);
  return c;
}

using FixedAttend = void (*)(const num::fixed::Head&, std::span<const num::fixed::Query>);

inline std::vector<float> fixed_attend(FixedAttend attend, const FixedCase& c,
                                       const std::vector<num::fixed::RowRead>& k,
                                       const std::vector<num::fixed::RowRead>& v) {
  std::vector<float> out(static_cast<size_t>(c.dim), -3.0f);
  const num::fixed::Query query{c.q.data(), k, v, out.data()};
  attend(c.head(), {&query, 1});
  return out;
}

}  // namespace kvx::test
