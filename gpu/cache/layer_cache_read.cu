// DeviceLayerCache: what queries read.
#include <algorithm>

#include "gpu/cache/layer_cache.h"
#include "gpu/common/ieee.cuh"
#include "sim/api/fixed_refusals.h"

namespace kvx::gpu {
namespace {

// Rows [first, first + count) as binary16: those below `pass_first` from the ring, the others
// rounded from `pass`, [token - pass_first][kv head][head dim].
__global__ void gather_exact(SideView view, const float* pass, int32_t pass_first, int slot,
                             int32_t first, int64_t values, uint16_t* bits, float* widened) {
  const int dim = view.shape.head_dim, heads = view.shape.kv_heads;
  const int64_t step = int64_t{gridDim.x} * blockDim.x;
  for (int64_t i = int64_t{blockIdx.x} * blockDim.x + threadIdx.x; i < values; i += step) {
    const int channel = static_cast<int>(i % dim);
    const int head = static_cast<int>(i / dim % heads);
    const int32_t token = first + static_cast<int32_t>(i / dim / heads);
    bits[i] = token < pass_first
                  ? view.exact_row(slot, head, token)[channel]
                  : f16_encode(pass[(int64_t{token - pass_first} * heads + head) * dim + channel]);
    widened[i] = f16_decode(bits[i]);
  }
}

void scatter(const std::vector<float>& dense, Rows out) {
  const float* next = dense.data();
  for (int64_t token = 0; token < out.tokens; ++token) {
    for (int head = 0; head < out.heads; ++head, next += out.dim) {
      std::copy_n(next, out.dim, out.row(token, head));
    }
  }
}

// Of `end` tokens: the sink exact, the others sealed below `sealed`.
ReadMap split_at(const SealRule& rule, int32_t sealed, int32_t end) {
  const int32_t sink = std::min(rule.sink, end);
  ReadMap map;
  if (sink > 0) map.push_back({0, sink, Held::kExact});
  if (sealed > sink) map.push_back({sink, sealed - sink, Held::kSealed});
  if (sealed < end) map.push_back({sealed, end - sealed, Held::kExact});
  return map;
}

}  // namespace

ReadMap DeviceLayerCache::held(SeqId seq, Side side) const {
  const int32_t length = pool_->length(seq);
  return split_at(rule(side), rule(side).sealed(length), length);
}

ReadMap DeviceLayerCache::reads(SeqId seq, Side side, int64_t query) const {
  const int32_t length = pool_->length(seq);
  const Pending* rows = pending(seq);
  require(rows != nullptr && query >= rows->span.first && query < length,
          "reads: the query is not of the last append");
  const auto position = static_cast<int32_t>(query);
  return split_at(rule(side), rule(side).read_sealed(position), position + 1);
}

std::vector<uint16_t> DeviceLayerCache::exact_rows(SeqId seq, Side side, int32_t first,
                                                   int32_t count,
                                                   std::vector<float>* values) const {
  std::vector<uint16_t> bits(static_cast<size_t>(count * row_values()));
  if (values != nullptr) values->resize(bits.size());
  if (bits.empty()) return bits;
  const Pending* rows = pending(seq);
  const auto n = static_cast<int64_t>(bits.size());
  const float* pass = rows == nullptr
                          ? nullptr
                          : rows_[static_cast<size_t>(side)].get() + rows->span.row * row_values();
  const std::lock_guard lock(mutex_);
  float* widened = out_.prepare(n, stream_);
  gather_exact<<<256, 256, 0, stream_>>>(pool_->view(layer_, side), pass,
                                         rows == nullptr ? pool_->length(seq) : rows->span.first,
                                         pool_->slot(seq), first, n, bits_.reserve(n), widened);
  check_launch("gather_exact");
  bits_.download(bits, 0, stream_);
  if (values != nullptr) *values = out_.collect("reading exact rows", stream_);
  return bits;
}

void DeviceLayerCache::read(SeqId seq, Side side, RowRange range, Rows out) const {
  read(seq, side, range, false, out);
}

void DeviceLayerCache::read(SeqId seq, Side side, RowRange range, bool unrounded, Rows out) const {
  const int32_t length = pool_->length(seq);
  const int32_t sealed = rule(side).sealed(length);
  const int64_t end = range.first + range.count;
  require(out.tokens == range.count && out.heads == shape().kv_heads && out.dim == shape().head_dim,
          "read: out is not of the shape of range and layer");
  require(range.count >= 0 && range.first >= 0, "read: negative range");
  if (range.held == Held::kExact) {
    const Pending* rows = pending(seq);
    const int32_t first =
        rows == nullptr ? sealed : std::min(sealed, rule(side).read_sealed(rows->span.first));
    require((range.first >= first && end <= length) || end <= std::min(rule(side).sink, length),
            "read: rows that are not held exact");
    if (range.count == 0) return;
    require(traits().input == InputType::kF16, "read: rows that are not held exact");
    std::vector<float> values;
    exact_rows(seq, side, static_cast<int32_t>(range.first), static_cast<int32_t>(range.count),
               &values);
    scatter(values, out);
    return;
  }
  require(end <= sealed && (range.count == 0 || range.first >= rule(side).sink),
          "read: rows that are not sealed");
  if (range.count == 0) return;
  const std::lock_guard lock(mutex_);
  DecodeArgs args{.view = pool_->view(layer_, side),
                  .side = side,
                  .slot = pool_->slot(seq),
                  .first = range.first,
                  .count = range.count,
                  .out = out_.prepare(range.count * row_values(), stream_),
                  .unrounded = unrounded};
  kernels().decode(args, stream_);
  scatter(out_.collect("decoding", stream_), out);
}

void DeviceLayerCache::attend(ConstRows q, std::span<const Span> spans, Rows out) const {
  check_rows(q, spans, "attend: q is not of the shape of spans and layer");
  for (const Span& span : spans) {
    const int32_t length = pool_->length(span.seq);
    const Pending* rows = pending(span.seq);
    require(span.count == 0 || (rows != nullptr && span.first >= rows->span.first &&
                                span.first + span.count <= length),
            "attend: the queries are not of the last append");
  }
  require(out.tokens == q.tokens && out.heads == q.heads && out.dim == q.dim,
          "attend: out is not of the shape of q");
  if (config().arithmetic == Arithmetic::kFixed)
    require_fixed_queries(config().shape.layer, q, spans);
  for (const Run run : runs()) attend(run, q, spans, out);
}

// Where the spans ask for some of the run's queries only, the others are zeros.
void DeviceLayerCache::attend(Run run, ConstRows q, std::span<const Span> spans, Rows out) const {
  struct Block {
    int64_t asked, row, count;  // rows in q and out; in the run
  };
  std::vector<Block> blocks;
  int64_t asked = 0;
  for (const Span& span : spans) {
    for (const Pending& rows : run) {
      if (rows.seq != span.seq || span.count == 0) continue;
      blocks.push_back({.asked = asked,
                        .row = rows.span.row - run[0].span.row + span.first - rows.span.first,
                        .count = span.count});
    }
    asked += span.count;
  }
  if (blocks.empty()) return;

  const std::lock_guard lock(mutex_);
  const AppendArgs append = pass_of(run);
  const int64_t values = int64_t{append.pass.rows} * q.heads * q.dim;
  std::vector<float> host(static_cast<size_t>(values));
  const Rows view = dense_rows(host.data(), append.pass.rows, q.heads, q.dim);
  const auto each_row = [&](const auto& move) {
    for (const Block& block : blocks) {
      for (int64_t i = 0; i < block.count; ++i) {
        for (int head = 0; head < q.heads; ++head) {
          move(block.asked + i, view.row(block.row + i, head), head);
        }
      }
    }
  };
  each_row(
      [&](int64_t token, float* row, int head) { std::copy_n(q.row(token, head), q.dim, row); });
  queries_.reserve(values);
  queries_.upload(host, 0, stream_);
  AttendArgs args;
  args.q = queries_.get();
  args.out = out_.prepare(values, stream_);
  args.q_heads = q.heads;
  args.k = append.k;
  args.v = append.v;
  args.pass = append.pass;
  std::copy_n(append.view, 2, args.view);
  args.scratch =
      scratch_.prepare(kernels().attend_scratch_floats(args.pass, shape(), q.heads), stream_);
  kernels().attend(args, stream_);
  scratch_.check_fences("attention (scratch)", stream_);
  std::ranges::copy(out_.collect("attention", stream_), host.begin());
  each_row(
      [&](int64_t token, float* row, int head) { std::copy_n(row, q.dim, out.row(token, head)); });
}

}  // namespace kvx::gpu
