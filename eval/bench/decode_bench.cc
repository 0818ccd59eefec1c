#include "eval/bench/decode_bench.h"

#include <algorithm>
#include <stdexcept>

#include "eval/backend.h"
#include "eval/bench/host_work.h"
#include "gpu/bench/registry.h"

namespace kvx::bench {
namespace {

constexpr int64_t kPassRows = 512;

// Steps that a sample is the mean of.
int64_t steps_of(const Plan& plan) { return plan.backend == eval::kCpu ? 1 : 16; }

class DecodeBench final : public LayerBench {
 public:
  DecodeBench(const Plan& plan, eval::Backend& backend, int64_t cache_bytes,
              const Descriptor& scheme, const CacheConfig& config, const BenchShape& shape,
              const BenchInputs& inputs)
      : shape_(shape),
        cache_bytes_(cache_bytes),
        steps_(steps_of(plan)),
        engine_(backend.engine({.scheme = scheme,
                                .arithmetic = config.arithmetic,
                                .artifacts = config.artifacts,
                                .sequences = shape.sequences,
                                .tokens = shape.tokens + (plan.samples + 1) * steps_ + 1,
                                .pass_rows = std::max(shape.sequences, kPassRows)})) {
    sequences_.push_back(engine_.open());
    fill(inputs);
    while (std::ssize(sequences_) < shape.sequences)
      sequences_.push_back(engine_.fork(sequences_.front()));
    for (const Side side : {Side::kK, Side::kV})
      for (int layer = 0; layer < layers(); ++layer)
        for (const SeqId seq : sequences_)
          used_[static_cast<size_t>(side)] += engine_.cache(layer).used(seq, side);
    next_.assign(sequences_.size(), 1);
  }
  ~DecodeBench() override {
    for (const SeqId seq : sequences_) engine_.close(seq);
  }
  DecodeBench(const DecodeBench&) = delete;
  DecodeBench& operator=(const DecodeBench&) = delete;

  int64_t layers() const override { return engine_.config().layers; }
  bool has(BenchOp op) const override { return op == BenchOp::kDecode; }
  int64_t length(BenchOp) const override { return shape_.tokens; }
  int64_t bytes(BenchOp) const override { return used_[0].total() + used_[1].total(); }
  ByteCount used(Side side) const override { return used_[static_cast<size_t>(side)]; }

  BenchTimes time(BenchOp, int samples) override {
    BenchTimes times;
    times.calls = steps_, times.buffers = 1;
    times.cold = bytes(BenchOp::kDecode) > 3 * cache_bytes_;
    step();
    for (int i = 0; i < samples; ++i)
      times.seconds.push_back(seconds_of([this] { step(); }) / static_cast<double>(steps_));
    return times;
  }
  std::vector<float> attended(bool) override {
    throw std::logic_error("attended: of a layer alone");
  }

 private:
  void fill(const BenchInputs& inputs) {
    const int64_t values = shape_.tokens * shape_.kv_heads * shape_.head_dim;
    const std::vector<float> k = repeated(inputs.k, values), v = repeated(inputs.v, values);
    const auto rows = [&](const std::vector<float>& of) {
      return dense_rows(of.data(), shape_.tokens, shape_.kv_heads, shape_.head_dim);
    };
    for (int layer = 0; layer < layers(); ++layer)
      engine_.append(sequences_.front(), layer, rows(k), rows(v));
  }
  void step() {
    const std::vector<int32_t> chosen = engine_.greedy(sequences_, next_, steps_);
    next_.assign(chosen.end() - std::ssize(next_), chosen.end());
  }

  const BenchShape shape_;
  const int64_t cache_bytes_;  // of the last level where the caches are
  const int64_t steps_;
  model::Transformer& engine_;
  std::vector<SeqId> sequences_;
  std::vector<int32_t> next_;  // tokens to be fed
  ByteCount used_[2] = {};     // by Side
};

}  // namespace

BenchMaker decode_benches(const Plan& plan) {
  const std::shared_ptr<eval::Backend> backend =
      eval::open_backend(plan.backend, *plan.checkpoint, 0);
  const int64_t cache_bytes =
      plan.backend == eval::kCpu ? last_cache_bytes() : gpu::device_info().l2_bytes;
  return [&plan, backend, cache_bytes](const Descriptor& scheme, const CacheConfig& config,
                                       const BenchShape& shape, const BenchInputs& inputs) {
    return std::make_unique<DecodeBench>(plan, *backend, cache_bytes, scheme, config, shape,
                                         inputs);
  };
}

}  // namespace kvx::bench
