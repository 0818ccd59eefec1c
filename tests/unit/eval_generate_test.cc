// Greedy generation of batches against a plain one: token by token, one prompt at a time.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <memory>

#include "eval/generate.h"
#include "eval/output.h"
#include "eval/prompt.h"
#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/model/engine.h"
#include "sim/num/reduce.h"
#include "tests/support/tiny_model.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

constexpr const char* kSchemes[] = {
    "fp:f32", "int:k4v4", "kivi:k2v2,r32", "fp8:e4m3", "fp8:e5m2,scale=token", "ggml:q4_0"};
constexpr CacheMode kModes[] = {CacheMode::kContextExact, CacheMode::kPrefillExact,
                                CacheMode::kStreamed};

// Another end-of-text token.
class WithEos final : public model::Tokenizer {
 public:
  WithEos(const model::Tokenizer& inner, int32_t eos) : inner_(inner), eos_(eos) {}
  std::vector<int32_t> encode(std::string_view text, bool bos, bool special) const override {
    return inner_.encode(text, bos, special);
  }
  std::string decode(std::span<const int32_t> ids) const override { return inner_.decode(ids); }
  int64_t vocab_size() const override { return inner_.vocab_size(); }
  std::string piece(int32_t id) const override { return inner_.piece(id); }
  bool adds_bos() const override { return inner_.adds_bos(); }
  int32_t bos() const override { return inner_.bos(); }
  int32_t eos() const override { return eos_; }
  std::string kind() const override { return inner_.kind(); }
  std::string sha256() const override { return inner_.sha256(); }

 private:
  const model::Tokenizer& inner_;
  int32_t eos_;
};

// H of one row of logits, as reports/schema/result.md writes it.
uint64_t page_hash(std::span<const float> logits) {
  uint64_t sum = 0;
  for (size_t i = 0; i < logits.size(); ++i) {
    const uint32_t bits = std::isnan(logits[i]) ? 0x7FFFFFFFu : std::bit_cast<uint32_t>(logits[i]);
    uint64_t x = (i + 1) * 0x9E3779B97F4A7C15u ^ bits * 0xD6E8FEB86659FD93u;
    x ^= x >> 32;
    x *= 0xD6E8FEB86659FD93u;
    x ^= x >> 29;
    sum += x;
  }
  return sum;
}

class Generate : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    test::TinyModelSpec spec;
    spec.head_dim = 32;
    spec.max_positions = 2600;
    spec.seed = 11;
    folder_ = std::make_unique<test::TempDir>();
    test::write_tiny_model(*folder_ / "model", spec);
    checkpoint_ = model::Checkpoint::open(*folder_ / "model");
    tokenizer_ = model::Tokenizer::open(*folder_ / "model");
    weights_ = std::make_unique<model::Model>(*checkpoint_);
    backend_ = open_backend(kCpu, *checkpoint_, 1);
  }
  static void TearDownTestSuite() {
    backend_.reset();
    weights_.reset();
    tokenizer_.reset();
    checkpoint_.reset();
    folder_.reset();
  }

  static std::vector<int32_t> tokens(uint32_t seed, int64_t count) {
    std::vector<int32_t> out;
    for (int64_t i = 0; i < count; ++i) {
      seed = seed * 1664525 + 1013904223;
      out.push_back(static_cast<int32_t>(2 + (seed >> 8) % 318));
    }
    return out;
  }
  // Tokens that begin with a context of `context` of them, drawn from `context_seed`.
  static Prompt prompt(uint32_t context_seed, int64_t context, uint32_t seed, int64_t question,
                       int64_t new_tokens) {
    Prompt out;
    out.tokens = tokens(context_seed, context);
    for (const int32_t token : tokens(seed, question)) out.tokens.push_back(token);
    out.context = context;
    out.new_tokens = new_tokens;
    return out;
  }
  // No context, shared ones, one of all tokens but one; budgets below, at and above a burst.
  static std::vector<Prompt> some_prompts() {
    std::vector<Prompt> prompts{prompt(0, 0, 1, 40, 5),   prompt(2, 70, 3, 9, 8),
                                prompt(2, 70, 4, 33, 17), prompt(5, 64, 6, 1, 1),
                                prompt(0, 0, 7, 1, 9),    prompt(8, 129, 9, 1, 12)};
    share_contexts(prompts);
    return prompts;
  }

  static std::vector<Generation> run(const std::string& scheme, CacheMode mode,
                                     const std::vector<Prompt>& prompts,
                                     const model::Tokenizer& tokenizer) {
    const GenerateSettings settings{.mode = mode};
    const std::vector<Context> contexts = compute_contexts(*backend_, prompts, settings);
    return generate(*backend_, Descriptor::parse(scheme), prompts, contexts, tokenizer, settings);
  }
  static std::vector<Generation> run(const std::string& scheme, CacheMode mode,
                                     const std::vector<Prompt>& prompts) {
    return run(scheme, mode, prompts, *tokenizer_);
  }

  // One prompt, every token (or `step` of them) in a pass of its own but for what is read exactly.
  static Generation plain(const std::string& scheme, CacheMode mode, const Prompt& prompt,
                          size_t step = 1) {
    model::Engine engine(*weights_, ref::factory(Descriptor::parse(scheme)), mode, 1);
    const model::ModelConfig& config = weights_->config();
    const SeqId seq = engine.open();
    Generation out;
    std::vector<float> logits;
    const auto feed = [&](std::span<const int32_t> fed, bool exact) {
      const model::Chunk chunk{.seq = seq, .tokens = fed, .prompt_end = exact, .exact = exact};
      engine.forward({&chunk, 1}, [&](int64_t, int64_t count, const float* rows) {
        logits.assign(rows + (count - 1) * config.vocab, rows + count * config.vocab);
      });
    };
    const std::span<const int32_t> all(prompt.tokens);
    size_t exact = 0;
    if (mode == CacheMode::kContextExact) exact = static_cast<size_t>(prompt.context);
    if (mode == CacheMode::kPrefillExact) exact = all.size();
    if (exact > 0) feed(all.first(exact), true);
    for (size_t i = exact; i < all.size(); i += step)
      feed(all.subspan(i, std::min(step, all.size() - i)), false);
    out.logits = page_hash(logits);
    for (const Side side : {Side::kK, Side::kV}) {
      const auto s = static_cast<size_t>(side);
      for (int layer = 0; layer < config.layers; ++layer) {
        out.use.bytes[s] += engine.cache(layer).used(seq, side);
        out.use.nominal[s] += engine.cache(layer).nominal_bits(side);
      }
      out.use.nominal[s] /= static_cast<double>(config.layers);
    }
    while (std::ssize(out.ids) < prompt.new_tokens && out.stop == Stop::kLength) {
      out.text = tokenizer_->decode(out.ids);
      out.ids.push_back(static_cast<int32_t>(num::argmax(logits)));
      if (out.ids.back() == tokenizer_->eos()) out.stop = Stop::kEos;
      feed({&out.ids.back(), 1}, false);
    }
    if (out.stop == Stop::kLength) out.text = tokenizer_->decode(out.ids);
    return out;
  }

  static void expect_equal(const Generation& found, const Generation& expected,
                           const std::string& where) {
    EXPECT_EQ(found.ids, expected.ids) << where;
    EXPECT_EQ(found.text, expected.text) << where;
    EXPECT_EQ(found.stop, expected.stop) << where;
    EXPECT_EQ(found.logits, expected.logits) << where;
    EXPECT_EQ(found.use.nominal, expected.use.nominal) << where;
    for (const size_t side : {0, 1})
      EXPECT_EQ(found.use.bytes[side].bytes, expected.use.bytes[side].bytes) << where;
  }

  static std::unique_ptr<test::TempDir> folder_;
  static std::unique_ptr<model::Checkpoint> checkpoint_;
  static std::unique_ptr<model::Tokenizer> tokenizer_;
  static std::unique_ptr<model::Model> weights_;
  static std::unique_ptr<Backend> backend_;
};
std::unique_ptr<test::TempDir> Generate::folder_;
std::unique_ptr<model::Checkpoint> Generate::checkpoint_;
std::unique_ptr<model::Tokenizer> Generate::tokenizer_;
std::unique_ptr<model::Model> Generate::weights_;
std::unique_ptr<Backend> Generate::backend_;

TEST_F(Generate, InCompanyAsTokenByToken) {
  const std::vector<Prompt> prompts = some_prompts();
  std::map<std::string, std::vector<uint64_t>> hashes;  // by mode, of each scheme's last prompt
  for (const CacheMode mode : kModes)
    for (const char* scheme : kSchemes) {
      const std::vector<Generation> found = run(scheme, mode, prompts);
      ASSERT_EQ(found.size(), prompts.size());
      for (size_t i = 0; i < prompts.size(); ++i)
        expect_equal(found[i], plain(scheme, mode, prompts[i]),
                     std::string(model::cache_mode_name(mode)) + " " + scheme + " prompt " +
                         std::to_string(i));
      hashes[model::cache_mode_name(mode)].push_back(found[1].logits);
    }
  // The modes and schemes do read different things.
  std::vector<uint64_t>& streamed = hashes["streamed"];
  EXPECT_NE(streamed, hashes["context-exact"]);
  EXPECT_EQ(streamed.front(), hashes["context-exact"].front());  // fp:f32 reads the same anyhow
  for (const uint64_t hash : hashes["prefill-exact"]) EXPECT_EQ(hash, streamed.front());
  std::sort(streamed.begin(), streamed.end());
  EXPECT_EQ(std::adjacent_find(streamed.begin(), streamed.end()), streamed.end());
}

TEST_F(Generate, AloneInPartsAndInAnyOrder) {
  const std::vector<Prompt> prompts = some_prompts();
  for (const CacheMode mode : kModes)
    for (const char* scheme : kSchemes) {
      const std::vector<Generation> together = run(scheme, mode, prompts);
      for (const size_t size : {1, 2, 4})
        for (size_t first = 0; first < prompts.size(); first += size) {
          // Backwards, with the contexts of the part alone.
          std::vector<Prompt> part(
              prompts.begin() + static_cast<ptrdiff_t>(first),
              prompts.begin() + static_cast<ptrdiff_t>(std::min(first + size, prompts.size())));
          std::reverse(part.begin(), part.end());
          share_contexts(part);
          const std::vector<Generation> found = run(scheme, mode, part);
          for (size_t i = 0; i < part.size(); ++i)
            expect_equal(found[part.size() - 1 - i], together[first + i],
                         std::string(scheme) + " in parts of " + std::to_string(size));
        }
    }
}

// Contexts of a whole batch serve some of its prompts: what is left of an interrupted run.
TEST_F(Generate, SomePromptsWithTheContextsOfAll) {
  const std::vector<Prompt> prompts = some_prompts();
  const GenerateSettings settings;
  const std::vector<Context> contexts = compute_contexts(*backend_, prompts, settings);
  EXPECT_EQ(contexts.size(), 3u);
  const Descriptor scheme = Descriptor::parse("int:k4v4");
  const std::vector<Prompt> some{prompts[5], prompts[2]};
  const std::vector<Generation> found =
      generate(*backend_, scheme, some, contexts, *tokenizer_, settings);
  expect_equal(found[0], plain("int:k4v4", CacheMode::kContextExact, prompts[5]), "prompt 5");
  expect_equal(found[1], plain("int:k4v4", CacheMode::kContextExact, prompts[2]), "prompt 2");
}

// Longer than a pass of 2048 rows, alone, and with others in front and behind.
TEST_F(Generate, LongPromptsAreCutIntoPieces) {
  const std::vector<Prompt> prompts{prompt(0, 0, 1, 30, 3), prompt(0, 0, 2, 2300, 4),
                                    prompt(0, 0, 3, 50, 3)};
  for (const char* scheme : {"int:k4v4", "kivi:k2v2,r32"})
    for (const CacheMode mode : {CacheMode::kStreamed, CacheMode::kPrefillExact}) {
      const std::vector<Generation> found = run(scheme, mode, prompts);
      for (size_t i = 0; i < prompts.size(); ++i)
        expect_equal(found[i], plain(scheme, mode, prompts[i], 97), scheme);
      expect_equal(run(scheme, mode, {prompts[1]}).front(), found[1], scheme);
    }
  // A question longer than a pass behind a context, beside another of the same context.
  std::vector<Prompt> asked{prompt(4, 100, 5, 2200, 3), prompt(4, 100, 6, 20, 3)};
  share_contexts(asked);
  const std::vector<Generation> found = run("int:k4v4", CacheMode::kContextExact, asked);
  for (size_t i = 0; i < asked.size(); ++i)
    expect_equal(found[i], plain("int:k4v4", CacheMode::kContextExact, asked[i], 97), "asked");
}

// The end-of-text token at every place of two bursts of 8: before, at and behind the edges.
TEST_F(Generate, EndsAtTheEndOfText) {
  std::vector<Prompt> prompts = some_prompts();
  for (Prompt& prompt : prompts) prompt.new_tokens = 20;
  const std::vector<Generation> whole = run("int:k4v4", CacheMode::kContextExact, prompts);
  int ended = 0;
  for (const Generation& of : whole) {
    for (size_t at = 0; at < of.ids.size(); ++at) {
      const int32_t eos = of.ids[at];
      if (std::find(of.ids.begin(), of.ids.end(), eos) !=
          of.ids.begin() + static_cast<ptrdiff_t>(at))
        continue;
      const std::vector<Generation> found =
          run("int:k4v4", CacheMode::kContextExact, prompts, WithEos(*tokenizer_, eos));
      for (size_t i = 0; i < found.size(); ++i) {
        const std::vector<int32_t>& ids = whole[i].ids;
        const auto end = std::find(ids.begin(), ids.end(), eos);
        Generation expected = whole[i];
        expected.ids.assign(ids.begin(), end);
        expected.text = tokenizer_->decode(expected.ids);
        if (end != ids.end()) {
          expected.ids.push_back(eos);
          expected.stop = Stop::kEos;
          ++ended;
        }
        expect_equal(found[i], expected, "end " + std::to_string(eos));
      }
    }
  }
  EXPECT_GT(ended, 20);
}

// A stop string at every place of the output, whole tokens and the seam of two.
TEST_F(Generate, EndsAtAStopString) {
  Prompt prompt = some_prompts()[2];
  prompt.new_tokens = 20;
  prompt.context_index = 0;
  const Generation whole = run("int:k4v4", CacheMode::kContextExact, {prompt}).front();
  int seams = 0, inside = 0;
  for (size_t at = 0; at + 1 < whole.ids.size(); ++at) {
    const std::string one = tokenizer_->decode(std::span(whole.ids).subspan(at, 1)),
                      next = tokenizer_->decode(std::span(whole.ids).subspan(at + 1, 1));
    const std::string before = tokenizer_->decode(std::span(whole.ids).first(at));
    for (const std::string& stop : {one, one.substr(one.size() - 1) + next.substr(0, 1)}) {
      const bool seam = stop != one;
      const size_t place = before.size() + (seam ? one.size() - 1 : 0);
      if (whole.text.find(stop) != place) continue;
      prompt.stops = {"not in it", stop};
      const Generation found = run("int:k4v4", CacheMode::kContextExact, {prompt}).front();
      EXPECT_EQ(found.text, whole.text.substr(0, place));
      EXPECT_EQ(found.ids, std::vector<int32_t>(
                               whole.ids.begin(),
                               whole.ids.begin() + static_cast<ptrdiff_t>(at + (seam ? 2 : 1))));
      EXPECT_EQ(found.stop, Stop::kStop);
      EXPECT_EQ(found.logits, whole.logits);
      ++(seam ? seams : inside);
    }
  }
  EXPECT_GT(seams, 2);
  EXPECT_GT(inside, 2);
}

// The first of several stop strings in the text, not in the list; text by hand.
class Letters final : public model::Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view, bool, bool) const override { return {}; }
  std::string decode(std::span<const int32_t> ids) const override {
    static const std::vector<std::string> kPieces{"<end>", "ab", "c\n", "\nd", "\xE2\x82", "\xAC"};
    std::string out;
    for (const int32_t id : ids) out += kPieces.at(static_cast<size_t>(id));
    return out;
  }
  int64_t vocab_size() const override { return 6; }
  std::string piece(int32_t id) const override { return decode({&id, 1}); }
  bool adds_bos() const override { return false; }
  int32_t bos() const override { return -1; }
  int32_t eos() const override { return 0; }
  std::string kind() const override { return "letters"; }
  std::string sha256() const override { return ""; }
};

struct Ending {
  std::vector<int32_t> fed;
  int64_t most;
  std::vector<std::string> stops;
  std::vector<int32_t> ids;
  std::string text;
  Stop stop;
};

TEST(Output, EndsByHand) {
  using Ids = std::vector<int32_t>;
  const Letters letters;
  const std::vector<Ending> endings{
      {{1, 2, 3, 1}, 9, {"\n\n"}, Ids{1, 2, 3}, "abc", Stop::kStop},
      {{1, 2, 3, 1}, 9, {"d", "bc"}, Ids{1, 2}, "a", Stop::kStop},
      {{1, 2, 3, 1}, 9, {"c", "bc"}, Ids{1, 2}, "a", Stop::kStop},
      {{2, 1, 1}, 9, {"c"}, Ids{2}, "", Stop::kStop},
      {{1, 0, 1}, 9, {"ab0"}, Ids{1, 0}, "ab", Stop::kEos},
      {{0, 1}, 9, {}, Ids{0}, "", Stop::kEos},
      {{1, 1, 1}, 2, {"abc"}, Ids{1, 1}, "abab", Stop::kLength},
      {{1, 1}, 1, {}, Ids{1}, "ab", Stop::kLength},
      {{1, 2}, 2, {"c"}, Ids{1, 2}, "ab", Stop::kStop},  // in the last token of the budget
      {{1, 0}, 2, {}, Ids{1, 0}, "ab", Stop::kEos},      // the same
      {{4, 5, 1}, 3, {"\xE2\x82\xAC"}, Ids{4, 5}, "", Stop::kStop},  // a character in two tokens
      {{1, 7, 2}, 3, {}, Ids{1, 7, 2}, "abc\n", Stop::kLength},      // 7: not in the vocabulary
  };
  for (const Ending& ending : endings) {
    Output output(letters, ending.most, ending.stops);
    size_t taken = 0;
    for (const int32_t id : ending.fed) {
      EXPECT_EQ(output.left(), output.ended() ? 0 : ending.most - std::ssize(output.ids()));
      taken += output.add(id) ? 1 : 0;
    }
    EXPECT_TRUE(output.ended());
    EXPECT_EQ(taken, ending.ids.size());
    EXPECT_EQ(output.ids(), ending.ids);
    EXPECT_EQ(output.text(), ending.text);
    EXPECT_EQ(output.stop(), ending.stop);
  }
}

}  // namespace
}  // namespace kvx::eval
