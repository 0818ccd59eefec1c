// What the cache modes promise, for every scheme: one pass equals decoding token by token, exact
// prompts and contexts, forks, batches of any lengths. Bit for bit, in the logits and in the bytes
// of every layer's cache.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>
#include <memory>
#include <vector>

#include "ref/registry.h"
#include "sim/gen/random.h"
#include "sim/model/engine.h"
#include "tests/laws/cases.h"
#include "tests/support/artifacts.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvx::model {
namespace {

using Tokens = std::vector<int32_t>;
using Bits = std::vector<uint32_t>;

// Fits every case of the laws: 2 KV heads of 64.
const Model& tiny_model() {
  static const std::unique_ptr<Model> model = [] {
    test::TinyModelSpec spec;
    spec.hidden = 64;
    spec.layers = 2;
    spec.heads = 4;
    spec.kv_heads = 2;
    spec.head_dim = 64;
    spec.ffn = 96;
    spec.vocab = 280;
    spec.seed = 11;
    const test::TempDir folder;
    test::write_tiny_model(folder.path(), spec);
    return std::make_unique<Model>(*Checkpoint::open(folder.path().string()));
  }();
  return *model;
}

Tokens some_tokens(int64_t count, uint32_t stream) {
  Tokens tokens;
  for (int64_t i = 0; i < count; ++i) {
    const auto word = gen::Source{20240131, stream}.words(static_cast<uint64_t>(i))[0];
    tokens.push_back(static_cast<int32_t>(word % 280));
  }
  return tokens;
}

CacheFactory scheme(const std::string& descriptor) {
  return [descriptor](CacheConfig config) {
    config.artifacts = test::test_artifacts();
    if (descriptor == "fp:f32") config.arithmetic = Arithmetic::kIeee;  // the unquantised model
    return ref::make_cache(Descriptor::parse(descriptor), config);
  };
}

Bits bits_of(const float* values, int64_t count) {
  Bits bits(static_cast<size_t>(count));
  std::transform(values, values + count, bits.begin(),
                 [](float x) { return std::bit_cast<uint32_t>(x); });
  return bits;
}

void append_to(Bits& all, const Bits& more) { all.insert(all.end(), more.begin(), more.end()); }

// Logits of all chunks' tokens, in order.
Bits forward(Engine& engine, const std::vector<Chunk>& chunks) {
  const int64_t vocab = tiny_model().config().vocab;
  Bits logits;
  engine.forward(chunks, [&](int64_t, int64_t rows, const float* values) {
    append_to(logits, bits_of(values, rows * vocab));
  });
  int64_t tokens = 0;
  for (const Chunk& chunk : chunks) tokens += static_cast<int64_t>(chunk.tokens.size());
  EXPECT_EQ(static_cast<int64_t>(logits.size()), tokens * vocab);
  return logits;
}

Bits feed(Engine& engine, SeqId seq, std::span<const int32_t> tokens, bool exact = false) {
  return forward(engine, {{seq, tokens, exact, exact}});
}

// In chunks of those sizes, over and over.
Bits feed_in_chunks(Engine& engine, SeqId seq, std::span<const int32_t> tokens,
                    const std::vector<size_t>& sizes) {
  Bits logits;
  for (size_t at = 0, i = 0; at < tokens.size(); ++i) {
    const size_t count = std::min(tokens.size() - at, sizes[i % sizes.size()]);
    append_to(logits, feed(engine, seq, tokens.subspan(at, count)));
    at += count;
  }
  return logits;
}

// The stored bytes of a sequence, layer by layer.
std::vector<std::vector<std::byte>> images(const Engine& engine, SeqId seq) {
  std::vector<std::vector<std::byte>> all;
  for (int layer = 0; layer < tiny_model().config().layers; ++layer) {
    all.push_back(engine.cache(layer).image(seq));
  }
  return all;
}

using Tested = std::pair<std::string, Arithmetic>;

class EngineModes : public testing::TestWithParam<Tested> {
 protected:
  const std::string& descriptor() const { return GetParam().first; }
  Engine engine(CacheMode mode, int threads = 1) const {
    return Engine(tiny_model(), scheme(descriptor()), mode, threads, NonFinite::kRefuse,
                  GetParam().second);
  }
};

std::vector<Tested> tested() {
  std::vector<Tested> all;
  for (const char* descriptor : laws::kCases) all.emplace_back(descriptor, Arithmetic::kIeee);
  for (const char* descriptor : laws::kFixedCases) all.emplace_back(descriptor, Arithmetic::kFixed);
  return all;
}

INSTANTIATE_TEST_SUITE_P(, EngineModes, testing::ValuesIn(tested()), [](const auto& of) {
  std::string name = of.param.first;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name + (of.param.second == Arithmetic::kFixed ? "_fixed" : "");
});

TEST_P(EngineModes, StreamedOnePassEqualsDecoding) {
  const Tokens tokens = some_tokens(170, 1);
  Engine whole = engine(CacheMode::kStreamed, 2);
  const SeqId seq = whole.open();
  const Bits expected = feed(whole, seq, tokens);
  std::vector<size_t> random;
  for (uint64_t i = 0; i < 32; ++i) random.push_back(1 + gen::Source{7, 1}.words(i)[0] % 40);
  for (const auto& sizes : {std::vector<size_t>{1}, random, std::vector<size_t>{129, 1, 31}}) {
    Engine parts = engine(CacheMode::kStreamed);
    const SeqId other = parts.open();
    EXPECT_TRUE(feed_in_chunks(parts, other, tokens, sizes) == expected)
        << "chunks of " << sizes[0] << ", ...";
    EXPECT_EQ(images(parts, other), images(whole, seq));
  }
}

// The definition, from the rows that the engine computed: an exact chunk attends to K and V as they
// are; a later token to what a cache that was given the same rows says.
TEST_P(EngineModes, ExactPromptThenDecoding) {
  constexpr int64_t kPrompt = 140;
  const Tokens prompt = some_tokens(kPrompt, 2);
  const Tokens answer = some_tokens(20, 3);
  Engine base(tiny_model(), scheme("fp:f32"), CacheMode::kStreamed, 2);
  const Bits exact_logits = feed(base, base.open(), prompt);

  Engine coded = engine(CacheMode::kPrefillExact);
  const SeqId seq = coded.open();
  std::vector<std::unique_ptr<LayerCache>> expected, exact;
  for (int layer = 0; layer < tiny_model().config().layers; ++layer) {
    expected.push_back(scheme(descriptor())(coded.cache(layer).config()));
    exact.push_back(scheme("fp:f32")(coded.cache(layer).config()));
    expected.back()->open();
    exact.back()->open();
  }
  int64_t length = 0;
  coded.set_tap([&](const LayerTap& tap) {
    const auto layer = static_cast<size_t>(tap.layer);
    const Span span{.seq = 0, .first = length, .count = tap.k.tokens};
    std::vector<float> out(static_cast<size_t>(tap.q.tokens * tap.q.heads * tap.q.dim));
    const Rows rows = dense_rows(out.data(), tap.q.tokens, tap.q.heads, tap.q.dim);
    const bool pre_rope = expected[layer]->traits().keys == KeySpace::kPreRope;
    expected[layer]->append(pre_rope ? tap.k_pre : tap.k, tap.v, {&span, 1});
    if (length == 0) exact[layer]->append(tap.k, tap.v, {&span, 1});
    (length == 0 ? exact : expected)[layer]->attend(tap.q, {&span, 1}, rows);
    const auto size = static_cast<int64_t>(out.size());
    EXPECT_TRUE(bits_of(out.data(), size) == bits_of(tap.out.row(0, 0), size))
        << "layer " << layer << ", position " << length;
  });
  EXPECT_TRUE(feed(coded, seq, prompt, true) == exact_logits);
  const SeqId fork = coded.fork(seq);
  length = kPrompt;
  Bits step_by_step;
  for (const int32_t& token : answer) {
    append_to(step_by_step, feed(coded, seq, {&token, 1}));
    ++length;
  }
  for (size_t layer = 0; layer < expected.size(); ++layer) {
    EXPECT_EQ(coded.cache(static_cast<int>(layer)).image(seq), expected[layer]->image(0));
  }

  // Exactness is of consequence, but for a cache that rounds nothing.
  Engine streamed = engine(CacheMode::kStreamed, 2);
  const SeqId other = streamed.open();
  const Bits streamed_prompt = feed(streamed, other, prompt);
  const Bits streamed_answer = feed(streamed, other, answer);
  const bool lossless = descriptor() == "fp:f32";
  EXPECT_EQ(streamed_prompt == exact_logits, lossless);
  EXPECT_EQ(streamed_answer == step_by_step, lossless);

  // The answer known beforehand, in one pass.
  coded.set_tap(nullptr);
  EXPECT_TRUE(feed(coded, fork, answer) == step_by_step);
  EXPECT_EQ(images(coded, fork), images(coded, seq));
}

TEST_P(EngineModes, QuestionsShareAnExactContext) {
  const Tokens context = some_tokens(135, 4);
  const std::vector<Tokens> questions = {some_tokens(21, 5), some_tokens(33, 6), some_tokens(1, 7)};
  std::vector<Bits> alone;
  std::vector<std::vector<std::vector<std::byte>>> alone_images;
  for (const Tokens& question : questions) {
    Engine one = engine(CacheMode::kContextExact);
    const SeqId seq = one.open();
    feed(one, seq, context, true);
    alone.push_back(feed(one, seq, question));
    alone_images.push_back(images(one, seq));
  }

  Engine shared = engine(CacheMode::kContextExact, 2);
  const SeqId root = shared.open();
  feed(shared, root, context, true);
  const auto context_images = images(shared, root);
  // One after another; the context stays what it is.
  for (size_t i = 0; i < questions.size(); ++i) {
    const SeqId seq = shared.fork(root);
    EXPECT_TRUE(feed(shared, seq, questions[i]) == alone[i]) << "question " << i;
    EXPECT_EQ(images(shared, seq), alone_images[i]);
    shared.close(seq);
    EXPECT_EQ(images(shared, root), context_images);
  }
  // Token by token in turns, the context closed meanwhile.
  std::vector<SeqId> seqs;
  for (size_t i = 0; i < questions.size(); ++i) seqs.push_back(shared.fork(root));
  shared.close(root);
  std::vector<Bits> turns(questions.size());
  for (size_t t = 0; t < 33; ++t) {
    for (size_t i = 0; i < questions.size(); ++i) {
      if (t < questions[i].size()) {
        append_to(turns[i], feed(shared, seqs[i], {&questions[i][t], 1}));
      }
    }
  }
  for (size_t i = 0; i < questions.size(); ++i) {
    EXPECT_TRUE(turns[i] == alone[i]) << "question " << i;
    EXPECT_EQ(images(shared, seqs[i]), alone_images[i]);
  }
}

// Sequences of different lengths in one batch, some with an exact chunk while others are streamed.
TEST_P(EngineModes, BatchesOfAnyLengthsEqualSequencesAlone) {
  struct Member {
    Tokens tokens;
    std::vector<size_t> chunks;  // of each pass; 0: not in that pass
    bool exact;                  // its first chunk
  };
  const std::vector<Member> members = {{some_tokens(141, 8), {100, 1, 40, 0}, true},
                                       {some_tokens(3, 9), {1, 1, 0, 1}, false},
                                       {some_tokens(167, 10), {37, 0, 129, 1}, false},
                                       {some_tokens(50, 11), {0, 0, 20, 30}, true}};
  Engine together = engine(CacheMode::kContextExact, 2);
  std::vector<SeqId> seqs;
  std::vector<size_t> at(members.size());
  std::vector<Bits> expected(members.size()), logits(members.size());
  for (size_t i = 0; i < members.size(); ++i) seqs.push_back(together.open());
  const auto vocab = static_cast<size_t>(tiny_model().config().vocab);
  for (size_t pass = 0; pass < 4; ++pass) {
    std::vector<Chunk> chunks;
    std::vector<size_t> owners;
    for (size_t i = 0; i < members.size(); ++i) {
      const size_t count = members[i].chunks[pass];
      if (count == 0) continue;
      chunks.push_back({seqs[i], std::span(members[i].tokens).subspan(at[i], count), false,
                        members[i].exact && at[i] == 0});
      owners.push_back(i);
      at[i] += count;
    }
    const Bits rows = forward(together, chunks);
    auto next = rows.begin();
    for (size_t c = 0; c < chunks.size(); ++c) {
      const auto size = static_cast<int64_t>(chunks[c].tokens.size() * vocab);
      logits[owners[c]].insert(logits[owners[c]].end(), next, next + size);
      next += size;
    }
  }
  for (size_t i = 0; i < members.size(); ++i) {
    Engine alone = engine(CacheMode::kContextExact);
    const SeqId seq = alone.open();
    size_t from = 0;
    for (const size_t count : members[i].chunks) {
      if (count == 0) continue;
      append_to(expected[i], feed(alone, seq, std::span(members[i].tokens).subspan(from, count),
                                  members[i].exact && from == 0));
      from += count;
    }
    ASSERT_EQ(from, members[i].tokens.size());
    EXPECT_TRUE(logits[i] == expected[i]) << "sequence " << i;
    EXPECT_EQ(images(together, seqs[i]), images(alone, seq)) << "sequence " << i;
  }
}

// Mode `all`: a sequence in company equals the sequence alone, and where a scheme seals every token
// before it is read, `all` is `streamed`.
TEST_P(EngineModes, AllReadsEverythingThroughTheCoder) {
  const Tokens tokens = some_tokens(150, 12);
  const Tokens other = some_tokens(61, 13);
  Engine alone = engine(CacheMode::kAll);
  const SeqId seq = alone.open();
  const Bits expected = feed(alone, seq, tokens);
  Engine together = engine(CacheMode::kAll, 2);
  const SeqId a = together.open(), b = together.open();
  const Bits both = forward(together, {{b, other, false, false}, {a, tokens, false, false}});
  EXPECT_TRUE(std::equal(expected.rbegin(), expected.rend(), both.rbegin()));
  EXPECT_EQ(images(together, a), images(alone, seq));
  const LayerCache& cache = alone.cache(0);
  int64_t sink = 0;  // exact tokens before all others
  for (const Side side : {Side::kK, Side::kV}) {
    ReadMap held = cache.held(seq, side);
    if (held[0].held == Held::kExact) {
      sink = held[0].count;
      EXPECT_LE(sink, 5);
      held.erase(held.begin());
    }
    EXPECT_EQ(held[0].held, Held::kSealed);
    // Exact is at most an open group.
    EXPECT_LT(held.size() == 2 ? held[1].count : 0, 64);
  }
  const auto all_at_once = [sink](int64_t rows) {
    ReadMap map;
    if (sink > 0) map.push_back({0, std::min(sink, rows), Held::kExact});
    if (rows > sink) map.push_back({sink, rows - sink, Held::kSealed});
    return map;
  };

  Engine streamed = engine(CacheMode::kStreamed);
  const SeqId s = streamed.open();
  bool same_reads = true;  // every query reads all sealed, as soon as it is appended
  streamed.set_tap([&](const LayerTap& tap) {
    for (int64_t t = 0; t < tap.q.tokens; ++t) {
      for (const Side side : {Side::kK, Side::kV}) {
        const ReadMap reads = streamed.cache(tap.layer).reads(s, side, t);
        same_reads = same_reads && reads == all_at_once(t + 1);
      }
    }
  });
  const Bits stream = feed(streamed, s, tokens);
  EXPECT_TRUE(!same_reads || stream == expected);
  const auto parsed = Descriptor::parse(descriptor());
  const bool by_token = parsed.name() == "fp" || parsed.name() == "fp8" ||
                        parsed.name() == "ggml" || parsed.name() == "kvquant" ||
                        (parsed.name() == "int" && parsed.get_word("kaxis") == "token" &&
                         parsed.get_word("vaxis") == "token");
  EXPECT_TRUE(!by_token || same_reads);
}

}  // namespace
}  // namespace kvx::model
