// Fused attention over device caches against the definition (fixed.md, 2), bit for bit, in every
// launch form; on the emulated device (tests/emulated) with fewer of the random and the long cases.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>
#include <string>
#include <vector>

#include "gpu/common/stream.h"
#include "gpu/registry.h"
#include "tests/gpu/fused_case.h"

namespace kvx::test {
namespace {

using gpu::Reads;
using gpu::SealRule;
using gpu::fused::FusedForm;

#ifdef KVX_EMULATED
constexpr bool kEmulated = true;
#else
constexpr bool kEmulated = false;
#endif

constexpr FusedForm kForms[] = {FusedForm::kLong,         FusedForm::kWhole,
                                FusedForm::kShort,        FusedForm::kPrefillLong,
                                FusedForm::kPrefillWhole, FusedForm::kPrefillShort};
// Without a GPU the last three, which have 128 queries a block, are tried with passes of some
// tokens.
std::span<const FusedForm> forms_of(const FusedSpec& spec) {
  int32_t tokens = 0;
  for (const auto& span : spec.spans) tokens = std::max(tokens, span.count);
  return std::span(kForms).first(kEmulated && tokens < 16 ? 3 : 6);
}

class Fused : public testing::Test {
 protected:
  void SetUp() override {
    const std::string why = gpu::unavailable();
    if (!why.empty()) GTEST_SKIP() << why;
  }
};

void expect_right(const FusedSpec& spec, uint64_t seed, int queries = 40) {
  SCOPED_TRACE(spec.name());
  const FusedCase c(spec, seed);
  std::vector<float> first;
  for (const FusedForm form : forms_of(spec)) {
    SCOPED_TRACE("form " + std::to_string(static_cast<int>(form)));
    bool fences = false;
    const std::vector<float> out = c.run(form, &fences);
    EXPECT_TRUE(fences);
    if (form == kForms[0]) {
      EXPECT_EQ(c.compare(out, queries), "");
      first = out;
    } else {
      EXPECT_TRUE(std::equal(out.begin(), out.end(), first.begin(), first.end(),
                             [](float a, float b) {
                               return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
                             }))
          << c.compare(out, queries);
    }
  }
}

// K of `bits` in groups along tokens (their own unit) or channels, V along channels.
FusedSpec affine(int k_bits, int k_group, bool along_tokens, int v_bits, int v_group) {
  FusedSpec spec;
  FusedSide &k = spec.side[0], &v = spec.side[1];
  k.bits = k_bits, k.group = k_group, k.along_tokens = along_tokens;
  if (along_tokens) k.rule.unit = k_group;
  v.bits = v_bits, v.group = v_group;
  return spec;
}

TEST_F(Fused, Widths) {
  for (const int dim : {64, 128})
    for (const bool along_tokens : {true, false})
      for (const int k : {2, 3, 4, 8})
        for (const int v : {2, 3, 4, 8}) {
          FusedSpec spec = affine(k, along_tokens ? 128 : dim, along_tokens, v, dim);
          spec.dim = dim;
          spec.spans = {{1500, 1}, {767, 1}};
          expect_right(spec, static_cast<uint64_t>(k * 10 + v));
        }
}

TEST_F(Fused, Groups) {
  for (const int dim : {64, 128})
    for (const int heads : {1, 4})
      for (const int k_group : {32, 64, 128, 256})
        for (const int v_group : {32, 64, 128})
          for (const bool along_tokens : {true, false}) {
            if ((!along_tokens && k_group > dim) || v_group > dim) continue;
            for (const int bits : {2, 4}) {
              FusedSpec spec = affine(bits, k_group, along_tokens, bits, v_group);
              spec.dim = dim, spec.q_heads = heads;
              spec.spans = {{1299, 1}};
              expect_right(spec, static_cast<uint64_t>(k_group + v_group));
            }
          }
}

TEST_F(Fused, ZeroPoints) {
  for (const ZeroPoint k : {ZeroPoint::kStored, ZeroPoint::kNegated, ZeroPoint::kSymmetric})
    for (const ZeroPoint v : {ZeroPoint::kStored, ZeroPoint::kNegated, ZeroPoint::kSymmetric})
      for (const int bits : {2, 3, 4, 5, 8}) {
        FusedSpec spec = affine(bits, 32, true, bits, 64);
        spec.side[0].zero = k, spec.side[1].zero = v;
        spec.spans = {{600, 3}};
        expect_right(spec, 3);
      }
}

TEST_F(Fused, HeadLayouts) {
  const int layouts[][2] = {{4, 4},  {9, 3}, {14, 2}, {28, 4}, {32, 8},
                            {12, 1}, {8, 1}, {3, 1},  {1, 1}};
  for (const auto& layout : layouts)
    for (const int32_t count : {1, 2, 3, 5, 8}) {
      FusedSpec spec = affine(4, 64, true, 4, 64);
      spec.dim = 64;
      spec.q_heads = layout[0], spec.kv_heads = layout[1];
      spec.spans = {{250, count}, {1090, count}};
      expect_right(spec, 7);
    }
}

TEST_F(Fused, StartsAndCounts) {
  for (const int32_t first : {0, 1, 127, 128, 255, 1000, 1023, 1024})
    for (const int32_t count : {1, 2, 5, kEmulated ? 20 : 64, kEmulated ? 40 : 300}) {
      FusedSpec spec = affine(2, 32, true, 2, 32);
      spec.side[1].rule = {1, 32, 1};
      spec.page_tokens = 512;
      spec.spans = {{first, count}};
      expect_right(spec, static_cast<uint64_t>(first * 1000 + count), 30);
    }
}

TEST_F(Fused, Rules) {
  const SealRule keys[] = {{32, 0, 0}, {32, 0, 1}, {128, 0, 1}, {128, 0, 0}};
  const SealRule values[] = {{1, 0, 0}, {1, 0, 1}, {1, 128, 1}, {1, 32, 0}};
  for (const SealRule& k : keys)
    for (const SealRule& v : values)
      for (const Reads reads : {Reads::kStreamed, Reads::kAll}) {
        FusedSpec spec = affine(4, 32, true, 2, 32);
        spec.side[0].rule = k, spec.side[1].rule = v;
        spec.q_heads = 2, spec.reads = reads;
        spec.spans = {{217, 90}, {510, 4}, {1151, 1}};
        expect_right(spec, 11, 50);
      }
}

TEST_F(Fused, MixedSpans) {
  for (const gpu::ScalarType type : {gpu::ScalarType::kF32, gpu::ScalarType::kF16}) {
    FusedSpec spec = affine(4, 64, true, 8, 64);
    spec.side[0].rule = {64, 0, 1};
    spec.side[1].rule = {1, 64, 1};
    spec.dim = 64, spec.q_heads = 9, spec.kv_heads = 3;
    spec.type = type;
    spec.spans = {{0, 1}, {513, 1}, {0, 300, true}, {31, 2}, {1200, 17}, {0, 7, true}, {64, 100}};
    expect_right(spec, 17, 100);
  }
}

// Numbers at the ends of the ranges: outliers, constant groups, clamped scores, empty queries.
TEST_F(Fused, Extremes) {
  for (const FixedRange range : {FixedRange::kOutliers, FixedRange::kExtreme, FixedRange::kClamped})
    for (const int bits : {2, 3, 4, 8})
      for (const bool along_tokens : {true, false})
        for (uint64_t seed = 0; seed < 4; ++seed) {
          FusedSpec spec = affine(bits, 64, along_tokens, bits, 64);
          spec.range = range;
          spec.spans = {{1400, 2}, {2047, 1}};
          expect_right(spec, seed);
        }
}

TEST_F(Fused, OtherShapes) {
  struct Shape {
    int dim, bits, k_group, v_group;
    bool along_tokens;
  };
  const Shape shapes[] = {
      {8, 5, 8, 8, false},      {80, 4, 16, 80, true},    {96, 6, 32, 96, false},
      {256, 8, 128, 256, true}, {256, 8, 256, 64, false}, {128, 7, 128, 128, true},
      {64, 4, 2, 4, false},     {128, 2, 100, 1, true},   {24, 3, 1, 8, true}};
  for (const Shape& s : shapes)
    for (const int heads : {1, 6}) {
      FusedSpec spec = affine(s.bits, s.k_group, s.along_tokens, s.bits, s.v_group);
      spec.dim = s.dim, spec.q_heads = heads;
      if (s.along_tokens && 256 % s.k_group != 0) spec.page_tokens = 6400;
      spec.spans = {{300, 2}, {1100, 1}};
      expect_right(spec, 19);
    }
}

// Passes of many queries: chunks at odd positions, ragged, with exact windows.
TEST_F(Fused, Chunks) {
  std::vector<std::array<int, 2>> layouts = {{4, 1}, {7, 1}};
  if (!kEmulated) layouts.insert(layouts.end(), {{2, 2}, {8, 1}});
  const int32_t chunks[][2] = {
      {1234, 16}, {0, 100}, {127, 65}, {1001, 129}, {777, kEmulated ? 70 : 300}};
  for (const auto& layout : layouts)
    for (const auto& chunk : chunks)
      for (const int window : {0, 128}) {
        FusedSpec spec = affine(layout[0] == 4 ? 4 : 3, 128, true, 4, 128);
        spec.q_heads = layout[0], spec.kv_heads = layout[1];
        if (window > 0) {
          spec.side[0].rule = {128, 0, 1};
          spec.side[1].rule = {1, window, 1};
        }
        spec.spans = {{chunk[0], chunk[1]}, {259, 40}, {1500, 1}};
        expect_right(spec, static_cast<uint64_t>(chunk[0] + layout[0]), 30);
      }
}

// Rows of K and V sealed one by one: the causal border alone parts the queries' tiles.
TEST_F(Fused, ChunksSealedByToken) {
  for (const int dim : {64, 128})
    for (const int group : {32, 64}) {
      FusedSpec spec = affine(4, group, false, 2, group);
      spec.dim = dim, spec.q_heads = 8, spec.kv_heads = 2, spec.page_tokens = 512;
      spec.spans = {{900, 150}, {0, 33}};
      expect_right(spec, static_cast<uint64_t>(dim + group), 30);
    }
}

TEST_F(Fused, BoundsAboveWhatIsThere) {
  FusedSpec spec = affine(2, 128, true, 2, 128);
  spec.q_heads = 8, spec.kv_heads = 2;
  spec.spans = {{300, 1}, {5, 2}};
  spec.count_slack = 7, spec.length_slack = 20000;
  expect_right(spec, 19);
}

TEST_F(Fused, LongContext) {
  for (const int heads : {1, 4}) {
    FusedSpec spec = affine(2, 128, true, 4, 128);
    spec.q_heads = heads;
    spec.side[1].rule = {1, 128, 1};
    spec.spans = {{40001, 2}, {33000, 1}, {8191, 1}, {8192, 1}, {16384, 1}};
    expect_right(spec, 29, 8);
  }
}

// A sequence has the same bits alone as in a batch.
TEST_F(Fused, Company) {
  FusedSpec spec = affine(4, 32, true, 2, 32);
  spec.side[1].rule = {1, 32, 1};
  spec.q_heads = 4;
  spec.spans = {{900, 2}, {5000, 1}, {127, 3}};
  bool fences = false;
  for (const FusedForm form : kForms) {
    const std::vector<float> all = FusedCase(spec, 5).run(form, &fences);
    size_t at = 0;
    for (size_t i = 0; i < spec.spans.size(); ++i) {
      FusedSpec alone = spec;
      alone.spans = {spec.spans[i]};
      alone.first_id = static_cast<int>(i);
      const std::vector<float> one = FusedCase(alone, 5).run(form, &fences);
      EXPECT_TRUE(std::equal(one.begin(), one.end(), all.begin() + static_cast<int64_t>(at)))
          << "span " << i;
      at += one.size();
    }
  }
}

TEST_F(Fused, CapturedInAGraph) {
  FusedSpec spec = affine(2, 128, true, 2, 128);
  spec.side[1].rule = {1, 64, 1};
  spec.spans = {{20000, 1}, {700, 1}};
  const FusedCase c(spec, 37);
  for (const FusedForm form : kForms) {
    bool fences = false;
    const std::vector<float> out = c.run(form, &fences, [](const auto& enqueue) {
      const gpu::Stream stream;
      gpu::check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capture");
      enqueue(stream);
      cudaGraph_t graph;
      cudaGraphExec_t exec;
      gpu::check(cudaStreamEndCapture(stream, &graph), "capture");
      gpu::check(cudaGraphInstantiate(&exec, graph, 0), "graph");
      for (int i = 0; i < 3; ++i) gpu::check(cudaGraphLaunch(exec, stream), "graph");
      stream.wait();
      cudaGraphExecDestroy(exec);
      cudaGraphDestroy(graph);
    });
    EXPECT_TRUE(fences);
    EXPECT_EQ(c.compare(out, 20), "");
  }
}

FusedSpec random_spec(FixedDraw& draw) {
  FusedSpec s;
  const bool fast = !draw.one_in(6);
  s.dim = fast ? draw.of({64, 128}) : draw.of({8, 64, 80, 96, 128, 256});
  s.kv_heads = draw.of({1, 2});
  s.q_heads = s.kv_heads * draw.of({1, 1, 2, 3, 4, 7});
  s.range = static_cast<FixedRange>(draw.below(4));
  s.reads = draw.one_in(4) ? Reads::kAll : Reads::kStreamed;
  s.type = draw.one_in(3) ? gpu::ScalarType::kF16 : gpu::ScalarType::kF32;
  for (int side = 0; side < 2; ++side) {
    FusedSide& f = s.side[side];
    f.bits = fast ? draw.of({2, 3, 4, 8}) : 2 + draw.below(7);
    f.zero = static_cast<ZeroPoint>(draw.below(3));
    f.along_tokens = side == 0 && draw.one_in(2);
    if (f.along_tokens) {
      f.group = fast ? draw.of({32, 64, 128, 256}) : draw.of({1, 8, 16, 48, 100, 32});
      if (256 % f.group != 0) s.page_tokens = f.group == 48 ? 768 : 6400;
      f.rule = {f.group * draw.of({1, 1, 2, 4}), 0, draw.below(2)};
    } else {
      f.group = fast ? draw.of({32, 64, 128}) : draw.of({1, 2, 4, 8, 16, 32});
      while (s.dim % f.group != 0) f.group /= 2;
      if (draw.one_in(2)) f.rule = {1, draw.of({32, 128, 0}), draw.below(2)};
    }
  }
  for (int i = draw.below(2); i >= 0; --i) {
    const int32_t first =
        draw.one_in(12)
            ? draw.of({8191, 9000})
            : draw.of({0, 1, 127, 128, 129, 255, 300, 500, 1000, 1023, 1024, 1151, 2047, 3000});
    s.spans.push_back({first, draw.of({1, 1, 1, 2, 3, 5, 8, 40})});
    if (draw.one_in(8)) s.spans.back() = {0, 1 + draw.below(300), true};
  }
  s.count_slack = draw.one_in(4) ? 3 : 0;
  s.length_slack = draw.one_in(4) ? 9000 : 0;
  return s;
}

// KVX_FUSED_SEEDS: so many cases instead.
TEST_F(Fused, Random) {
  const char* text = std::getenv("KVX_FUSED_SEEDS");
  const uint64_t seeds = text != nullptr ? std::strtoull(text, nullptr, 10) : kEmulated ? 40 : 200;
  for (uint64_t seed = 0; seed < seeds; ++seed) {
    FixedDraw draw(1000 + seed);
    const FusedSpec spec = random_spec(draw);
    expect_right(spec, seed, 30);
    if (HasFailure()) FAIL() << "seed " << seed;
  }
}

}  // namespace
}  // namespace kvx::test
