#include "sim/model/backward_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "sim/model/parallel.h"
#include "sim/num/gemm.h"
#include "sim/num/reduce.h"

namespace kvx::model {
namespace {

constexpr int64_t kBlock = 128;  // queries or keys of one product

void multiply(const num::PackedInput& x, const num::PackedWeights& w, float* y, int64_t stride) {
  const num::Gemm gemm(x, w, y, stride, 1);
  for (int64_t task = 0; task < gemm.tasks(); ++task) gemm.run(task);
}

void pack(num::PackedInput& packed, const float* x, int64_t rows, int64_t width, int64_t stride) {
  packed.reshape(rows, width);
  for (int64_t t = 0; t < packed.tiles(); ++t) packed.set_tile(t, x, stride);
}

// packed = x^T of x [rows][width].
void pack_transposed(num::PackedInput& packed, const float* x, int64_t rows, int64_t width,
                     int64_t stride) {
  packed.reshape(width, rows);
  for (int64_t t = 0; t < packed.tiles(); ++t) packed.set_tile_transposed(t, x, stride);
}

// y [rows][dim] += x [rows][dim].
void accumulate(const float* x, int64_t rows, int64_t dim, float* y, int64_t stride) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < dim; ++j) y[r * stride + j] = y[r * stride + j] + x[r * dim + j];
}

// One head's rows in blocks of tokens, as right operands: x [block][d] and x^T [d][block].
struct Blocks {
  std::vector<num::PackedWeights> rows, columns;

  Blocks(ConstRows x, int head, bool by_row, bool by_column) {
    std::vector<float> dense(static_cast<size_t>(kBlock * x.dim));
    for (int64_t first = 0; first < x.tokens; first += kBlock) {
      const int64_t count = std::min(kBlock, x.tokens - first);
      for (int64_t t = 0; t < count; ++t)
        std::copy_n(x.row(first + t, head), x.dim, dense.data() + t * x.dim);
      num::PackedWeights block(count, x.dim, num::WeightType::kF32);
      for (int64_t p = 0; p < block.panels(); ++p)
        block.set_panel(p, dense.data() + p * num::kPanel * x.dim);
      if (by_column) columns.push_back(block.transposed());
      if (by_row) rows.push_back(std::move(block));
    }
  }
};

// Softmax of the visible part of each row of scores, 0 behind it.
void softmax_rows(float* s, int64_t first, int64_t count, int64_t width, int64_t stride,
                  float scale) {
  for (int64_t r = 0; r < count; ++r) {
    float* row = s + r * stride;
    const int64_t visible = first + r + 1;
    for (int64_t j = 0; j < visible; ++j) row[j] = row[j] * scale;
    const std::span<float> seen(row, static_cast<size_t>(visible));
    num::softmax(seen, seen);
    std::fill(row + visible, row + width, 0.0f);
  }
}

// ds = p (dp - sum p dp) scale, in dp's place.
void softmax_rows_backward(const float* p, float* dp, int64_t count, int64_t width, int64_t stride,
                           float scale, std::vector<float>& scratch) {
  scratch.resize(static_cast<size_t>(width));
  for (int64_t r = 0; r < count; ++r) {
    const float* pr = p + r * stride;
    float* dr = dp + r * stride;
    for (int64_t j = 0; j < width; ++j) scratch[static_cast<size_t>(j)] = pr[j] * dr[j];
    const float mean = num::sum(std::span<const float>(scratch));
    for (int64_t j = 0; j < width; ++j) dr[j] = pr[j] * (dr[j] - mean) * scale;
  }
}

// dk and dv [T][d] start as zeros.
void head_backward(ConstRows q, ConstRows k, ConstRows v, ConstRows dout, int head, int kv_head,
                   Rows dq, float* dk, float* dv) {
  const int64_t tokens = q.tokens, dim = q.dim;
  const float scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(dim)));
  const Blocks keys(k, kv_head, true, true), values(v, kv_head, true, false);
  const Blocks queries(q, head, false, true), douts(dout, head, false, true);
  std::vector<float> p(static_cast<size_t>(std::min(kBlock, tokens) * tokens)), dp(p.size());
  std::vector<float> part(static_cast<size_t>(kBlock * dim)), scratch;
  num::PackedInput packed;
  for (int64_t first = 0, i = 0; first < tokens; first += kBlock, ++i) {
    const int64_t count = std::min(kBlock, tokens - first), width = first + count;
    const auto block = [](int64_t j) { return static_cast<size_t>(j); };
    pack(packed, q.row(first, head), count, dim, q.token_stride);
    for (int64_t j = 0; j <= i; ++j)
      multiply(packed, keys.rows[block(j)], p.data() + j * kBlock, tokens);
    softmax_rows(p.data(), first, count, width, tokens, scale);
    pack(packed, dout.row(first, head), count, dim, dout.token_stride);
    for (int64_t j = 0; j <= i; ++j)
      multiply(packed, values.rows[block(j)], dp.data() + j * kBlock, tokens);
    for (int64_t j = 0; j <= i; ++j) {
      const int64_t seen = std::min(kBlock, width - j * kBlock);
      pack_transposed(packed, p.data() + j * kBlock, count, seen, tokens);
      multiply(packed, douts.columns[block(i)], part.data(), dim);
      accumulate(part.data(), seen, dim, dv + j * kBlock * dim, dim);
    }
    softmax_rows_backward(p.data(), dp.data(), count, width, tokens, scale, scratch);
    for (int64_t t = 0; t < count; ++t) std::fill_n(dq.row(first + t, head), dim, 0.0f);
    for (int64_t j = 0; j <= i; ++j) {
      const int64_t seen = std::min(kBlock, width - j * kBlock);
      pack(packed, dp.data() + j * kBlock, count, seen, tokens);
      multiply(packed, keys.columns[block(j)], part.data(), dim);
      accumulate(part.data(), count, dim, dq.row(first, head), dq.token_stride);
      pack_transposed(packed, dp.data() + j * kBlock, count, seen, tokens);
      multiply(packed, queries.columns[block(i)], part.data(), dim);
      accumulate(part.data(), seen, dim, dk + j * kBlock * dim, dim);
    }
  }
}

// to [T][kv heads][d] = sum over the heads of each group of from [heads][T][d].
void sum_groups(int threads, const float* from, int heads, Rows to) {
  const int group = heads / to.heads;
  const int64_t size = to.tokens * to.dim;
  parallel_for(threads, to.tokens, [&](int64_t t) {
    for (int head = 0; head < heads; ++head) {
      const float* x = from + head * size + t * to.dim;
      float* y = to.row(t, head / group);
      for (int j = 0; j < to.dim; ++j) y[j] = head % group == 0 ? x[j] : y[j] + x[j];
    }
  });
}

}  // namespace

void AttentionBackward::run(ConstRows q, ConstRows k, ConstRows v, ConstRows dout, Rows dq, Rows dk,
                            Rows dv) {
  const int64_t size = q.tokens * q.dim;
  float* const dk_heads = dk_heads_.reserve(size * q.heads);
  float* const dv_heads = dv_heads_.reserve(size * q.heads);
  parallel_for(threads_, q.heads, [&](int64_t h) {
    const int head = static_cast<int>(h);
    std::fill_n(dk_heads + h * size, size, 0.0f);
    std::fill_n(dv_heads + h * size, size, 0.0f);
    head_backward(q, k, v, dout, head, head / (q.heads / k.heads), dq, dk_heads + h * size,
                  dv_heads + h * size);
  });
  sum_groups(threads_, dk_heads, q.heads, dk);
  sum_groups(threads_, dv_heads, q.heads, dv);
}

}  // namespace kvx::model
