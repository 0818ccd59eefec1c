// The CUDA engine equals the CPU engine bit for bit where attention is in the arithmetic `fixed`:
// every cache mode, passes that mix exact and other spans, decoding through graphs.
#include <gtest/gtest.h>

#include "tests/gpu/engine_pair.h"

namespace kvx::test {
namespace {

using model::CacheMode;

class DeviceEngineFixed : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string reason = gpu::unavailable(); !reason.empty()) GTEST_SKIP() << reason;
  }

  static const ModelPair& model() {
    static const auto pair = ModelPair::tiny(scheme_model_spec(2048));
    return *pair;
  }
  static EnginePair engines(CacheMode mode) {
    return {
        model(),           GetParam(), mode, {.sequences = 3, .tokens = 1536}, NonFinite::kRefuse,
        Arithmetic::kFixed};
  }
  static Tokens tokens(int64_t count, uint32_t stream) {
    return some_tokens(count, stream, model().config().vocab);
  }
};

INSTANTIATE_TEST_SUITE_P(, DeviceEngineFixed,
                         testing::Values("kivi:k2v2", "kivi:k4v2,r64", "int:k4v4",
                                         "int:k3v2,g32,kaxis=channel", "int:k8v4,g32,sym"));

TEST_P(DeviceEngineFixed, ChunksAndSteps) {
  EnginePair pair = engines(CacheMode::kStreamed);
  const Tokens text = tokens(1300, 1);
  const auto seq = pair.open();
  pair.feed(seq, std::span(text).first(1290), {700, 3, 128, 459});
  pair.feed(seq, std::span(text).subspan(1290), {1});
  pair.expect_same_caches(seq);
}

TEST_P(DeviceEngineFixed, ModeAll) {
  EnginePair pair = engines(CacheMode::kAll);
  pair.feed(pair.open(), tokens(300, 2), {300});
}

TEST_P(DeviceEngineFixed, ExactPromptsBesideSteps) {
  EnginePair pair = engines(CacheMode::kContextExact);
  const Tokens context = tokens(260, 3), other = tokens(140, 4), steps = tokens(4, 5);
  const auto first = pair.open();
  pair.feed(first, context, {260}, true);
  const auto fork = pair.fork(first), second = pair.open();
  pair.forward({{first, std::span(steps).first(1)}, {second, other, true}});
  pair.forward({{first, std::span(steps).subspan(1, 1)},
                {fork, std::span(steps).subspan(1, 2)},
                {second, std::span(steps).subspan(3, 1)}});
  for (const auto& seq : {first, fork, second}) pair.expect_same_caches(seq);
}

}  // namespace
}  // namespace kvx::test
