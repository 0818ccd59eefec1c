#include "eval/error_weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "eval/error_norm.h"
#include "sim/model/attention_rows.h"
#include "sim/num/attention.h"
#include "sim/num/elementary.h"
#include "sim/num/gemm.h"
#include "sim/num/reduce.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

// How a query reads a row.
enum class Read : uint8_t { kNot, kSealed, kExact };

size_t index_of(Held held) { return held == Held::kSealed ? 0 : 1; }

std::vector<Read> reads_of(const ReadMap& map, int64_t tokens) {
  std::vector<Read> reads(static_cast<size_t>(tokens), Read::kNot);
  for (const RowRange& range : map)
    for (int64_t t = range.first; t < std::min(range.first + range.count, tokens); ++t)
      reads[static_cast<size_t>(t)] = range.held == Held::kSealed ? Read::kSealed : Read::kExact;
  return reads;
}

// Keys of all heads, [kv heads][tokens][head dim].
class Keys {
 public:
  Keys(int64_t tokens, int heads, int dim)
      : tokens_(tokens),
        heads_(heads),
        dim_(dim),
        values_(static_cast<size_t>(tokens * heads * dim)) {}

  Rows rows(int64_t first, int64_t count) {
    return {&values_[static_cast<size_t>(first * dim_)], count, heads_, dim_, dim_, tokens_ * dim_};
  }

  // As the second operand of a matrix product, one head.
  num::PackedWeights packed(int head) const {
    num::PackedWeights out(tokens_, dim_, num::WeightType::kF32);
    for (int64_t p = 0; p < out.panels(); ++p)
      out.set_panel(p, &values_[static_cast<size_t>((head * tokens_ + p * num::kPanel) * dim_)]);
    return out;
  }

 private:
  int64_t tokens_;
  int heads_, dim_;
  std::vector<float> values_;
};

// Scaled scores of one head, [queries][tokens].
std::vector<float> scores(const num::PackedInput& queries, const num::PackedWeights& keys,
                          float scale) {
  std::vector<float> out(static_cast<size_t>(queries.m() * keys.n()));
  const num::Gemm gemm(queries, keys, out.data(), keys.n(), 1);
  for (int64_t task = 0; task < gemm.tasks(); ++task) gemm.run(task);
  for (float& score : out) score = score * scale;
  return out;
}

// Softmax over the tokens of `visible`, which ascend, to `weights` [scores]; 0 elsewhere.
void softmax(std::span<const float> scores, std::span<const int64_t> visible,
             std::vector<double>& weights) {
  weights.assign(scores.size(), 0.0);
  if (visible.empty()) return;
  std::vector<float> row;
  for (const int64_t t : visible) row.push_back(scores[static_cast<size_t>(t)]);
  const float shift = std::ceil(num::max(row));
  for (float& score : row) score = score - shift;
  num::exp2(row, row);
  for (size_t i = 0; i < row.size(); ++i)
    weights[static_cast<size_t>(visible[i])] = static_cast<double>(row[i]);
  const double total = num::sum(std::span<const double>(weights));
  for (double& weight : weights) weight = weight / total;
}

// Keys as the queries from `first` on read them, rotated, both ways; zeros where none reads a row
// so.
class ReadKeys {
 public:
  ReadKeys(const LayerCache& cache, SeqId seq, CacheMode mode, ConstRows k, int64_t first)
      : cache_(cache),
        seq_(seq),
        versions_{Keys(k.tokens, k.heads, k.dim), Keys(k.tokens, k.heads, k.dim)},
        have_{std::vector<bool>(static_cast<size_t>(k.tokens)),
              std::vector<bool>(static_cast<size_t>(k.tokens))} {
    for (int64_t position = first; position < k.tokens; ++position) {
      const ReadMap map = read_map(cache, seq, Side::kK, mode, position);
      for (const RowRange& range : map) fetch(range);
      reads_.push_back(reads_of(map, position + 1));
      // A row without its value takes no part in attention.
      const std::vector<Read> values =
          reads_of(read_map(cache, seq, Side::kV, mode, position), position + 1);
      for (size_t t = 0; t < values.size(); ++t)
        if (values[t] == Read::kNot) reads_.back()[t] = Read::kNot;
    }
  }

  const Keys& version(Held held) const { return versions_[index_of(held)]; }
  // By token, of query `first` + index.
  const std::vector<Read>& reads(int64_t index) const { return reads_[static_cast<size_t>(index)]; }

 private:
  void fetch(const RowRange& range) {
    std::vector<bool>& have = have_[index_of(range.held)];
    const int64_t end = range.first + range.count;
    for (int64_t t = range.first; t < end;) {
      const int64_t from = t;
      while (t < end && !have[static_cast<size_t>(t)]) have[static_cast<size_t>(t++)] = true;
      if (t > from)
        model::read_rows(cache_, seq_, Side::kK, {from, t - from, range.held},
                         versions_[index_of(range.held)].rows(from, t - from));
      else
        ++t;
    }
  }

  const LayerCache& cache_;
  SeqId seq_;
  std::array<Keys, 2> versions_;           // sealed, exact
  std::array<std::vector<bool>, 2> have_;  // rows that have been read
  std::vector<std::vector<Read>> reads_;
};

Keys copied(ConstRows k) {
  Keys out(k.tokens, k.heads, k.dim);
  const Rows to = out.rows(0, k.tokens);
  for (int64_t t = 0; t < k.tokens; ++t)
    for (int head = 0; head < k.heads; ++head) std::copy_n(k.row(t, head), k.dim, to.row(t, head));
  return out;
}

}  // namespace

ReadMap read_map(const LayerCache& cache, SeqId seq, Side side, CacheMode mode, int64_t position) {
  return mode == CacheMode::kAll ? cache.held(seq, side) : cache.reads(seq, side, position);
}

double weights_error(const LayerCache& cache, SeqId seq, CacheMode mode, ConstRows q, ConstRows k) {
  const int64_t first = std::max<int64_t>(0, q.tokens - kWeightQueries);
  const int group = q.heads / k.heads;
  const float scale = num::attention_scale(q.dim);
  const ReadKeys read(cache, seq, mode, k, first);
  const Keys base = copied(k);
  num::PackedInput queries;
  queries.reshape(q.tokens - first, q.dim);
  RelativeError error;
  std::vector<double> found, expected;
  std::vector<int64_t> visible, all;
  for (int kv_head = 0; kv_head < k.heads; ++kv_head) {
    const num::PackedWeights sealed = read.version(Held::kSealed).packed(kv_head);
    const num::PackedWeights exact = read.version(Held::kExact).packed(kv_head);
    const num::PackedWeights unquantised = base.packed(kv_head);
    for (int head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t tile = 0; tile < queries.tiles(); ++tile)
        queries.set_tile(tile, q.row(first, head), q.token_stride);
      std::vector<float> s = scores(queries, sealed, scale);
      const std::vector<float> s_exact = scores(queries, exact, scale);
      const std::vector<float> s_base = scores(queries, unquantised, scale);
      for (int64_t i = 0; i < queries.m(); ++i) {
        const std::vector<Read>& reads = read.reads(i);
        const size_t row = static_cast<size_t>(i * q.tokens);
        visible.clear();
        for (size_t t = 0; t < reads.size(); ++t) {
          if (reads[t] == Read::kExact) s[row + t] = s_exact[row + t];
          if (reads[t] != Read::kNot) visible.push_back(static_cast<int64_t>(t));
        }
        all.resize(reads.size());
        std::iota(all.begin(), all.end(), 0);
        softmax(std::span(s).subspan(row, reads.size()), visible, found);
        softmax(std::span(s_base).subspan(row, reads.size()), all, expected);
        error.add<double>(found, expected);
      }
    }
  }
  return error.value();
}

}  // namespace kvx::eval
