// A real checkpoint of 260 thousand parameters against its published numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "ref/registry.h"
#include "sim/model/engine.h"
#include "sim/model/tokenizer.h"
#include "sim/num/likelihood.h"
#include "sim/num/reduce.h"
#include "tests/data.h"

namespace kvx::model {
namespace {

// Greedy from BOS, as the model's authors publish it.
constexpr const char* kStory =
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "
    "One day, she saw a big, red ball.";
constexpr int32_t kIds[] = {403, 407, 261, 378, 432, 383, 286, 261, 376, 298, 315, 421,
                            395, 317, 426, 338, 401, 396, 267, 337, 410, 408, 419, 292,
                            411, 322, 265, 282, 295, 433, 426, 385, 328, 432, 358, 394,
                            261, 370, 432, 352, 266, 268, 388, 426, 338, 391, 266, 267};
constexpr double kFirstLogits[] = {-6.222914, 8.404342,  -6.223739, -6.222544,
                                   -6.221953, -6.222877, -6.221884, -6.223420};
constexpr double kGreedyNll = 94.683532;  // 200 greedy tokens, binary64

TEST(StoriesTest, ReproducesPublishedLogitsAndText) {
  KVX_NEED_DATA(path, "models/stories260K/hf");
  const auto checkpoint = Checkpoint::open(path);
  const Model model(*checkpoint);
  const auto tokenizer = Tokenizer::open(path);
  Engine engine(model, ref::factory(Descriptor::parse("fp:f32")), CacheMode::kStreamed, 2);
  const SeqId seq = engine.open();
  const size_t vocab = static_cast<size_t>(model.config().vocab);
  std::vector<int32_t> ids = {tokenizer->bos()};
  std::vector<float> row(vocab);
  double nll = 0;
  for (int step = 0; step < 200; ++step) {
    const Chunk chunk{seq, {&ids.back(), 1}, false, false};
    engine.forward({&chunk, 1}, [&](int64_t, int64_t, const float* logits) {
      row.assign(logits, logits + vocab);
    });
    if (step == 0) {
      for (size_t i = 0; i < std::size(kFirstLogits); ++i)
        EXPECT_LE(std::fabs(static_cast<double>(row[i]) - kFirstLogits[i]), 2e-4) << "logit " << i;
    }
    const int32_t next = static_cast<int32_t>(num::argmax(row));
    nll += num::nll(num::log_sum_exp(row), row[static_cast<size_t>(next)]);
    ids.push_back(next);
  }
  EXPECT_LE(std::fabs(nll - kGreedyNll), 1e-3);
  for (size_t i = 0; i < std::size(kIds); ++i) EXPECT_EQ(ids[i + 1], kIds[i]) << "step " << i;
  const std::string text = tokenizer->decode({ids.data() + 1, ids.size() - 1});
  EXPECT_EQ(text.substr(0, std::string(kStory).size()), kStory);
}

}  // namespace
}  // namespace kvx::model
