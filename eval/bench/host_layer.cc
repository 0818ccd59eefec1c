#include "eval/bench/host_layer.h"

#include <algorithm>
#include <array>
#include <functional>
#include <optional>
#include <utility>

#include "eval/bench/host_work.h"

namespace kvx::bench {
namespace {

constexpr Side kSides[] = {Side::kK, Side::kV};
// Lengths that are looked at for what a step seals: groups and windows of schemes are shorter.
constexpr int64_t kLengths = 1024;
constexpr int kMostRateSamples = 10;

class HostLayer final : public LayerBench {
 public:
  HostLayer(const StoredCacheFactory& factory, const CacheConfig& given, const BenchShape& shape,
            const BenchInputs& inputs)
      : shape_(shape), q_(inputs.q) {
    CacheConfig config = given;
    config.shape = {.layer = 0, .kv_heads = shape.kv_heads, .head_dim = shape.head_dim};
    cache_ = factory(config);
    rows_[0] = repeated_rows(inputs.k, shape.tokens + kLengths + shape.queries);
    rows_[1] = repeated_rows(inputs.v, shape.tokens + kLengths + shape.queries);
    const int64_t step_rows = shape.sequences * shape.queries;
    step_rows_[0] = repeated_rows(inputs.k, step_rows);
    step_rows_[1] = repeated_rows(inputs.v, step_rows);
    open_context();
    for (const SeqId seq : base_)
      for (const Side side : kSides) filled_ += cache_->used(seq, side);
    find_lengths();
    const std::vector<SeqId> seqs = at(append_);
    append_step(seqs);
    for (const SeqId seq : seqs)
      for (const Side side : kSides) used_[static_cast<size_t>(side)] += cache_->used(seq, side);
    close(seqs);
  }

  bool has(BenchOp op) const override { return op != BenchOp::kSeal || seal_; }
  int64_t length(BenchOp op) const override {
    if (op == BenchOp::kEncode) return shape_.tokens;
    return (op == BenchOp::kSeal ? seal_.value_or(0) : append_) + shape_.queries;
  }
  int64_t bytes(BenchOp op) const override {
    return moved_bytes(op, bytes_in(shape_.tokens), bytes_in(shape_.queries), filled_.total(),
                       used_[0].total() + used_[1].total());
  }
  ByteCount used(Side side) const override { return used_[static_cast<size_t>(side)]; }

  BenchTimes time(BenchOp op, int samples) override {
    const int64_t touched =
        op == BenchOp::kEncode ? bytes(op) : used_[0].total() + used_[1].total();
    BenchTimes times;
    times.calls = times.buffers = 1;
    times.cold = touched > 3 * last_cache_bytes();
    once(op);
    for (int i = 0; i < samples; ++i) times.seconds.push_back(once(op));
    return times;
  }

  std::vector<float> attended(bool timed) override {
    const std::vector<float> kept = out_;
    if (timed) return kept;
    once(BenchOp::kAttend);
    return std::exchange(out_, kept);
  }

 private:
  int64_t bytes_in(int64_t tokens) const {
    return shape_.sequences * tokens * shape_.kv_heads * shape_.head_dim * 4 * 2;
  }
  std::vector<float> repeated_rows(const std::vector<float>& block, int64_t rows) const {
    return repeated(block, rows * shape_.kv_heads * shape_.head_dim);
  }
  static ConstRows view(const std::vector<float>& values, int64_t tokens, int heads, int dim) {
    return dense_rows(values.data(), tokens, heads, dim);
  }

  // Appends tokens [first, end) of the context to a sequence.
  void append(SeqId seq, int64_t first, int64_t end) {
    const Span span{.seq = seq, .first = first, .count = end - first};
    const auto rows = [&](size_t side) {
      return view(rows_[side], end, shape_.kv_heads, shape_.head_dim).slice(first, end - first);
    };
    cache_->append(rows(0), rows(1), {&span, 1});
    cache_->settle(seq);
  }
  void open_context() {
    base_.clear();
    for (int64_t i = 0; i < shape_.sequences; ++i) {
      base_.push_back(cache_->open());
      append(base_.back(), 0, shape_.tokens);
    }
  }
  void close(const std::vector<SeqId>& seqs) {
    for (const SeqId seq : seqs) cache_->close(seq);
  }
  // Forks of the context with that many tokens.
  std::vector<SeqId> at(int64_t tokens) {
    std::vector<SeqId> seqs;
    for (const SeqId seq : base_) {
      seqs.push_back(cache_->fork(seq));
      if (tokens > shape_.tokens) append(seqs.back(), shape_.tokens, tokens);
    }
    return seqs;
  }
  std::vector<Span> step_spans(const std::vector<SeqId>& seqs) const {
    std::vector<Span> spans;
    for (const SeqId seq : seqs)
      spans.push_back({.seq = seq, .first = cache_->length(seq), .count = shape_.queries});
    return spans;
  }
  void append_step(const std::vector<SeqId>& seqs) {
    last_ = step_spans(seqs);
    const auto rows = [&](size_t side) {
      return view(step_rows_[side], shape_.sequences * shape_.queries, shape_.kv_heads,
                  shape_.head_dim);
    };
    cache_->append(rows(0), rows(1), last_);
  }
  void attend() {
    const int64_t rows = shape_.sequences * shape_.queries;
    out_.resize(q_.size());
    cache_->attend(view(q_, rows, shape_.q_heads, shape_.head_dim), last_,
                   dense_rows(out_.data(), rows, shape_.q_heads, shape_.head_dim));
  }

  int64_t sealed(SeqId seq, Side side) const {
    int64_t tokens = 0;
    for (const RowRange& range : cache_->held(seq, side))
      tokens += range.held == Held::kSealed ? range.count : 0;
    return tokens;
  }
  // The least lengths at which a step seals more tokens of a side than it adds, and does not.
  void find_lengths() {
    const SeqId seq = cache_->fork(base_.front());
    std::vector<std::array<int64_t, 2>> counts;
    for (int64_t i = 0; i <= kLengths; ++i) {
      counts.push_back({sealed(seq, Side::kK), sealed(seq, Side::kV)});
      append(seq, shape_.tokens + i, shape_.tokens + i + 1);
    }
    cache_->close(seq);
    const auto seals = [&](int64_t i) {
      const auto &now = counts[static_cast<size_t>(i)],
                 &then = counts[static_cast<size_t>(i + shape_.queries)];
      return then[0] - now[0] > shape_.queries || then[1] - now[1] > shape_.queries;
    };
    const int64_t end = kLengths - shape_.queries;
    int64_t plain = 0;
    while (plain <= end && seals(plain)) ++plain;
    if (plain > end) plain = 0;
    append_ = shape_.tokens + plain;
    for (int64_t i = plain; i <= end && !seal_; ++i)
      if (seals(i)) seal_ = shape_.tokens + i;
  }

  double once(BenchOp op) {
    if (op == BenchOp::kEncode) {
      std::vector<SeqId> old = std::exchange(base_, {});
      const double seconds = seconds_of([this] { open_context(); });
      close(old);
      return seconds;
    }
    const std::vector<SeqId> seqs = at(op == BenchOp::kSeal ? seal_.value_or(append_) : append_);
    if (op == BenchOp::kAttend) append_step(seqs);
    const double seconds = seconds_of([&] {
      if (op != BenchOp::kAttend) append_step(seqs);
      if (op == BenchOp::kAttend || op == BenchOp::kStep) attend();
      if (op == BenchOp::kStep)
        for (const SeqId seq : seqs) cache_->settle(seq);
    });
    close(seqs);
    return seconds;
  }

  BenchShape shape_;
  std::unique_ptr<StoredCache> cache_;
  std::vector<float> rows_[2], step_rows_[2];  // by Side
  std::vector<float> q_, out_;
  std::vector<SeqId> base_;  // of the context alone, settled
  std::vector<Span> last_;   // of the last append
  int64_t append_ = 0;       // tokens before a step
  std::optional<int64_t> seal_;
  ByteCount used_[2], filled_;
};

}  // namespace

std::unique_ptr<LayerBench> make_host_layer(const StoredCacheFactory& factory,
                                            const CacheConfig& config, const BenchShape& shape,
                                            const BenchInputs& inputs) {
  return std::make_unique<HostLayer>(factory, config, shape, inputs);
}

HostRates host_rates(int samples) {
  constexpr size_t kWords = size_t{128} << 17;
  std::vector<uint64_t> from(kWords), to(kWords);
  for (size_t i = 0; i < kWords; ++i) from[i] = (i + 1) * 0x9E3779B97F4A7C15u;
  std::copy(from.begin(), from.end(), to.begin());
  HostRates rates;
  constexpr double kBytes = 8.0 * kWords;
  volatile uint64_t sum = 0;
  for (int i = 0; i < std::min(samples, kMostRateSamples); ++i) {
    rates.read.push_back(kBytes / seconds_of([&] {
                           uint64_t all = 0;
                           for (const uint64_t word : from) all ^= word;
                           sum = all;
                         }));
    rates.copy.push_back(2 * kBytes /
                         seconds_of([&] { std::copy(from.begin(), from.end(), to.begin()); }));
  }
  return rates;
}

}  // namespace kvx::bench
