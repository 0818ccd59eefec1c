// Laws of appending: chunks, batches, the sealed prefix, forks, truncation.
#include <algorithm>
#include <map>
#include <utility>

#include "sim/api/error.h"
#include "tests/laws/laws.h"

namespace kvx::laws {

using test::Tensor;

void chunk_invariance(const Subject& subject) {
  const Make fresh = drawn(subject);
  const Input input = random_input(subject, random_length(1));
  const int64_t tokens = input.k.tokens;
  const auto whole = fresh();
  const SeqId a = whole->open();
  const auto expected = feed(*whole, a, input, 0, tokens);

  const auto parts = fresh();
  const SeqId b = parts->open();
  std::vector<uint32_t> outputs;
  int64_t length = 0;
  for (const int64_t count : random_chunks(tokens)) {
    const auto part = feed(*parts, b, input, length, count);
    outputs.insert(outputs.end(), part.begin(), part.end());
    const int64_t query = *rc::gen::inRange(length, length + count).as("query");
    for (const Side side : kSides) {
      const ReadMap map = parts->reads(b, side, query);
      RC_ASSERT(map == whole->reads(a, side, query));
      for (const RowRange& range : map) {
        RC_ASSERT(test::patterns(test::read(*parts, b, side, range).values) ==
                  test::patterns(test::read(*whole, a, side, range).values));
      }
    }
    if (*rc::gen::arbitrary<bool>().as("settle")) parts->settle(b);
    length += count;
  }
  RC_ASSERT(outputs == expected);
  RC_ASSERT(parts->image(b) == whole->image(a));
  RC_ASSERT(parts->length(b) == tokens);
}

void batch_independence(const Subject& subject) {
  const Make fresh = drawn(subject);
  constexpr size_t kSequences = 3;
  const auto together = fresh();
  std::vector<Input> inputs;
  std::vector<SeqId> ids;
  std::vector<std::unique_ptr<LayerCache>> alone;
  std::vector<SeqId> alone_ids;
  for (size_t i = 0; i < kSequences; ++i) {
    inputs.push_back(random_input(subject, 120));
    ids.push_back(together->open());
    alone.push_back(fresh());
    alone_ids.push_back(alone.back()->open());
  }
  for (int pass = 0; pass < 3; ++pass) {
    std::vector<Span> spans;
    Tensor q(0, kQueries, kDim), k(0, kHeads, kDim), v(0, kHeads, kDim);
    std::vector<uint32_t> expected;
    for (size_t i = 0; i < kSequences; ++i) {
      const int64_t first = together->length(ids[i]);
      const int64_t count = *rc::gen::inRange<int64_t>(0, 41).as("tokens of a sequence");
      if (count == 0) continue;
      spans.push_back({.seq = ids[i], .first = first, .count = count});
      for (const auto& [to, from] : {std::pair<Tensor&, const Tensor&>(q, inputs[i].q),
                                     {k, inputs[i].k},
                                     {v, inputs[i].v}}) {
        const auto row = from.heads * from.dim;
        to.values.insert(to.values.end(), from.values.begin() + first * row,
                         from.values.begin() + (first + count) * row);
        to.tokens += count;
      }
      const auto part = feed(*alone[i], alone_ids[i], inputs[i], first, count);
      expected.insert(expected.end(), part.begin(), part.end());
    }
    together->append(std::as_const(k).view(), std::as_const(v).view(), spans);
    Tensor out(q.tokens, kQueries, kDim);
    together->attend(std::as_const(q).view(), spans, out.view());
    RC_ASSERT(test::patterns(out.values) == expected);
    for (size_t i = 0; i < kSequences; ++i) {
      RC_ASSERT(together->image(ids[i]) == alone[i]->image(alone_ids[i]));
    }
  }
}

namespace {

// What is sealed, by the names of the reference's layout.
using Runs = std::map<std::string, std::vector<std::byte>>;

Runs sealed_runs(const Subject& subject, const LayerCache& cache, SeqId seq) {
  const auto image = cache.image(seq);
  const auto reference = ref::make_cache(Descriptor::parse(subject.descriptor), cache.config());
  Runs runs;
  for (const LayoutEntry& entry :
       reference->layout_of(reference->restore(cache.length(seq), image))) {
    if (entry.item == Item::kExact) continue;
    const auto first = image.begin() + entry.offset;
    runs[entry.name].assign(first, first + entry.bytes);
  }
  return runs;
}

}  // namespace

void prefix_stability(const Subject& subject) {
  const Make fresh = drawn(subject);
  const Input input = random_input(subject, random_length());
  const auto cache = fresh();
  const SeqId seq = cache->open();
  Runs before = sealed_runs(subject, *cache, seq);
  int64_t length = 0;
  for (const int64_t count : random_chunks(input.k.tokens)) {
    test::append(*cache, seq, input.k, input.v, length, count);
    length += count;
    Runs after = sealed_runs(subject, *cache, seq);
    for (const auto& [name, bytes] : before) {
      const std::vector<std::byte>& now = after[name];
      RC_ASSERT(bytes.size() <= now.size());
      RC_ASSERT(std::equal(bytes.begin(), bytes.end(), now.begin()));
    }
    before = std::move(after);
  }
}

void forks_are_independent(const Subject& subject) {
  const Make fresh = drawn(subject);
  const int64_t shared = random_length();
  const int64_t more = *rc::gen::inRange<int64_t>(1, 70).as("tokens after the fork");
  const Input left = random_input(subject, shared + more);
  Input right = random_input(subject, shared + more);
  for (auto [to, from] : {std::pair(&right.k, &left.k), std::pair(&right.v, &left.v)}) {
    std::copy_n(from->values.begin(), shared * kHeads * kDim, to->values.begin());
  }
  const auto cache = fresh();
  const SeqId a = cache->open();
  test::append(*cache, a, left.k, left.v, 0, shared);
  const SeqId b = cache->fork(a);
  RC_ASSERT(cache->image(b) == cache->image(a));
  const auto lone = fresh();
  for (const auto& [seq, input] : {std::pair<SeqId, const Input*>(b, &right), {a, &left}}) {
    const SeqId expected = lone->open();
    test::append(*lone, expected, input->k, input->v, 0, shared);
    RC_ASSERT(feed(*cache, seq, *input, shared, more) ==
              feed(*lone, expected, *input, shared, more));
    RC_ASSERT(cache->image(seq) == lone->image(expected));
  }
  const auto image = cache->image(b);
  cache->close(a);
  RC_ASSERT(cache->image(b) == image);
}

void truncating_gives_a_fresh_cache_or_a_refusal(const Subject& subject) {
  const Make fresh = drawn(subject);
  const Input input = random_input(subject, random_length(1));
  const int64_t tokens = input.k.tokens;
  const int64_t length = *rc::gen::inRange<int64_t>(0, tokens + 1).as("truncated to");
  const auto cache = fresh();
  const SeqId seq = cache->open();
  test::append(*cache, seq, input.k, input.v, 0, tokens);
  const auto shorter = fresh();
  const SeqId expected = shorter->open();
  test::append(*shorter, expected, input.k, input.v, 0, length);

  const auto sealed = [](const LayerCache& c, SeqId s, Side side) {
    const ReadMap map = c.held(s, side);
    return map.empty() || map[0].held == Held::kExact ? int64_t{0} : map[0].count;
  };
  bool possible = true;  // no token is sealed that would be exact
  for (const Side side : kSides) {
    possible =
        possible && std::min(length, sealed(*cache, seq, side)) <= sealed(*shorter, expected, side);
  }
  const auto image = cache->image(seq);
  try {
    cache->truncate(seq, length);
    RC_ASSERT(possible);
  } catch (const Error& error) {
    RC_ASSERT(!possible);
    RC_ASSERT(error.exit() == Exit::kUsage);
    RC_ASSERT(cache->image(seq) == image);
    RC_ASSERT(cache->length(seq) == tokens);
    return;
  }
  RC_ASSERT(cache->length(seq) == length);
  RC_ASSERT(cache->image(seq) == shorter->image(expected));
  const int64_t rest = tokens - length;
  if (rest == 0) return;
  RC_ASSERT(feed(*cache, seq, input, length, rest) ==
            feed(*shorter, expected, input, length, rest));
  RC_ASSERT(cache->image(seq) == image);
}

}  // namespace kvx::laws
