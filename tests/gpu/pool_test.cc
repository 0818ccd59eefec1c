// A pool of several layers, driven as an engine drives it, and views of its layers.
#include "gpu/cache/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gpu/cache/layer_cache.h"
#include "tests/gpu/device_caches.h"

namespace kvx::gpu {
namespace {

using test::Tensor;

constexpr int kLayers = 3, kHeads = 2, kDim = 64;

std::vector<CacheConfig> configs(int kv_heads = kHeads, int head_dim = kDim) {
  std::vector<CacheConfig> all;
  for (int layer = 0; layer < kLayers; ++layer) {
    all.push_back({.shape = {.layer = layer, .kv_heads = kv_heads, .head_dim = head_dim},
                   .artifacts = test::test_artifacts()});
  }
  return all;
}

// Sequences in all layers of a pool, and each in the reference of every layer.
class Layers {
 public:
  Layers(const std::string& descriptor, const PoolLimits& limits)
      : pool(Descriptor::parse(descriptor), configs(), limits) {
    for (const CacheConfig& config : configs()) {
      references_.push_back(ref::make_cache(Descriptor::parse(descriptor), config));
    }
  }

  void open() {
    const SeqId seq = pool.open();
    for (const auto& reference : references_) EXPECT_EQ(reference->open(), seq);
  }
  void fork(SeqId seq) {
    const SeqId child = pool.fork(seq, nullptr);
    for (const auto& reference : references_) EXPECT_EQ(reference->fork(seq), child);
  }
  void close(SeqId seq) {
    pool.close(seq);
    for (const auto& reference : references_) reference->close(seq);
  }

  // `counts` by sequence.
  void append(const std::vector<std::pair<SeqId, int32_t>>& counts) {
    std::vector<PassSpan> pass_spans;
    std::vector<Span> spans;
    AppendArgs args;
    for (const auto& [seq, count] : counts) {
      const int32_t first = pool.length(seq);
      pool.reserve(seq, first + count, nullptr);
      spans.push_back({.seq = seq, .first = first, .count = count});
      pass_spans.push_back(
          {.first = first, .slot = pool.slot(seq), .count = count, .row = args.pass.rows});
      args.pass.rows += count;
      args.pass.max_count = std::max(args.pass.max_count, count);
      args.pass.max_length = std::max(args.pass.max_length, first + count);
    }
    DeviceArray<PassSpan> on_device(static_cast<int64_t>(pass_spans.size()));
    on_device.upload(pass_spans);
    args.pass.spans = on_device.get();
    args.pass.span_count = static_cast<int32_t>(pass_spans.size());
    for (int layer = 0; layer < kLayers; ++layer) {
      const auto rows = [&](uint32_t side) {
        return test::filled(gen::Fill::kNormal, ++seed_, side, args.pass.rows, kHeads, kDim);
      };
      const Tensor k = rows(1), v = rows(2);
      DeviceArray<float> k_rows(static_cast<int64_t>(k.values.size())), v_rows(k_rows.count());
      k_rows.upload(k.values);
      v_rows.upload(v.values);
      args.k.data = k_rows.get();
      args.v.data = v_rows.get();
      args.view[0] = pool.view(layer, Side::kK);
      args.view[1] = pool.view(layer, Side::kV);
      pool.kernels(layer).append(args, nullptr);
      pool.kernels(layer).settle(args, nullptr);
      check(cudaStreamSynchronize(nullptr), "append");
      references_[static_cast<size_t>(layer)]->append(k.view(), v.view(), spans);
    }
    for (const auto& [seq, count] : counts) pool.set_length(seq, pool.length(seq) + count);
  }

  void expect_same(const std::string& when) const {
    for (int layer = 0; layer < kLayers; ++layer) {
      const DeviceLayerCache view(pool, layer, nullptr);
      for (const SeqId seq : pool.pages().sequences()) {
        test::expect_same_content(
            view, seq, *references_[static_cast<size_t>(layer)], seq,
            when + ": layer " + std::to_string(layer) + ", sequence " + std::to_string(seq));
      }
    }
  }

  CachePool pool;

 private:
  std::vector<std::unique_ptr<StoredCache>> references_;
  uint64_t seed_ = 0;
};

class Pool : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }
};

TEST_F(Pool, LayersOfManySequences) {
  for (const char* descriptor :
       {"fp:f16", "kivi:k2v4", "int:k4v3,kaxis=channel,vaxis=channel,g12",
        "fp8:e4m3,scale=head,cal=#22222222", "kvquant:nuq3,o0.01,s5,cb=#00000003"}) {
    SCOPED_TRACE(descriptor);
    Layers layers(descriptor, {.sequences = 3, .tokens = 1600});
    layers.open();
    layers.open();
    layers.append({{0, 300}, {1, 1}});
    layers.append({{1, 520}, {0, 260}});
    layers.expect_same("two sequences whose pages alternate");
    layers.fork(0);
    layers.expect_same("a fork");
    layers.append({{2, 30}, {0, 29}, {1, 1}});
    layers.expect_same("after the fork");
    layers.close(0);
    layers.open();
    layers.append({{3, 800}, {2, 400}});
    layers.expect_same("a slot used again");
    const PoolLimits more{.sequences = 5, .tokens = 3000, .pages = 40};
    layers.pool.grow(more, nullptr);
    layers.expect_same("grown");
    layers.open();
    layers.append({{4, 1700}, {1, 1300}});
    layers.expect_same("in new memory");
    if (HasFailure()) return;
  }
}

TEST_F(Pool, ViewsAreToBeReadOnly) {
  Layers layers("kivi:k2v4", {.sequences = 2, .tokens = 300});
  layers.open();
  layers.append({{0, 200}});
  DeviceLayerCache view(layers.pool, 1, nullptr);
  const Tensor rows(1, kHeads, kDim);
  const Span span{.seq = 0, .first = 200, .count = 1};
  const auto wrong = [](const char* what, const auto& call) {
    EXPECT_EQ(test::thrown(call), "logic error") << what;
  };
  wrong("open", [&] { view.open(); });
  wrong("fork", [&] { view.fork(0); });
  wrong("close", [&] { view.close(0); });
  wrong("append", [&] { view.append(rows.view(), rows.view(), {&span, 1}); });
  wrong("settle", [&] { view.settle(0); });
  wrong("truncate", [&] { view.truncate(0, 10); });
  wrong("reads", [&] { view.reads(0, Side::kK, 199); });
  layers.expect_same("untouched");
}

TEST_F(Pool, TakesTheMemoryThatItSays) {
  const auto descriptor = Descriptor::parse("kivi:k4v4");
  const PoolLimits limits{.sequences = 16, .tokens = 100000};
  const int64_t bytes = CachePool::bytes(descriptor, configs(), limits);
  const int64_t before = device_memory().first;
  const CachePool pool(descriptor, configs(), limits);
  const int64_t taken = before - device_memory().first;
  EXPECT_GT(bytes, int64_t{256} << 20);
  EXPECT_NEAR(static_cast<double>(taken), static_cast<double>(bytes), 24.0 * (1 << 20));
}

TEST_F(Pool, SaysWhatIsNeededAndWhatFits) {
  const auto descriptor = Descriptor::parse("fp:f32");
  const PoolLimits limits{.sequences = 100000, .tokens = 131072};
  const std::string refusal =
      test::thrown([&] { const CachePool pool(descriptor, configs(8, 128), limits); });
  EXPECT_EQ(refusal.find("exit 3: CUDA: caches of fp:f32 for 100000 sequences of 131072 tokens: "
                         "307200196 MiB of device memory needed, "),
            0u)
      << refusal;
  const size_t at = refusal.find(" MiB free; ");
  ASSERT_NE(at, std::string::npos) << refusal;
  const int fits = std::stoi(refusal.substr(at + 11));
  const auto bytes = [&](int sequences) {
    return CachePool::bytes(descriptor, configs(8, 128),
                            {.sequences = sequences, .tokens = 131072});
  };
  const int64_t free = device_memory().first;
  EXPECT_LE(bytes(fits), free + (64 << 20));
  EXPECT_GT(bytes(fits + 1), free - (64 << 20));
}

TEST_F(Pool, RefusesWhatDoesNotFit) {
  CachePool pool(Descriptor::parse("int:k4v4"), configs(),
                 {.sequences = 2, .tokens = 512, .pages = 3});
  const SeqId a = pool.open(), b = pool.open();
  pool.reserve(a, 500, nullptr);
  EXPECT_EQ(test::thrown([&] { pool.reserve(b, 257, nullptr); }),
            "exit 3: cache pool: a sequence of 257 tokens needs 2 more pages of 256 tokens, 1 of 3 "
            "are free; 1 sequences of that length fit");
  pool.reserve(b, 256, nullptr);
  EXPECT_THROW(
      CachePool(Descriptor::parse("int:k4v4,kaxis=channel,g257"), configs(), {.tokens = 1}), Error);
}

}  // namespace
}  // namespace kvx::gpu
