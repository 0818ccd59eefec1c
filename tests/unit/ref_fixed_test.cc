// Caches under arithmetic `fixed`: attention equals the definition over heads that are built here,
// by the pages, from canonical tensors and from the rows that were given.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "sim/api/error.h"
#include "sim/api/forwarding_cache.h"
#include "sim/num/fixed_cache.h"
#include "tests/support/caches.h"
#include "tests/support/fixed_case.h"

namespace kvx {
namespace {

using num::fixed::Along;
using num::fixed::RowRead;
using test::FixedSide;
using test::Tensor;

constexpr int kHeads = 2, kQueries = 6;

std::unique_ptr<StoredCache> make_fixed(const std::string& descriptor, int dim,
                                        Windows windows = Windows::kKept) {
  return test::make(descriptor, kHeads, dim, windows, NonFinite::kRefuse, Arithmetic::kFixed);
}

// Rows that the query at a position reads sealed.
using Split = std::function<int64_t(int64_t)>;

struct Page {
  std::string descriptor;
  int dim;
  Along k_along;
  int k_group, v_group;
  int k_bits, v_bits;  // 0: with a stored zero, of code * s + z; -1: of code * s - z; b: symmetric
  Split k_sealed, v_sealed;
};
void PrintTo(const Page& page, std::ostream* out) {
  *out << page.descriptor << " dim " << page.dim;
}

Split whole(int64_t block, int64_t plus) {
  return [=](int64_t t) { return (t + plus) / block * block; };
}
Split outside(int64_t window, int64_t plus) {
  return [=](int64_t t) { return std::max<int64_t>(0, t + plus - window); };
}

// ref/kivi.md and ref/int.md, "What is sealed when".
const Page kPages[] = {
    {"kivi:k2v4,r32", 64, Along::kTokens, 32, 32, 0, 0, whole(32, 0), outside(32, 0)},
    {"kivi:k4v2,r0", 64, Along::kTokens, 32, 32, 0, 0, whole(32, 0), outside(0, 0)},
    {"kivi:k8v8,g64,r64,profile=paper", 128, Along::kTokens, 64, 64, 0, 0, whole(64, 1),
     outside(64, 1)},
    {"int:k4v3", 64, Along::kChannels, 64, 64, -1, -1, whole(1, 1), whole(1, 1)},
    {"int:k3v8,g16", 32, Along::kChannels, 16, 16, -1, -1, whole(1, 1), whole(1, 1)},
    {"int:k4v2,kaxis=channel", 128, Along::kTokens, 32, 128, -1, -1, whole(32, 1), whole(1, 1)},
    {"int:k3v2,kaxis=channel,g32,sym", 64, Along::kTokens, 32, 32, 3, 2, whole(32, 1), whole(1, 1)},
    {"int:k8v8,sym", 64, Along::kChannels, 64, 64, 8, 8, whole(1, 1), whole(1, 1)},
};

// One head of one side out of canonical tensors [heads][tokens][dim] and [heads][groups][metadata].
FixedSide side_of(const std::map<std::string, test::Exported>& tensors, const std::string& prefix,
                  const Page& page, int head) {
  const bool is_k = prefix == "k.";
  const int kind = is_k ? page.k_bits : page.v_bits;
  FixedSide side;
  side.along = is_k ? page.k_along : Along::kChannels;
  side.group = is_k ? page.k_group : page.v_group;
  const auto part = [head](const auto& all) {
    const auto size = std::ssize(all) / kHeads;
    return std::vector(all.begin() + head * size, all.begin() + (head + 1) * size);
  };
  side.codes = part(tensors.at(prefix + "codes").as<uint8_t>());
  side.scale = test::from_f16(part(tensors.at(prefix + "scale").as<uint16_t>()));
  if (kind <= 0) {
    side.zero = test::from_f16(part(tensors.at(prefix + "zero").as<uint16_t>()));
    for (float& zero : side.zero) zero = kind < 0 ? -zero : zero;
    return side;
  }
  const int half = 1 << (kind - 1);
  for (uint8_t& code : side.codes) code = static_cast<uint8_t>((code + half) % (2 * half));
  for (const float scale : side.scale) side.zero.push_back(static_cast<float>(-half) * scale);
  return side;
}

num::fixed::Sealed sealed(const FixedSide& side) {
  return side.scale.empty() ? num::fixed::Sealed{} : side.view();
}

std::vector<float> head_rows(const Tensor& rows, int head) {
  std::vector<float> out;
  for (int64_t t = 0; t < rows.tokens; ++t)
    for (int j = 0; j < rows.dim; ++j) out.push_back(num::f16_round(rows.view().row(t, head)[j]));
  return out;
}

std::vector<RowRead> reads(int64_t sealed, int64_t position, const std::vector<float>& exact,
                           int dim) {
  std::vector<RowRead> rows;
  if (sealed > 0) rows.push_back({.first = 0, .count = sealed});
  if (sealed <= position)
    rows.push_back({sealed, position + 1 - sealed, exact.data() + sealed * dim});
  return rows;
}

class FixedCaches : public testing::TestWithParam<Page> {};

TEST_P(FixedCaches, AttendToWhatThePageSays) {
  const Page& page = GetParam();
  const auto cache = make_fixed(page.descriptor, page.dim);
  const SeqId seq = cache->open();
  const int64_t lengths[] = {1, 40, 63, 64, 65, 200, 203};
  const Tensor k = test::filled(gen::Fill::kRopeKeys, 3, 1, 203, kHeads, page.dim);
  const Tensor v = test::filled(gen::Fill::kHeavy, 3, 2, 203, kHeads, page.dim);
  const Tensor q = test::filled(gen::Fill::kNormal, 3, 0, 203, kQueries, page.dim);
  int64_t first = 0;
  for (const int64_t length : lengths) {
    test::append(*cache, seq, k, v, first, length - first);
    const Span span{.seq = seq, .first = first, .count = length - first};
    Tensor found(span.count, kQueries, page.dim), fast = found;
    cache->attend(q.view().slice(first, span.count), {&span, 1}, found.view());
    num::fixed::attend(*cache, q.view().slice(first, span.count), {&span, 1}, fast.view(),
                       num::fixed::attend);
    ASSERT_EQ(test::patterns(found.values), test::patterns(fast.values)) << length;
    const auto tensors = test::exported(*cache, seq);
    for (int head = 0; head < kHeads; ++head) {
      const FixedSide k_side = side_of(tensors, "k.", page, head);
      const FixedSide v_side = side_of(tensors, "v.", page, head);
      const std::vector<float> k_rows = head_rows(k, head), v_rows = head_rows(v, head);
      for (int64_t t = first; t < length; ++t) {
        const auto k_reads = reads(page.k_sealed(t), t, k_rows, page.dim);
        const auto v_reads = reads(page.v_sealed(t), t, v_rows, page.dim);
        for (int h = head * 3; h < head * 3 + 3; ++h) {
          std::vector<float> expected(static_cast<size_t>(page.dim));
          const num::fixed::Query query{q.view().row(t, h), k_reads, v_reads, expected.data()};
          num::fixed::plain::attend({page.dim, sealed(k_side), sealed(v_side)}, {&query, 1});
          const float* row = found.view().row(t - first, h);
          ASSERT_EQ(test::patterns(expected), test::patterns({row, row + page.dim}))
              << "token " << t << ", head " << h;
        }
      }
    }
    first = length;
  }
}

TEST_P(FixedCaches, ContentIsThatOfTheOtherArithmetic) {
  const Page& page = GetParam();
  const auto fixed = make_fixed(page.descriptor, page.dim);
  const auto ieee = test::make(page.descriptor, kHeads, page.dim);
  const Tensor k = test::filled(gen::Fill::kTies, 4, 1, 150, kHeads, page.dim);
  const Tensor v = test::filled(gen::Fill::kHeavy, 4, 2, 150, kHeads, page.dim);
  const SeqId a = fixed->open(), b = ieee->open();
  test::append(*fixed, a, k, v, 0, 150);
  test::append(*ieee, b, k, v, 0, 150);
  EXPECT_EQ(fixed->image(a), ieee->image(b));
}

// Forked, cut, restored and imported content is unpacked as appended content is.
TEST_P(FixedCaches, EveryWayToContentGivesTheSameAttention) {
  const Page& page = GetParam();
  const Tensor k = test::filled(gen::Fill::kNormal, 5, 1, 130, kHeads, page.dim);
  const Tensor v = test::filled(gen::Fill::kNormal, 5, 2, 130, kHeads, page.dim);
  const Tensor q = test::filled(gen::Fill::kNormal, 5, 0, 130, kQueries, page.dim);
  const auto cache = make_fixed(page.descriptor, page.dim);
  const auto next = [&](SeqId seq) {  // token 128
    test::append(*cache, seq, k, v, 128, 1);
    const Span span{.seq = seq, .first = 128, .count = 1};
    Tensor out(1, kQueries, page.dim);
    cache->attend(q.view().slice(128, 1), {&span, 1}, out.view());
    return test::patterns(out.values);
  };
  const SeqId seq = cache->open();
  test::append(*cache, seq, k, v, 0, 128);
  const SeqId fork = cache->fork(seq), other = cache->fork(seq);
  const SeqId restored = cache->restore(128, cache->image(seq));
  const auto tensors = test::exported(*cache, seq);
  std::map<std::string, ArtifactTensor> held;
  for (const auto& [name, tensor] : tensors)
    held[name] = {tensor.dtype, tensor.shape, tensor.bytes};
  const SeqId imported = cache->import_from(128, [&](const std::string& name) {
    const auto found = held.find(name);
    return found == held.end() ? nullptr : &found->second;
  });
  test::append(*cache, other, v, k, 128, 2);  // of a fork, seen by no other
  const auto expected = next(seq);
  EXPECT_EQ(next(fork), expected);
  EXPECT_EQ(next(restored), expected);
  EXPECT_EQ(next(imported), expected);
  if (page.v_sealed(128) < 128) return;  // a window's row may not come back
  cache->truncate(seq, 128);
  EXPECT_EQ(next(seq), expected);
}

INSTANTIATE_TEST_SUITE_P(, FixedCaches, testing::ValuesIn(kPages));

// A cache with a sink and a hole: keys 0 .. 2 and the newest two exact, rows 10 .. 19 not read.
class SinkAndHole final : public ForwardingCache<LayerCache> {
 public:
  SinkAndHole(std::unique_ptr<LayerCache> cache, const Tensor& k)
      : ForwardingCache(std::move(cache)), k_(k) {}
  ReadMap reads(SeqId, Side side, int64_t query) const override {
    if (side == Side::kV) return {{0, 10, Held::kSealed}, {20, query - 19, Held::kSealed}};
    return {{0, 3, Held::kExact},
            {3, 7, Held::kSealed},
            {20, query - 21, Held::kSealed},
            {query - 1, 2, Held::kExact}};
  }
  void read(SeqId, Side side, RowRange range, Rows out) const override {
    ASSERT_EQ(side, Side::kK);
    ASSERT_EQ(range.held, Held::kExact);
    for (int64_t t = 0; t < range.count; ++t)
      for (int h = 0; h < out.heads; ++h)
        std::copy_n(k_.view().row(range.first + t, h), out.dim, out.row(t, h));
  }

 private:
  const Tensor& k_;
};

TEST(FixedReads, FollowTheMapWhateverItsForm) {
  constexpr int kDim = 32;
  constexpr int64_t kRows = 150, kFirst = 40;
  const Tensor k = test::filled(gen::Fill::kNormal, 6, 1, kRows, kHeads, kDim);
  const Tensor v = test::filled(gen::Fill::kNormal, 6, 2, kRows, kHeads, kDim);
  const Tensor q = test::filled(gen::Fill::kNormal, 6, 0, kRows, kQueries, kDim);
  SinkAndHole cache(make_fixed("int:k4v4", kDim), k);
  const SeqId seq = cache.open();
  test::append(cache, seq, k, v, 0, kRows);
  const auto tensors = test::exported(cache, seq);
  const Span span{.seq = seq, .first = kFirst, .count = kRows - kFirst};
  Page page = kPages[3];  // int too
  page.k_group = page.v_group = kDim;
  Tensor found(span.count, kQueries, kDim);
  num::fixed::attend(cache, q.view().slice(kFirst, span.count), {&span, 1}, found.view(),
                     num::fixed::attend);
  for (int h = 0; h < kQueries; ++h) {
    const int head = h / 3;
    const FixedSide k_side = side_of(tensors, "k.", page, head);
    const FixedSide v_side = side_of(tensors, "v.", page, head);
    std::vector<float> rows;
    for (int64_t t = 0; t < kRows; ++t)
      rows.insert(rows.end(), k.view().row(t, head), k.view().row(t, head) + kDim);
    for (int64_t t = kFirst; t < kRows; ++t) {
      const RowRead k_reads[] = {{0, 3, rows.data()},
                                 {3, 7, nullptr},
                                 {20, t - 21, nullptr},
                                 {t - 1, 2, rows.data() + (t - 1) * kDim}};
      const RowRead v_reads[] = {{0, 10, nullptr}, {20, t - 19, nullptr}};
      std::vector<float> expected(kDim);
      const num::fixed::Query query{q.view().row(t, h), k_reads, v_reads, expected.data()};
      num::fixed::plain::attend({kDim, k_side.view(), v_side.view()}, {&query, 1});
      const float* row = found.view().row(t - kFirst, h);
      ASSERT_EQ(test::patterns(expected), test::patterns({row, row + kDim})) << t << " " << h;
    }
  }
}

std::string refusal(const std::string& descriptor, int dim = 64,
                    NonFinite nonfinite = NonFinite::kRefuse) {
  try {
    test::make(descriptor, 2, dim, Windows::kKept, nonfinite, Arithmetic::kFixed);
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), Exit::kUsage);
    return error.what();
  }
  return "";
}

TEST(FixedRefusals, NameDescriptorAndReason) {
  EXPECT_EQ(refusal("fp:f16"), "fp:f16 has no arithmetic fixed: it has no codes");
  EXPECT_EQ(refusal("fp8:e4m3"), "fp8:e4m3 has no arithmetic fixed: its codes are floats");
  EXPECT_EQ(refusal("ggml:q4_0"),
            "ggml:q4_0 has no arithmetic fixed: scales of its block formats may be negative");
  EXPECT_EQ(refusal("kvquant:int2,kaxis=token,rope=post"),
            "kvquant:int2,kaxis=token,rope=post has no arithmetic fixed: its codes are places in a "
            "codebook");
  EXPECT_EQ(refusal("int:k4v4,vaxis=channel"),
            "int:k4v4,vaxis=channel has no arithmetic fixed: its groups of V lie along tokens");
  EXPECT_EQ(refusal("int:k4v4", 320),
            "int:k4v4 has no arithmetic fixed: the head dim 320 is above 256");
  EXPECT_EQ(refusal("kivi:k2v2", 64, NonFinite::kPropagate),
            "kivi:k2v2 has no arithmetic fixed: its numbers are finite, and others are to be let "
            "through");
  EXPECT_EQ(refusal("int:k4v4", 256), "");
}

// ref/kivi.md: a range of 65520 and more has an infinite scale.
TEST(FixedRefusals, AScaleThatIsNotFiniteIsNamedAndNothingIsAppended) {
  const auto cache = make_fixed("kivi:k2v2,r0", 64);
  const SeqId a = cache->open(), b = cache->open();
  const Tensor good = test::filled(gen::Fill::kNormal, 5, 1, 64, kHeads, 64);
  test::append(*cache, a, good, good, 0, 20);
  const auto image = cache->image(a);
  Tensor v = good;
  v.view().row(63, 1)[33] = 65504.0f;  // the last token of b
  v.view().row(63, 1)[40] = -65504.0f;
  const Span spans[] = {{.seq = a, .first = 20, .count = 14}, {.seq = b, .first = 0, .count = 50}};
  const auto append = [&](const Tensor& rows) { cache->append(good.view(), rows.view(), spans); };
  try {
    append(v);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), Exit::kEnvironment);
    EXPECT_STREQ(
        error.what(),
        "layer 3, v, head 1, token 49, channel 32: the scale of their group is not finite, "
        "and arithmetic fixed cannot read it");
  }
  EXPECT_EQ(cache->image(a), image);
  EXPECT_EQ(cache->length(b), 0);
  append(good);
  EXPECT_EQ(cache->length(a), 34);
  EXPECT_EQ(cache->affine(a, Side::kK, 0).along_tokens, true);
}

TEST(FixedRefusals, AQueryThatIsNotFiniteIsNamed) {
  const auto cache = make_fixed("int:k4v4", 64);
  const SeqId seq = cache->open();
  const Tensor x = test::filled(gen::Fill::kNormal, 5, 1, 3, kHeads, 64);
  test::append(*cache, seq, x, x, 0, 3);
  Tensor q = test::filled(gen::Fill::kNormal, 5, 0, 3, kQueries, 64), out = q;
  const Span span{.seq = seq, .first = 0, .count = 3};
  for (const float bad : {INFINITY, 0x1.000002p+64f, NAN}) {
    q.view().row(2, 5)[7] = bad;
    try {
      cache->attend(q.view(), {&span, 1}, out.view());
      FAIL();
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("layer 3, q, head 5, token 2, channel 7: "), 0u)
          << error.what();
    }
  }
  q.view().row(2, 5)[7] = 0x1p+64f;
  cache->attend(q.view(), {&span, 1}, out.view());
}

}  // namespace
}  // namespace kvx
