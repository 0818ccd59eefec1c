// The laws that traits claim, for every registered scheme: kCases must name descriptors that set
// every key.
#include <gtest/gtest.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>

#include "sim/api/error.h"
#include "sim/num/attention.h"
#include "sim/num/minifloat.h"
#include "tests/support/caches.h"
#include "tests/support/property.h"

namespace kvx {
namespace {

using test::Tensor;

[[maybe_unused]] const bool kFixed = test::fix_properties("seed=20240131 max_success=25");

constexpr const char* kCases[] = {
    "fp:f32",
    "fp:f16",
    "fp:bf16",
    "int:k4v4",
    "int:k2v8,g16",
    "int:k3v5,g8,sym",
    "int:k6v7,kaxis=channel",
    "int:k4v3,kaxis=channel,vaxis=channel,g12",
    "int:k2v2,vaxis=channel,g16,sym",
    "kivi:k2v2,r32",
    "kivi:k2v4",
    "kivi:k4v2,r0",
    "kivi:k8v4,g64,r64",
    "kivi:k2v8,r64,profile=paper",
    "kivi:k4v4,r0,profile=paper",
    "fp8:e4m3",
    "fp8:e5m2,scale=token",
    "fp8:e4m3,scale=token",
    "fp8:e5m2,scale=tensor,cal=#11111111",
    "fp8:e4m3,scale=head,cal=#22222222",
    "ggml:q8_0",
    "ggml:q5_1",
    "ggml:q5_0",
    "ggml:q4_1",
    "ggml:q4_0",
};
constexpr int kHeads = 2;    // KV heads
constexpr int kQueries = 4;  // query heads
constexpr int kDim = 64;
constexpr Side kSides[] = {Side::kK, Side::kV};

TEST(LawTable, CoversEverySchemeAndKey) {
  for (const SchemeSchema& schema : schemes()) {
    for (const KeySpec& key : schema.keys) {
      const bool set = std::any_of(std::begin(kCases), std::end(kCases), [&](const char* text) {
        const auto descriptor = Descriptor::parse(text);
        return descriptor.name() == schema.name && descriptor.get_word(key.name) != key.fallback;
      });
      EXPECT_TRUE(set) << schema.name << ": no case sets " << key.name;
    }
  }
}

// Inputs of one random case.
struct Input {
  Tensor q, k, v;
  explicit Input(int64_t tokens, gen::Fill fill = gen::Fill::kNormal, uint64_t seed = 0)
      : q(test::filled(gen::Fill::kNormal, seed, 0, tokens, kQueries, kDim)),
        k(test::filled(fill, seed, 1, tokens, kHeads, kDim)),
        v(test::filled(fill, seed, 2, tokens, kHeads, kDim)) {}
};

Input random_input(int64_t tokens) {
  using gen::Fill;
  // All that stay finite in every input type.
  const auto fill = *rc::gen::element(Fill::kNormal, Fill::kHeavy, Fill::kRopeKeys, Fill::kConstant,
                                      Fill::kTies, Fill::kF16Ties, Fill::kZeros,
                                      Fill::kF16Subnormal, Fill::kF32Subnormal, Fill::kF16Extreme);
  return Input(tokens, fill, *rc::gen::arbitrary<uint64_t>());
}

int64_t random_length(int64_t least = 0) { return *rc::gen::inRange<int64_t>(least, 160); }

// Lengths that add up to `tokens`.
std::vector<int64_t> random_chunks(int64_t tokens) {
  std::vector<int64_t> chunks;
  const int64_t longest = *rc::gen::element<int64_t>(1, 3, 40, 160);
  while (tokens > 0) {
    chunks.push_back(std::min(tokens, *rc::gen::inRange<int64_t>(1, longest + 1)));
    tokens -= chunks.back();
  }
  return chunks;
}

std::vector<uint32_t> attend(const LayerCache& cache, const Input& input, const Span& span) {
  Tensor out(span.count, kQueries, kDim);
  cache.attend(input.q.view().slice(span.first, span.count), {&span, 1}, out.view());
  return test::patterns(out.values);
}

// Appends and attends; the attention outputs.
std::vector<uint32_t> feed(LayerCache& cache, SeqId seq, const Input& input, int64_t first,
                           int64_t count) {
  test::append(cache, seq, input.k, input.v, first, count);
  return attend(cache, input, {.seq = seq, .first = first, .count = count});
}

class Laws : public testing::TestWithParam<const char*> {
 protected:
  std::unique_ptr<LayerCache> fresh() const {
    return test::make(GetParam(), kHeads, kDim, windows_);
  }
  void draw_windows() { windows_ = *rc::gen::element(Windows::kKept, Windows::kNone); }
  bool claimed(Law law) const { return claims(fresh()->traits().laws, law); }

  Windows windows_ = Windows::kKept;
};

std::string case_name(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(c); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(, Laws, testing::ValuesIn(kCases), case_name);

TEST_P(Laws, ChunkInvariance) {
  ASSERT_TRUE(claimed(Law::kChunk));
  EXPECT_TRUE(rc::check([&] {
    draw_windows();
    const Input input = random_input(random_length(1));
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
      const int64_t query = *rc::gen::inRange(length, length + count);
      for (const Side side : kSides) {
        const ReadMap map = parts->reads(b, side, query);
        RC_ASSERT(map == whole->reads(a, side, query));
        for (const RowRange& range : map) {
          RC_ASSERT(test::patterns(test::read(*parts, b, side, range).values) ==
                    test::patterns(test::read(*whole, a, side, range).values));
        }
      }
      if (*rc::gen::arbitrary<bool>()) parts->settle(b);
      length += count;
    }
    RC_ASSERT(outputs == expected);
    RC_ASSERT(parts->image(b) == whole->image(a));
    RC_ASSERT(parts->length(b) == tokens);
  }));
}

TEST_P(Laws, BatchIndependence) {
  ASSERT_TRUE(claimed(Law::kBatch));
  EXPECT_TRUE(rc::check([&] {
    draw_windows();
    constexpr size_t kSequences = 3;
    const auto together = fresh();
    std::vector<Input> inputs;
    std::vector<SeqId> ids;
    std::vector<std::unique_ptr<LayerCache>> alone;
    std::vector<SeqId> alone_ids;
    for (size_t i = 0; i < kSequences; ++i) {
      inputs.push_back(random_input(120));
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
        const int64_t count = *rc::gen::inRange<int64_t>(0, 41);
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
  }));
}

// The stored runs of bytes of sealed blocks, by name.
std::map<std::string, std::vector<std::byte>> sealed_bytes(const LayerCache& cache, SeqId seq) {
  const auto image = cache.image(seq);
  std::map<std::string, std::vector<std::byte>> runs;
  for (const LayoutEntry& entry : cache.layout(cache.length(seq))) {
    if (entry.item == Item::kExact) continue;
    runs[entry.name].assign(image.begin() + entry.offset,
                            image.begin() + entry.offset + entry.bytes);
  }
  return runs;
}

TEST_P(Laws, PrefixStability) {
  ASSERT_TRUE(claimed(Law::kPrefix));
  EXPECT_TRUE(rc::check([&] {
    draw_windows();
    const Input input = random_input(random_length());
    const auto cache = fresh();
    const SeqId seq = cache->open();
    std::map<std::string, std::vector<std::byte>> before;
    int64_t length = 0;
    for (const int64_t count : random_chunks(input.k.tokens)) {
      test::append(*cache, seq, input.k, input.v, length, count);
      length += count;
      const auto after = sealed_bytes(*cache, seq);
      for (const auto& [name, bytes] : before) RC_ASSERT(after.at(name) == bytes);
      before = after;
    }
  }));
}

// The stored scale or zero of every group, as numbers; shape as exported.
struct Metadata {
  std::vector<float> values;
  std::vector<int64_t> shape;

  // Of what group (t, c) is in: [heads][groups of tokens][groups of channels], or a table of one
  // value or one per head.
  float at(int64_t head, int64_t t, int64_t c, int64_t block) const {
    if (shape.size() == 1) return values[static_cast<size_t>(shape[0] == 1 ? 0 : head)];
    return values[static_cast<size_t>((head * shape[1] + t / block) * shape[2] +
                                      c * shape[2] / kDim)];
  }
};

Metadata metadata(const std::map<std::string, test::Exported>& tensors, const std::string& name,
                  float absent) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) return {{absent}, {1}};
  const test::Exported& tensor = found->second;
  return {tensor.dtype == "F32" ? tensor.as<float>() : test::from_f16(tensor.as<uint16_t>()),
          tensor.shape};
}

// The code that x must have given the stored metadata, from the scheme's page.
uint8_t code_from_stored(const Descriptor& descriptor, Side side, float x, float s, float zero) {
  if (descriptor.name() == "fp8") {
    const float t = descriptor.get_word("scale") == "token" ? x * (1.0f / s) : x / s;
    return descriptor.get_word("type") == "e5m2" ? num::e5m2_encode(t) : num::e4m3_encode(t);
  }
  const auto bits = static_cast<int>(descriptor.get_int(side_name(side)));
  const bool symmetric = descriptor.name() == "int" && descriptor.has_flag("sym");
  const int top = symmetric ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
  float t = 0;
  if (descriptor.name() == "int") {
    t = (symmetric ? x : x + zero) / s;
  } else if (descriptor.name() == "kivi") {
    t = num::f16_round(num::f16_round(x - zero) / s);
  } else {
    RC_FAIL("no rule for the codes of " + std::string(descriptor.name()));
  }
  if (std::isnan(t)) return 0;
  const auto limit = static_cast<float>(top);
  const int q = static_cast<int>(std::nearbyint(std::clamp(t, symmetric ? -limit : 0.0f, limit)));
  return static_cast<uint8_t>(q & ((1 << bits) - 1));
}

// Tokens of a block: those of a group where groups lie along tokens.
int64_t block_of(const Descriptor& descriptor, Side side) {
  if (descriptor.name() == "kivi") return side == Side::kK ? descriptor.get_int("g") : 1;
  if (descriptor.name() != "int") return 1;
  const bool along_tokens = descriptor.get_word(std::string(side_name(side)) + "axis") == "channel";
  return along_tokens ? descriptor.find_int("g").value_or(32) : 1;
}

TEST_P(Laws, StoredMetadataConsistency) {
  const auto descriptor = Descriptor::parse(GetParam());
  if (!claimed(Law::kMetadata)) {
    ASSERT_EQ(descriptor.name(), "ggml");  // its codes are made with the scale before rounding
    GTEST_SKIP() << "not claimed";
  }
  EXPECT_TRUE(rc::check([&] {
    draw_windows();
    const Input input = random_input(random_length());
    const auto cache = fresh();
    const SeqId seq = cache->open();
    test::append(*cache, seq, input.k, input.v, 0, input.k.tokens);
    const auto tensors = test::exported(*cache, seq);
    for (const Side side : kSides) {
      const std::string p = std::string(side_name(side)) + ".";
      if (tensors.count(p + "codes") == 0) {
        RC_ASSERT(descriptor.name() ==
                  "fp");  // nothing but values: no metadata to be consistent with
        continue;
      }
      const int64_t length = input.k.tokens;
      const auto codes = tensors.at(p + "codes").as<uint8_t>();
      const auto sealed = tensors.at(p + "sealed").as<uint8_t>();
      const Metadata scale = metadata(tensors, p + "scale", 1.0f);
      const Metadata zero = metadata(tensors, p + "zero", 0.0f);
      const int64_t block = block_of(descriptor, side);
      const Tensor& x = side == Side::kK ? input.k : input.v;
      for (int64_t head = 0; head < kHeads; ++head) {
        for (int64_t t = 0; t < length; ++t) {
          for (int64_t c = 0; c < kDim; ++c) {
            const auto at = static_cast<size_t>((head * length + t) * kDim + c);
            if (sealed[static_cast<size_t>(head * length + t)] == 0) {
              RC_ASSERT(codes[at] == 0);
              continue;
            }
            const float value =
                num::f16_round(x.values[static_cast<size_t>((t * kHeads + head) * kDim + c)]);
            RC_ASSERT(codes[at] == code_from_stored(descriptor, side, value,
                                                    scale.at(head, t, c, block),
                                                    zero.at(head, t, c, block)));
          }
        }
      }
    }
  }));
}

TEST_P(Laws, ByteHonesty) {
  ASSERT_TRUE(claimed(Law::kBytes));
  EXPECT_TRUE(rc::check([&] {
    draw_windows();
    const int64_t extra = 3;
    const Input input = random_input(random_length() + extra);
    const int64_t length = input.k.tokens - extra;
    const auto cache = fresh();
    const SeqId seq = cache->open();
    test::append(*cache, seq, input.k, input.v, 0, length);
    const auto image = cache->image(seq);

    ByteCount counted = cache->used(seq, Side::kK);
    counted += cache->used(seq, Side::kV);
    RC_ASSERT(counted.total() == static_cast<int64_t>(image.size()));
    ByteCount laid_out;
    int64_t offset = 0;
    for (const LayoutEntry& entry : cache->layout(length)) {
      RC_ASSERT(entry.offset == offset);
      RC_ASSERT(entry.bytes > 0);
      offset += entry.bytes;
      laid_out[entry.item] += entry.bytes;
    }
    RC_ASSERT(offset == static_cast<int64_t>(image.size()));
    RC_ASSERT(laid_out.bytes == counted.bytes);

    const auto other = fresh();
    const SeqId restored = other->restore(length, image);
    RC_ASSERT(other->length(restored) == length);
    RC_ASSERT(other->image(restored) == image);
    for (const Side side : kSides) {
      RC_ASSERT(other->held(restored, side) == cache->held(seq, side));
      RC_ASSERT(test::patterns(test::read_held(*other, restored, side)) ==
                test::patterns(test::read_held(*cache, seq, side)));
    }
    RC_ASSERT(feed(*other, restored, input, length, extra) ==
              feed(*cache, seq, input, length, extra));
    RC_ASSERT(other->image(restored) == cache->image(seq));

    auto longer = image;
    longer.push_back(std::byte{0});
    for (const auto& [tokens, bytes] :
         {std::pair(length, longer), std::pair(length + 1, image), std::pair(int64_t{-1}, image)}) {
      try {
        other->restore(tokens, bytes);
        RC_FAIL("an image of another length was taken");
      } catch (const Error& error) {
        RC_ASSERT(error.exit() == Exit::kEnvironment);
      }
    }
  }));
}

TEST_P(Laws, AttentionReadsWhatReadsSays) {
  if (fresh()->traits().query_dependent_read) GTEST_SKIP() << "only attend can tell what is read";
  EXPECT_TRUE(rc::check([&] {
    draw_windows();
    const int64_t before = random_length();
    const int64_t count = *rc::gen::inRange<int64_t>(1, 20);
    const Input input = random_input(before + count);
    const auto cache = fresh();
    const SeqId seq = cache->open();
    test::append(*cache, seq, input.k, input.v, 0, before);
    const auto outputs = feed(*cache, seq, input, before, count);
    for (int64_t t = before; t < before + count; ++t) {
      std::array<std::map<int64_t, std::vector<float>>, 2> rows;  // by token, all heads
      for (const Side side : kSides) {
        for (const RowRange& range : cache->reads(seq, side, t)) {
          const Tensor part = test::read(*cache, seq, side, range);
          for (int64_t i = 0; i < range.count; ++i) {
            const float* row = part.view().row(i, 0);
            rows[static_cast<size_t>(side)][range.first + i].assign(row, row + kHeads * kDim);
          }
        }
      }
      RC_ASSERT(rows[0].size() == static_cast<size_t>(t + 1));
      for (int h = 0; h < kQueries; ++h) {
        const int head = h / (kQueries / kHeads);
        std::vector<num::AttentionRow> visible;
        for (const auto& [token, k] : rows[0]) {
          visible.push_back(
              {token, k.data() + head * kDim, rows[1].at(token).data() + head * kDim});
        }
        std::vector<float> out(kDim);
        num::plain::attend({input.q.view().row(t, h), kDim}, visible, out);
        const auto first = outputs.begin() + ((t - before) * kQueries + h) * kDim;
        RC_ASSERT(test::patterns(out) == std::vector<uint32_t>(first, first + kDim));
      }
    }
  }));
}

TEST_P(Laws, ForksAreIndependent) {
  EXPECT_TRUE(rc::check([&] {
    draw_windows();
    const int64_t shared = random_length();
    const int64_t more = *rc::gen::inRange<int64_t>(1, 70);
    const Input left = random_input(shared + more);
    Input right = random_input(shared + more);
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
  }));
}

TEST_P(Laws, TruncatingGivesAFreshCacheOrARefusal) {
  EXPECT_TRUE(rc::check([&] {
    draw_windows();
    const Input input = random_input(random_length(1));
    const int64_t tokens = input.k.tokens;
    const int64_t length = *rc::gen::inRange<int64_t>(0, tokens + 1);
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
      possible = possible &&
                 std::min(length, sealed(*cache, seq, side)) <= sealed(*shorter, expected, side);
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
  }));
}

// What `decoded` says of sealed tokens is not read where there are codes: it is spoilt here.
TEST_P(Laws, CanonicalTensorsRebuildTheImage) {
  EXPECT_TRUE(rc::check([&] {
    draw_windows();
    const Input input = random_input(random_length());
    const int64_t tokens = input.k.tokens;
    const auto cache = fresh();
    const SeqId seq = cache->open();
    test::append(*cache, seq, input.k, input.v, 0, tokens);
    auto all = test::exported(*cache, seq);
    for (const Side side : kSides) {
      const std::string prefix = std::string(side_name(side)) + ".";
      if (all.count(prefix + "codes") == 0) continue;
      const auto marks = all.at(prefix + "sealed").as<uint8_t>();
      auto& decoded = all.at(prefix + "decoded").bytes;
      for (size_t row = 0; row < marks.size(); ++row) {
        if (marks[row] != 0)
          std::fill_n(decoded.begin() + row * kDim * 4, kDim * 4, std::byte{255});
      }
    }
    std::map<std::string, ArtifactTensor> tensors;
    for (const auto& [name, tensor] : all) {
      tensors[name] = {tensor.dtype, tensor.shape, tensor.bytes};
    }
    const auto other = fresh();
    const SeqId copy = other->import_from(tokens, [&](const std::string& name) {
      const auto found = tensors.find(name);
      return found == tensors.end() ? nullptr : &found->second;
    });
    RC_ASSERT(other->length(copy) == tokens);
    RC_ASSERT(other->image(copy) == cache->image(seq));
  }));
}

}  // namespace
}  // namespace kvx
