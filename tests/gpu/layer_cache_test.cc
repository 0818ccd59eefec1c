// Device caches against the reference, for every descriptor of the laws: the same calls give the
// same bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <limits>
#include <string>
#include <thread>
#include <tuple>
#include <vector>

#include "tests/gpu/absent.h"
#include "tests/gpu/device_caches.h"
#include "tests/laws/cases.h"

namespace kvx::test {
namespace {

constexpr int kHeads = 2, kQueries = 4, kDim = 64;

struct Rows3 {
  Tensor q, k, v;
};

Rows3 rows_of(gen::Fill fill, uint64_t seed, int64_t tokens, int heads = kHeads,
              int queries = kQueries, int dim = kDim) {
  return {filled(gen::Fill::kNormal, seed, 0, tokens, queries, dim),
          filled(fill, seed, 1, tokens, heads, dim), filled(fill, seed, 2, tokens, heads, dim)};
}

Tensor slice(const Tensor& from, int64_t first, int64_t count) {
  Tensor part(count, from.heads, from.dim);
  std::copy_n(from.values.begin() + first * from.heads * from.dim, part.values.size(),
              part.values.begin());
  return part;
}

void add(Tensor& to, const Tensor& from, int64_t first, int64_t count) {
  const Tensor part = slice(from, first, count);
  to.tokens += count;
  to.values.insert(to.values.end(), part.values.begin(), part.values.end());
}

void feed(CachePair& pair, SeqId seq, const Rows3& rows, int64_t first, int64_t count) {
  const Span span{.seq = seq, .first = pair.device->length(seq), .count = count};
  pair.feed(slice(rows.q, first, count), slice(rows.k, first, count), slice(rows.v, first, count),
            {&span, 1});
}

std::string name_of(std::string descriptor) {
  std::replace_if(
      descriptor.begin(), descriptor.end(),
      [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return descriptor;
}

class DeviceCache : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (const std::string reason = absent_on_device(GetParam()); !reason.empty())
      GTEST_SKIP() << reason;
  }
  PairConfig config() const { return {.descriptor = GetParam()}; }
};

INSTANTIATE_TEST_SUITE_P(, DeviceCache, testing::ValuesIn(laws::kCases),
                         [](const auto& tested) { return name_of(tested.param); });

TEST_P(DeviceCache, EmptySequence) {
  CachePair pair(config());
  pair.expect_same(pair.open(), "nothing appended");
}

TEST_P(DeviceCache, Chunks) {
  using gen::Fill;
  const std::vector<int64_t> chunkings[] = {
      {1, 1, 1, 30, 1, 33, 64, 2, 128, 5, 11, 129, 1, 1},
      {257, 31, 100, 1, 20},
      {12, 12, 16, 8, 32, 64, 1, 127},
  };
  const Fill fills[] = {Fill::kNormal, Fill::kF16Extreme, Fill::kRopeKeys};
  for (const Windows windows : {Windows::kKept, Windows::kNone}) {
    for (size_t i = 0; i < 3; ++i) {
      SCOPED_TRACE((windows == Windows::kKept ? "windows, chunking " : "no windows, chunking ") +
                   std::to_string(i));
      PairConfig c = config();
      c.windows = windows;
      CachePair pair(c);
      const SeqId seq = pair.open();
      int64_t length = 0;
      for (const int64_t count : chunkings[i]) length += count;
      const Rows3 rows = rows_of(fills[i], 17 + i, length);
      length = 0;
      for (const int64_t count : chunkings[i]) {
        feed(pair, seq, rows, length, count);
        length += count;
        pair.expect_same(seq, "after " + std::to_string(length) + " tokens");
        if (count % 2 == 0) {
          pair.device->settle(seq);
          pair.reference->settle(seq);
          pair.expect_same(seq, "settled after " + std::to_string(length) + " tokens");
        }
        if (HasFailure()) return;
      }
    }
  }
}

TEST_P(DeviceCache, EveryFill) {
  using gen::Fill;
  for (const Fill fill : {Fill::kHeavy, Fill::kConstant, Fill::kTies, Fill::kF16Ties, Fill::kZeros,
                          Fill::kF16Subnormal, Fill::kF32Subnormal, Fill::kF16Extreme}) {
    SCOPED_TRACE(gen::fill_name(fill));
    CachePair pair(config());
    const SeqId seq = pair.open();
    const Rows3 rows = rows_of(fill, 5, 150);
    feed(pair, seq, rows, 0, 140);
    feed(pair, seq, rows, 140, 10);
    pair.expect_same(seq, "after 150 tokens");
    if (HasFailure()) return;
  }
}

TEST_P(DeviceCache, SeveralSequences) {
  CachePair pair(config());
  constexpr size_t kSequences = 5;
  const int64_t counts[][kSequences] = {
      {3, 0, 200, 40, 1}, {130, 7, 1, 0, 1}, {1, 1, 1, 1, 1}, {64, 300, 0, 33, 2}};
  std::vector<Rows3> rows;
  std::vector<SeqId> ids;
  for (size_t i = 0; i < kSequences; ++i) {
    rows.push_back(rows_of(gen::Fill::kNormal, 100 + i, 320));
    ids.push_back(pair.open());
  }
  for (const auto& pass : counts) {
    Rows3 all{Tensor(0, kQueries, kDim), Tensor(0, kHeads, kDim), Tensor(0, kHeads, kDim)};
    std::vector<Span> spans;
    for (size_t i = 0; i < kSequences; ++i) {
      const int64_t first = pair.device->length(ids[i]);
      spans.push_back({.seq = ids[i], .first = first, .count = pass[i]});
      add(all.q, rows[i].q, first, pass[i]);
      add(all.k, rows[i].k, first, pass[i]);
      add(all.v, rows[i].v, first, pass[i]);
    }
    pair.feed(all.q, all.k, all.v, spans);
    for (const SeqId seq : ids) pair.expect_same(seq, "sequence " + std::to_string(seq));
    if (HasFailure()) return;
  }

  // Some of the last append's queries: of two sequences, the second first, without their ends; the
  // same when another sequence has settled.
  const std::vector<Span> some = {
      {.seq = ids[3], .first = pair.device->length(ids[3]) - 20, .count = 7},
      {.seq = ids[0], .first = pair.device->length(ids[0]) - 64, .count = 1}};
  const Tensor q = filled(gen::Fill::kNormal, 3, 9, 8, kQueries, kDim);
  pair.expect_same_attention(q, some);
  pair.device->settle(ids[1]);
  pair.reference->settle(ids[1]);
  pair.expect_same_attention(q, some);
  pair.device->close(ids[4]);
  pair.reference->close(ids[4]);
  pair.expect_same_attention(q, some);
  for (const SeqId seq : {ids[0], ids[1], ids[2], ids[3]}) pair.expect_same(seq, "at the end");
  EXPECT_EQ(thrown([&] { pair.device->reads(ids[1], Side::kK, pair.device->length(ids[1]) - 1); }),
            "logic error");
}

TEST_P(DeviceCache, ForksAndCuts) {
  CachePair pair(config());
  const Rows3 left = rows_of(gen::Fill::kNormal, 7, 900),
              right = rows_of(gen::Fill::kHeavy, 8, 900);
  const SeqId a = pair.open();
  feed(pair, a, left, 0, 500);
  feed(pair, a, left, 500, 90);
  const SeqId b = pair.fork(a);  // while the last append is not settled
  pair.expect_same_reads(a, 500);
  pair.expect_same(b, "a fork");
  feed(pair, b, right, 0, 70);
  feed(pair, a, left, 590, 3);
  pair.expect_same(a, "the parent, after both went on");
  pair.expect_same(b, "the fork, after both went on");
  const SeqId c = pair.fork(b);
  for (const int64_t length : {655, 640, 576, 512, 300, 100, 96, 1, 0}) {
    const std::string when = "cut to " + std::to_string(length);
    pair.both([&](LayerCache& cache) { cache.truncate(c, length); }, when.c_str());
    pair.expect_same(c, when);
    if (HasFailure()) return;
    const SeqId d = pair.fork(c);
    feed(pair, d, right, 100, 140);  // into pages that were shared
    pair.expect_same(d, when + " and gone on");
    pair.expect_same(a, "the first, after another was " + when);
    pair.expect_same(b, "the second, after another was " + when);
    pair.device->close(d);
    pair.reference->close(d);
    if (HasFailure()) return;
  }
  pair.both([&](LayerCache& cache) { cache.truncate(a, 594); }, "longer");
  pair.both([&](LayerCache& cache) { cache.truncate(a, -1); }, "negative");
  pair.device->close(a);
  pair.reference->close(a);
  feed(pair, b, left, 0, 50);
  pair.expect_same(b, "after its parent was closed");
  pair.expect_same(c, "after its parents' parent was closed");
}

TEST_P(DeviceCache, RefusesWhatIsNotFinite) {
  CachePair pair(config());
  const SeqId a = pair.open(), b = pair.open();
  const Rows3 good = rows_of(gen::Fill::kNormal, 1, 100);
  feed(pair, a, good, 0, 40);
  const float inf = std::numeric_limits<float>::infinity();
  struct Bad {
    int side;
    int64_t row;
    int head, channel;
    float value;
  };
  for (const Bad& bad : {Bad{0, 0, 0, 0, inf}, Bad{1, 32, 1, 63, -inf}, Bad{0, 12, 1, 5, NAN},
                         Bad{1, 11, 0, 8, 65520.0f}, Bad{0, 32, 1, 63, -3.4e38f}}) {
    Rows3 rows = rows_of(gen::Fill::kNormal, 2, 33);
    Tensor& x = bad.side == 0 ? rows.k : rows.v;
    x.view().row(bad.row, bad.head)[bad.channel] = bad.value;
    const std::vector<Span> spans = {{.seq = b, .first = pair.device->length(b), .count = 12},
                                     {.seq = a, .first = pair.device->length(a), .count = 21}};
    // Finite in the wider input types: then it is appended, and the next round goes on from there.
    pair.feed(rows.q, rows.k, rows.v, spans);
    pair.expect_same(a, "the second of the spans");
    pair.expect_same(b, "the first of the spans");
    if (HasFailure()) return;
  }
}

TEST_P(DeviceCache, LetsThroughWhatIsNotFinite) {
  PairConfig c = config();
  c.nonfinite = NonFinite::kPropagate;
  CachePair pair(c);
  const SeqId seq = pair.open();
  for (const gen::Fill fill : {gen::Fill::kNormal, gen::Fill::kHeavy}) {
    Rows3 rows = rows_of(fill, 4, 170);
    const float inf = std::numeric_limits<float>::infinity();
    rows.k.view().row(3, 0)[7] = inf;
    rows.k.view().row(40, 1)[0] = -inf;
    rows.k.view().row(77, 0)[33] = NAN;
    rows.v.view().row(5, 1)[63] = NAN;
    rows.v.view().row(90, 0)[1] = inf;
    rows.v.view().row(169, 1)[40] = -inf;
    rows.v.view().row(168, 1)[40] = 70000.0f;
    feed(pair, seq, rows, 0, 60);
    feed(pair, seq, rows, 60, 110);
    pair.expect_same(seq, gen::fill_name(fill));
  }
}

TEST_P(DeviceCache, OtherShapes) {
  struct Shape {
    int heads, queries, dim;
  };
  for (const Shape& s : {Shape{1, 7, 128}, Shape{3, 3, 192}, Shape{2, 28, 256}}) {
    if (std::string(GetParam()).find("scale=head") != std::string::npos && s.heads != 2) continue;
    SCOPED_TRACE(std::to_string(s.heads) + " heads of " + std::to_string(s.dim));
    PairConfig c = config();
    c.kv_heads = s.heads;
    c.head_dim = s.dim;
    CachePair pair(c);
    const SeqId seq = pair.open();
    const Rows3 rows = rows_of(gen::Fill::kNormal, 6, 280, s.heads, s.queries, s.dim);
    feed(pair, seq, rows, 0, 259);
    feed(pair, seq, rows, 259, 1);
    feed(pair, seq, rows, 260, 20);
    pair.expect_same(seq, "after 280 tokens");
  }
}

TEST_P(DeviceCache, ReadersMayRunOnSeveralThreads) {
  CachePair pair(config());
  const SeqId seq = pair.open();
  const Rows3 rows = rows_of(gen::Fill::kNormal, 11, 200);
  feed(pair, seq, rows, 0, 170);
  feed(pair, seq, rows, 170, 30);
  const Span span{.seq = seq, .first = 170, .count = 30};
  const Tensor q = slice(rows.q, 170, 30);
  const auto all = [&](const LayerCache& cache) {
    Tensor out(30, kQueries, kDim);
    cache.attend(q.view(), {&span, 1}, out.view());
    return std::tuple(patterns(out.values), cache.image(seq),
                      patterns(read_held(cache, seq, Side::kK)),
                      patterns(read_held(cache, seq, Side::kV)));
  };
  const auto expected = all(*pair.reference);
  std::atomic<int> different = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int round = 0; round < 8; ++round) different += all(*pair.device) != expected;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(different, 0);
}

TEST_P(DeviceCache, WrongCallsAreLogicErrors) {
  CachePair pair(config());
  const SeqId a = pair.open(), b = pair.open();
  const Rows3 rows = rows_of(gen::Fill::kNormal, 9, 40);
  feed(pair, a, rows, 0, 40);
  Tensor out(40, kQueries, kDim), part(39, kQueries, kDim);
  Tensor values(10, kHeads, kDim);
  const Span whole{.seq = a, .first = 0, .count = 40}, again{.seq = a, .first = 39, .count = 40};
  const Span other{.seq = b, .first = 0, .count = 40};
  const auto wrong = [&](const char* what, const auto& call) {
    EXPECT_EQ(thrown([&] { call(*pair.device); }), "logic error") << what;
  };
  wrong("a span before the end", [&](LayerCache& c) {
    c.append(rows.k.view(), rows.v.view(), {&again, 1});
  });
  wrong("rows of another number of heads", [&](LayerCache& c) {
    c.append(rows.q.view(), rows.v.view(), {&whole, 1});
  });
  wrong("queries of no append", [&](LayerCache& c) {
    c.attend(rows.q.view(), {&other, 1}, out.view());
  });
  wrong("outputs of another shape", [&](LayerCache& c) {
    c.attend(rows.q.view(), {&whole, 1}, part.view());
  });
  wrong("rows that do not exist", [&](LayerCache& c) {
    c.read(a, Side::kK, {35, 10, Held::kSealed}, values.view());
  });
  wrong("exact rows that do not exist", [&](LayerCache& c) {
    c.read(a, Side::kV, {35, 10, Held::kExact}, values.view());
  });
  wrong("a query that was not", [&](LayerCache& c) { c.reads(a, Side::kK, 40); });
  wrong("no such sequence", [&](LayerCache& c) { c.settle(b + 1); });
  wrong("closed twice", [&](LayerCache& c) { c.close(b), c.close(b); });
}

}  // namespace
}  // namespace kvx::test
