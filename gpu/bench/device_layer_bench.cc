#include "gpu/bench/device_layer_bench.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <utility>

#include "gpu/bench/graph_timer.h"
#include "gpu/bench/registry.h"
#include "gpu/cache/layer_cache.h"
#include "gpu/registry.h"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

constexpr Side kSides[] = {Side::kK, Side::kV};
constexpr int64_t kMostBuffers = 512;
constexpr int64_t kMostPassBytes = int64_t{1} << 30;  // of one side's rows

int64_t cold_bytes(int64_t l2_bytes) { return 3 * l2_bytes + l2_bytes / 8; }

}  // namespace

DeviceLayerBench::DeviceLayerBench(const Descriptor& descriptor, const CacheConfig& config,
                                   const BenchShape& shape, const BenchInputs& inputs)
    : shape_(shape), l2_bytes_(device_info().l2_bytes), nonfinite_(config.nonfinite) {
  const int64_t row_bytes = 2 * row_values();
  const int64_t most = std::max<int64_t>(kMostPassBytes / (sequences() * row_bytes), 1);
  const int64_t pass = shape.tokens <= most ? shape.tokens : most / kSegment * kSegment;
  pass_tokens_ = static_cast<int32_t>(std::max(pass, shape.queries));
  rows_ = std::make_unique<ContextRows>(inputs, row_values(), sequences() * pass_tokens_,
                                        cold_bytes(l2_bytes_), stream_);
  make_pool(descriptor, config);
  for (int64_t i = 0; i < sequences(); ++i) pool_->open();
  const int32_t longest = std::max(lengths_.append, lengths_.seal.value_or(0)) + queries();
  for (SeqId seq = 0; seq < sequences(); ++seq) pool_->reserve(seq, longest, stream_);

  const auto tokens = static_cast<int32_t>(shape.tokens);
  context_ = passes(0, tokens);
  step_ = passes(lengths_.append, lengths_.append + queries());
  if (lengths_.seal) seal_ = passes(*lengths_.seal, *lengths_.seal + queries());
  const auto floats = [&](const std::vector<float>& values) {
    DeviceArray<float> array(std::ssize(values));
    array.upload(values, 0, stream_);
    return array;
  };
  const int64_t step_values = sequences() * queries() * row_values();
  const auto step_rows = [&](const std::vector<float>& rows) {
    std::vector<float> values(static_cast<size_t>(step_values));
    for (size_t i = 0; i < values.size(); ++i) values[i] = rows[i % rows.size()];
    return floats(values);
  };
  k_ = step_rows(inputs.k);
  v_ = step_rows(inputs.v);
  q_ = floats(inputs.q);
  out_ = DeviceArray<float>(buffers() * q_.count());
  scratch_ = DeviceArray<float>(
      pool_->kernels(0).attend_scratch_floats(step_.all.front(), pool_->shape(), shape.q_heads));
  non_finite_ = DeviceArray<NonFiniteKey>(1);
  non_finite_.upload(std::span(&kAllFinite, 1), 0, stream_);
  check(cudaMemsetAsync(out_.get(), 0xFF, static_cast<size_t>(out_.bytes()), stream_), "outputs");
  stream_.wait();

  prepare(tokens);
  for (const Side side : kSides) filled_[static_cast<size_t>(side)] = counted(side, tokens);
  prepare(lengths_.append);
  enqueue_append(0, step_.all.front(), stream_);
  for (const Side side : kSides)
    used_[static_cast<size_t>(side)] = counted(side, lengths_.append + queries());
}

void DeviceLayerBench::make_pool(const Descriptor& descriptor, const CacheConfig& given) {
  CacheConfig config = given;
  config.shape = {.layer = 0, .kv_heads = shape_.kv_heads, .head_dim = shape_.head_dim};
  const std::unique_ptr<SchemeKernels> kernels = make_kernels(descriptor, config);
  if (kernels == nullptr)
    throw usage_error("scheme " + std::string(descriptor.name()) + " has no CUDA kernels");
  const SealRule rules[] = {kernels->format(Side::kK).rule, kernels->format(Side::kV).rule};
  lengths_ = step_lengths(rules, static_cast<int32_t>(shape_.tokens), queries());
  const PoolLimits limits{
      .sequences = static_cast<int32_t>(sequences()),
      .tokens = std::max(lengths_.append, lengths_.seal.value_or(0)) + queries()};
  const int64_t used = sequences() * (kernels->used(Side::kK, shape_.tokens, 0).total() +
                                      kernels->used(Side::kV, shape_.tokens, 0).total());
  const auto wanted =
      std::clamp<int64_t>(cold_bytes(l2_bytes_) / std::max<int64_t>(used, 1) + 1, 2, kMostBuffers);
  // One cache that is larger than every cache level is cold by itself.
  const auto configs = [&](int64_t count) {
    return std::vector<CacheConfig>(static_cast<size_t>(count), config);
  };
  const int64_t count =
      wanted == 2 && used > cold_bytes(l2_bytes_) &&
              CachePool::bytes(descriptor, configs(2), limits) > device_memory().first / 10 * 9
          ? 1
          : wanted;
  pool_ = std::make_unique<CachePool>(descriptor, configs(count), limits);
}

int64_t DeviceLayerBench::length(BenchOp op) const {
  if (op == BenchOp::kEncode) return shape_.tokens;
  if (op == BenchOp::kSeal) return lengths_.seal.value_or(0) + shape_.queries;
  return lengths_.append + shape_.queries;
}

int64_t DeviceLayerBench::bytes(BenchOp op) const {
  return moved_bytes(op, bytes_in(shape_.tokens), bytes_in(shape_.queries),
                     filled_[0].total() + filled_[1].total(), used_[0].total() + used_[1].total());
}

// Passes.

DeviceLayerBench::Passes DeviceLayerBench::passes(int32_t first, int32_t end) const {
  Passes made;
  std::vector<PassSpan> spans;
  for (int32_t at = first; at < end; at += pass_tokens_) {
    const int32_t count = std::min(pass_tokens_, end - at);
    Pass pass;
    for (SeqId seq = 0; seq < sequences(); ++seq) {
      spans.push_back({.first = at, .slot = pool_->slot(seq), .count = count, .row = pass.rows});
      pass.rows += count;
    }
    pass.span_count = static_cast<int32_t>(sequences());
    pass.max_count = count;
    pass.max_length = at + count;
    made.all.push_back(pass);
  }
  made.spans = DeviceArray<PassSpan>(std::ssize(spans));
  made.spans.upload(spans, 0, stream_);
  stream_.wait();
  for (size_t i = 0; i < made.all.size(); ++i)
    made.all[i].spans = made.spans.get() + static_cast<int64_t>(i) * sequences();
  return made;
}

AppendArgs DeviceLayerBench::append_args(int layer, const Pass& pass, const PassRows& k,
                                         const PassRows& v) const {
  AppendArgs args{.k = k, .v = v, .pass = pass, .view = {}};
  for (const Side side : kSides) args.view[static_cast<size_t>(side)] = pool_->view(layer, side);
  if (nonfinite_ == NonFinite::kRefuse) args.non_finite = non_finite_.get();
  return args;
}

// A cache gets the same rows each time.
void DeviceLayerBench::enqueue_fill(const Passes& fill, int64_t call, cudaStream_t stream) const {
  const int layer = layer_of(call);
  const auto count = std::ssize(fill.all);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t slot = layer * count + i;
    const AppendArgs args =
        append_args(layer, fill.all[static_cast<size_t>(i)], rows_->k(slot), rows_->v(slot));
    pool_->kernels(layer).append(args, stream);
    pool_->kernels(layer).settle(args, stream);
  }
}

AppendArgs DeviceLayerBench::step_args(int layer, const Pass& pass) const {
  return append_args(layer, pass, {.data = k_.get()}, {.data = v_.get()});
}

void DeviceLayerBench::enqueue_append(int64_t call, const Pass& pass, cudaStream_t stream) const {
  pool_->kernels(layer_of(call)).append(step_args(layer_of(call), pass), stream);
}

void DeviceLayerBench::enqueue_attend(int64_t call, cudaStream_t stream) const {
  const int layer = layer_of(call);
  const AppendArgs args = step_args(layer, step_.all.front());
  pool_->kernels(layer).attend({.q = q_.get(),
                                .out = out(layer),
                                .q_heads = shape_.q_heads,
                                .k = args.k,
                                .v = args.v,
                                .pass = args.pass,
                                .view = {args.view[0], args.view[1]},
                                .scratch = scratch_.get()},
                               stream);
}

void DeviceLayerBench::enqueue_settle(int64_t call, cudaStream_t stream) const {
  pool_->kernels(layer_of(call)).settle(step_args(layer_of(call), step_.all.front()), stream);
}

// Contents.

void DeviceLayerBench::prepare(int32_t tokens) {
  if (held_ == tokens) return;
  const auto fill = [&](const Passes& made) {
    for (int64_t call = 0; call < buffers(); ++call) enqueue_fill(made, call, stream_);
    stream_.wait();
  };
  if (held_ == 0 || held_ > tokens) {
    fill(context_);
    held_ = static_cast<int32_t>(shape_.tokens);
  }
  if (held_ < tokens) fill(passes(held_, tokens));
  held_ = tokens;
}

ByteCount DeviceLayerBench::counted(Side side, int32_t tokens) {
  const DeviceLayerCache cache(*pool_, 0, stream_);
  ByteCount all;
  for (SeqId seq = 0; seq < sequences(); ++seq) {
    pool_->set_length(seq, tokens);
    all += cache.used(seq, side);
  }
  return all;
}

// Times.

BenchTimes DeviceLayerBench::time(BenchOp op, int samples) {
  prepare(op == BenchOp::kSeal     ? lengths_.seal.value_or(lengths_.append)
          : op == BenchOp::kEncode ? static_cast<int32_t>(shape_.tokens)
                                   : lengths_.append);
  const Pass& step = step_.all.front();
  if (op == BenchOp::kAttend)
    for (int64_t call = 0; call < buffers(); ++call) enqueue_append(call, step, stream_);
  Enqueue enqueue;
  switch (op) {
    case BenchOp::kEncode:
      enqueue = [this](int64_t call, cudaStream_t on) { enqueue_fill(context_, call, on); };
      break;
    case BenchOp::kAppend:
      enqueue = [&](int64_t call, cudaStream_t on) { enqueue_append(call, step, on); };
      break;
    case BenchOp::kSeal:
      enqueue = [this](int64_t call, cudaStream_t on) {
        enqueue_append(call, seal_.all.front(), on);
      };
      break;
    case BenchOp::kAttend:
      enqueue = [this](int64_t call, cudaStream_t on) { enqueue_attend(call, on); };
      break;
    case BenchOp::kStep:
      enqueue = [&](int64_t call, cudaStream_t on) {
        enqueue_append(call, step, on);
        enqueue_attend(call, on);
        enqueue_settle(call, on);
      };
      break;
    case BenchOp::kDecode:
      throw std::logic_error("time: a decode step is a model's");
  }
  GraphTimes graph = time_graph(enqueue, buffers(), samples, stream_);
  const int64_t touched =
      buffers() * bytes(op == BenchOp::kEncode ? BenchOp::kEncode : BenchOp::kAttend);
  return {.seconds = std::move(graph.seconds),
          .calls = graph.calls,
          .buffers = buffers(),
          .cold = touched > 3 * l2_bytes_,
          .clock_mhz = processor_clock_mhz(stream_)};
}

std::vector<float> DeviceLayerBench::attended(bool timed) {
  const int last = buffers() - 1;
  if (!timed) {
    prepare(lengths_.append);
    enqueue_append(last, step_.all.front(), stream_);
    check(cudaMemsetAsync(out(last), 0xFF, static_cast<size_t>(q_.bytes()), stream_), "outputs");
    enqueue_attend(last, stream_);
  }
  std::vector<float> values(static_cast<size_t>(q_.count()));
  out_.download(values, last * q_.count(), stream_);
  return values;
}

std::unique_ptr<LayerBench> make_layer_bench(const Descriptor& descriptor,
                                             const CacheConfig& config, const BenchShape& shape,
                                             const BenchInputs& inputs) {
  if (const std::string reason = unavailable(); !reason.empty()) throw environment_error(reason);
  return std::make_unique<DeviceLayerBench>(descriptor, config, shape, inputs);
}

}  // namespace kvx::gpu
