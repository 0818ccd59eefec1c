// Protocols: how a text is cut, what is scored, and passes with an exact context, against the
// engine used token by token.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "eval/files.h"
#include "eval/ppl.h"
#include "eval/protocol.h"
#include "ref/registry.h"
#include "sim/model/tokenizer.h"
#include "sim/num/likelihood.h"
#include "tests/support/eval_sweep.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

TEST(Protocol, LlamaCppDropsOneFinalLineEnd) {
  EXPECT_EQ(protocol_text(Protocol::kLlamaCpp, "a\n\n"), "a\n");
  EXPECT_EQ(protocol_text(Protocol::kLlamaCpp, "a\n \n "), "a\n \n ");
  EXPECT_EQ(protocol_text(Protocol::kLlamaCpp, ""), "");
  EXPECT_EQ(protocol_text(Protocol::kGptq, "a\n\n"), "a\n\n");
}

TEST(Protocol, WindowsDoNotOverlapAndLlamaCppsBeginWithBos) {
  std::vector<int32_t> text(25);
  std::iota(text.begin(), text.end(), 100);
  const Cut gptq{Protocol::kGptq, 10, 0, 1}, llama{Protocol::kLlamaCpp, 10, 0, 1};
  const auto window = window_tokens(gptq, text, 1);
  EXPECT_EQ(window, std::vector<int32_t>(text.begin() + 10, text.begin() + 20));
  auto replaced = window;
  replaced.front() = 1;
  EXPECT_EQ(window_tokens(llama, text, 1), replaced);
  EXPECT_EQ(window_tokens({Protocol::kLlamaCpp, 10, 0, -1}, text, 1), window);
}

// 512 tokens: 255 targets, predicted by positions 256 to 510; an odd length of 7: 3 to 5.
TEST(Protocol, ScoresWhatItSays) {
  const auto first = [](Protocol protocol, int64_t length, CacheMode mode, int64_t context) {
    return first_scored({protocol, length, context, -1}, mode);
  };
  EXPECT_EQ(first(Protocol::kGptq, 2048, CacheMode::kStreamed, 0), 0);
  EXPECT_EQ(first(Protocol::kLlamaCpp, 512, CacheMode::kStreamed, 0), 256);
  EXPECT_EQ(first(Protocol::kLlamaCpp, 7, CacheMode::kAll, 0), 3);
  EXPECT_EQ(first(Protocol::kGptq, 512, CacheMode::kAll, 100), 0);
  EXPECT_EQ(first(Protocol::kGptq, 512, CacheMode::kPrefillExact, 100), 99);
  EXPECT_EQ(first(Protocol::kGptq, 512, CacheMode::kContextExact, 100), 100);
  EXPECT_EQ(first(Protocol::kLlamaCpp, 512, CacheMode::kContextExact, 100), 256);
  EXPECT_EQ(first(Protocol::kLlamaCpp, 512, CacheMode::kPrefillExact, 300), 299);
  EXPECT_EQ((Window{std::vector<int32_t>(512), 256, 0}.targets()), 255);
}

class Passes : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new test::TempDir;
    test::TinyModelSpec spec;
    spec.head_dim = 32;
    spec.max_positions = 4096;
    spec.seed = 7;
    test::write_tiny_model(*folder_ / "model", spec);
    checkpoint_ = model::Checkpoint::open(*folder_ / "model").release();
    model_ = new model::Model(*checkpoint_);
    backend_ = open_backend(kCpu, *checkpoint_, 2).release();
  }
  static void TearDownTestSuite() {
    delete backend_;
    delete model_;
    delete checkpoint_;
    delete folder_;
  }

  static Window window(int64_t length, int64_t first, int64_t context) {
    Window out{{}, first, context};
    for (int64_t i = 0; i < length; ++i)
      out.tokens.push_back(static_cast<int32_t>((i * i + 3 * i) % 311));
    return out;
  }

  // NLLs of a window's scored positions: `context` tokens in one exact chunk, if any, the rest in
  // chunks of `step`.
  static std::vector<double> plain_nll(const Window& window, const char* scheme, CacheMode mode,
                                       int64_t context, int64_t step) {
    model::Engine engine(*model_, ref::factory(Descriptor::parse(scheme)), mode, 1);
    const SeqId seq = engine.open();
    const int64_t tokens = static_cast<int64_t>(window.tokens.size());
    const size_t vocab = static_cast<size_t>(model_->config().vocab);
    std::vector<double> nll;
    for (int64_t next = 0; next < tokens;) {
      const bool exact = next < context;
      const int64_t count = exact ? context : std::min(step, tokens - next);
      const model::Chunk chunk{
          seq,
          std::span(window.tokens).subspan(static_cast<size_t>(next), static_cast<size_t>(count)),
          exact, exact};
      engine.forward({&chunk, 1}, [&](int64_t first, int64_t rows, const float* logits) {
        for (int64_t row = 0; row < rows; ++row) {
          const int64_t position = next + first + row;
          if (position < window.first || position + 1 >= tokens) continue;
          const std::span<const float> z(logits + static_cast<size_t>(row) * vocab, vocab);
          const int32_t target = window.tokens[static_cast<size_t>(position) + 1];
          nll.push_back(num::nll(num::log_sum_exp(z), z[static_cast<size_t>(target)]));
        }
      });
      next += count;
    }
    return nll;
  }

  static test::TempDir* folder_;
  static const model::Checkpoint* checkpoint_;
  static const model::Model* model_;
  static Backend* backend_;
};
test::TempDir* Passes::folder_ = nullptr;
const model::Checkpoint* Passes::checkpoint_ = nullptr;
const model::Model* Passes::model_ = nullptr;
Backend* Passes::backend_ = nullptr;

// What a server would do: the prompt at once, then token by token.
TEST_F(Passes, AnExactContextThenTokenByToken) {
  for (const CacheMode mode : {CacheMode::kPrefillExact, CacheMode::kContextExact}) {
    const Cut cut{Protocol::kGptq, 110, 50, -1};
    const Window w = window(cut.length, first_scored(cut, mode), cut.context);
    const PassSettings settings{mode, NonFinite::kRefuse, 2};
    BaseWindow base;
    const PassResult unquantised = run_base(*backend_, w, settings, true, base);
    EXPECT_EQ(unquantised.scores.nll, plain_nll(w, "fp:f32", CacheMode::kStreamed, 0, 110));
    for (const char* scheme : {"fp:f16", "int:k3v3", "kivi:k2v2,r32"}) {
      const PassResult result = run_scheme(*backend_, Descriptor::parse(scheme), w, settings, base);
      EXPECT_EQ(result.scores.nll, plain_nll(w, scheme, mode, cut.context, 1)) << scheme;
      EXPECT_EQ(result.record.context, 50);
      EXPECT_EQ(result.record.targets, mode == CacheMode::kPrefillExact ? 60 : 59);
      EXPECT_EQ(result.record.first_position, mode == CacheMode::kPrefillExact ? 49 : 50);
      // Token 50 is predicted by a position that read nothing quantised; the next are not.
      if (mode == CacheMode::kPrefillExact) {
        EXPECT_EQ(result.scores.kl[0], 0) << scheme;
        EXPECT_EQ(result.scores.nll[0], unquantised.scores.nll[0]) << scheme;
      }
      EXPECT_NE(result.scores.nll.back(), unquantised.scores.nll.back()) << scheme;
      EXPECT_GT(result.record.kl_mean, 0) << scheme;
      // A context too large to be kept is computed again.
      PassSettings nothing_kept = settings;
      nothing_kept.kept_bytes = 0;
      BaseWindow recomputed;
      run_base(*backend_, w, nothing_kept, true, recomputed);
      EXPECT_EQ(recomputed.context.size(), 0u);
      EXPECT_EQ(base.context.size(), static_cast<size_t>(model_->config().layers));
      const PassResult again =
          run_scheme(*backend_, Descriptor::parse(scheme), w, nothing_kept, recomputed);
      EXPECT_EQ(again.scores.nll, result.scores.nll) << scheme;
      EXPECT_EQ(again.scores.kl, result.scores.kl) << scheme;
      EXPECT_EQ(again.scores.same_top, result.scores.same_top) << scheme;
      EXPECT_EQ(again.record.bytes[0].total(), result.record.bytes[0].total());
    }
  }
}

TEST_F(Passes, HiddenRowsStandForLogits) {
  const Window w = window(450, 225, 0);
  const Descriptor scheme = Descriptor::parse("int:k3v3");
  for (const CacheMode mode : {CacheMode::kAll, CacheMode::kStreamed}) {
    PassSettings settings{mode, NonFinite::kRefuse, 2};
    BaseWindow kept, projected;
    const PassResult a = run_base(*backend_, w, settings, true, kept);
    const PassResult x = run_scheme(*backend_, scheme, w, settings, kept);
    settings.kept_bytes = w.targets() * model_->config().vocab * 4 - 1;
    const PassResult b = run_base(*backend_, w, settings, true, projected);
    const PassResult y = run_scheme(*backend_, scheme, w, settings, projected);
    EXPECT_TRUE(kept.hidden.empty());
    EXPECT_TRUE(projected.logits.empty());
    EXPECT_EQ(projected.hidden.size(), static_cast<size_t>(w.targets() * model_->config().hidden));
    EXPECT_EQ(a.scores.nll, b.scores.nll);
    EXPECT_EQ(x.scores.nll, y.scores.nll);
    EXPECT_EQ(x.scores.kl, y.scores.kl);
    EXPECT_EQ(x.scores.same_top, y.scores.same_top);
    EXPECT_GT(x.record.kl_mean, 0);
  }
}

// Long windows are fed in pieces: the same bits as one pass.
TEST_F(Passes, LongWindowsInPieces) {
  const Window w = window(2300, 1150, 0);
  const PassSettings settings{CacheMode::kStreamed, NonFinite::kRefuse, 2};
  BaseWindow base;
  const PassResult unquantised = run_base(*backend_, w, settings, true, base);
  EXPECT_EQ(unquantised.scores.nll, plain_nll(w, "fp:f32", CacheMode::kStreamed, 0, 2300));
  const char* scheme = "kivi:k2v2,r32";
  const PassResult result = run_scheme(*backend_, Descriptor::parse(scheme), w, settings, base);
  EXPECT_EQ(result.scores.nll, plain_nll(w, scheme, CacheMode::kStreamed, 0, 2300));
  EXPECT_EQ(result.record.targets, 2300 - 1150 - 1);
}

// The whole way, from the text to the printed perplexity.
TEST(LlamaCpp, RunOfTheProgram) {
  const test::Sweep sweep(KVX_PROGRAM);
  // The model puts a BOS in front of a text.
  const std::string tokenizer_file = sweep.model() + "/tokenizer.json";
  Json file = Json::parse(test::read_file(tokenizer_file));
  const Json bos{{"SpecialToken", {{"id", file.at("added_tokens").at(0).at("content")}}}};
  file["post_processor"] = {{"type", "TemplateProcessing"},
                            {"single", {bos, {{"Sequence", {{"id", "A"}}}}}}};
  test::write_file(tokenizer_file, file.dump());
  test::Process process({KVX_PROGRAM, "eval", "--model", sweep.model(), "--data", sweep.data(),
                         "--protocol", "llama.cpp", "--length", "64", "--windows", "3", "--scheme",
                         "int:k3v3", "--json", "--out", sweep.reference()});
  ASSERT_EQ(process.wait(), 0) << process.err();
  const Json json = Json::parse(process.out());
  const auto checkpoint = model::Checkpoint::open(sweep.model());
  const model::Model weights(*checkpoint);
  const auto tokenizer = model::Tokenizer::open(sweep.model());
  auto ids = tokenizer->encode(protocol_text(Protocol::kLlamaCpp, test::read_file(sweep.data())),
                               true, false);
  EXPECT_EQ(json.at("run").at("tasks").at("ppl").at("tokens"), ids.size());
  EXPECT_EQ(json.at("run").at("tasks").at("ppl").at("protocol"), "llama.cpp");
  ASSERT_TRUE(tokenizer->adds_bos());
  const Json& rows = json.at("modes").at(0).at("rows");
  for (size_t r = 0; r < 2; ++r) {
    double sum = 0, squares = 0;
    int count = 0;
    for (size_t window = 0; window < 3; ++window) {
      ids[window * 64] = tokenizer->bos();
      model::Engine engine(weights, ref::factory(Descriptor::parse(r == 0 ? "fp:f32" : "int:k3v3")),
                           CacheMode::kStreamed, 1);
      const model::Chunk chunk{.seq = engine.open(), .tokens = {&ids[window * 64], 64}};
      engine.forward({&chunk, 1}, [&](int64_t, int64_t n, const float* logits) {
        ASSERT_EQ(n, 64);
        for (size_t t = 32; t <= 62; ++t) {
          const float* z = logits + t * static_cast<size_t>(weights.config().vocab);
          double total = 0;
          for (int64_t v = 0; v < weights.config().vocab; ++v)
            total += std::exp(static_cast<double>(z[v]));
          const double nll = std::log(total) - static_cast<double>(z[ids[window * 64 + t + 1]]);
          sum += nll;
          squares += nll * nll;
          ++count;
        }
      });
    }
    ASSERT_EQ(count, 93);
    const double mean = sum / count, ppl = std::exp(mean);
    EXPECT_EQ(rows.at(r).at("targets"), count);
    EXPECT_NEAR(parse_exact_number(rows.at(r).at("ppl")), ppl, 1e-5 * ppl);
    EXPECT_NEAR(parse_exact_number(rows.at(r).at("ppl_error")),
                ppl * std::sqrt((squares / count - mean * mean) / (count - 1)), 1e-5 * ppl);
  }
  EXPECT_EQ(rows.at(1).at("divergence").size(), 1u);
  EXPECT_EQ(rows.at(1).at("divergence").at("half").at("positions"), 93);
  // Positions 32 to 62 in bins of 8.
  ASSERT_EQ(rows.at(1).at("bins").size(), 4u);
  EXPECT_EQ(rows.at(1).at("bins").at(3).at("targets"), 3 * 7);
}

}  // namespace
}  // namespace kvx::eval
