// Attention over a device cache against the definition (ieee.md, 2.7), bit for bit, in both launch
// forms.
#include <gtest/gtest.h>

#include <bit>
#include <string>

#include "gpu/registry.h"
#include "tests/gpu/attend_case.h"

namespace kvx::test {
namespace {

using gpu::AttendForm;
using gpu::Reads;
using gpu::SealRule;

class Attend : public testing::Test {
 protected:
  void SetUp() override {
    const std::string why = gpu::unavailable();
    if (!why.empty()) GTEST_SKIP() << why;
  }
};

std::string first_difference(const std::vector<float>& a, const std::vector<float>& b) {
  for (size_t i = 0; i < a.size(); ++i)
    if (std::bit_cast<uint32_t>(a[i]) != std::bit_cast<uint32_t>(b[i]) &&
        !(a[i] != a[i] && b[i] != b[i]))
      return "element " + std::to_string(i);
  return {};
}

void expect_right(const AttendSpec& spec, uint64_t seed, int64_t queries = 150) {
  const AttendCase c(spec, seed);
  const AttendResult walk = c.run(AttendForm::kWalk), split = c.run(AttendForm::kSplit);
  EXPECT_TRUE(walk.fences) << "walk";
  EXPECT_TRUE(split.fences) << "split";
  EXPECT_EQ(c.compare(walk.out, queries), "") << "walk";
  EXPECT_EQ(c.compare(split.out, queries), "") << "split";
  EXPECT_EQ(first_difference(walk.out, split.out), "") << "walk against split";
}

AttendSpec halves(SealRule k, SealRule v) {
  AttendSpec spec;
  spec.format[0] = half_format(k);
  spec.format[1] = half_format(v);
  return spec;
}

std::string name(const AttendSpec& s) {
  std::string text = "d " + std::to_string(s.dim) + ", heads " + std::to_string(s.q_heads) + "/" +
                     std::to_string(s.kv_heads) + (s.reads == Reads::kAll ? ", all" : ", streamed");
  for (const SpanSpec& span : s.spans)
    text += ", " + std::to_string(span.first) + "+" + std::to_string(span.count) +
            (span.exact ? " exact" : "");
  for (const gpu::SideFormat& f : s.format)
    text += ", rule " + std::to_string(f.rule.unit) + " " + std::to_string(f.rule.window) + " " +
            std::to_string(f.rule.lag) + " bits " + std::to_string(f.bits) + " group " +
            std::to_string(f.group) + (f.along_tokens ? " of tokens" : "");
  return text;
}

TEST_F(Attend, ValuesOfThePage) {
  AttendSpec spec = halves({}, {});
  spec.q_heads = spec.kv_heads = 1;
  spec.spans = {{0, 1000, true}};
  spec.check_values = true;
  const AttendCase c(spec, 1);
  const struct {
    size_t position;
    uint32_t first, last;
  } want[] = {{0, 0xc0300000, 0x3e000000},
              {255, 0xbeace414, 0x3dc041bd},
              {256, 0xbeab747d, 0x3dbc407e},
              {999, 0xbd3c2bb1, 0x3d34da03}};
  for (const AttendForm form : {AttendForm::kWalk, AttendForm::kSplit}) {
    const AttendResult result = c.run(form);
    for (const auto& w : want) {
      EXPECT_EQ(std::bit_cast<uint32_t>(result.out[w.position * 64]), w.first) << w.position;
      EXPECT_EQ(std::bit_cast<uint32_t>(result.out[w.position * 64 + 63]), w.last) << w.position;
    }
  }
}

TEST_F(Attend, HeadDims) {
  for (const int dim : {8, 64, 80, 128, 256})
    for (const Reads reads : {Reads::kStreamed, Reads::kAll}) {
      AttendSpec spec = halves({32, 0, 0}, {1, 0, 1});
      spec.dim = dim;
      spec.q_heads = 6, spec.kv_heads = 2;
      spec.reads = reads;
      spec.spans = {{0, 70}, {700, 45}, {300, 1}};
      SCOPED_TRACE(name(spec));
      expect_right(spec, static_cast<uint64_t>(dim));
    }
}

TEST_F(Attend, HeadLayouts) {
  const int layouts[][2] = {{4, 4}, {9, 3}, {14, 2}, {28, 4}, {32, 8}, {32, 2}, {3, 1}, {1, 1}};
  for (const auto& layout : layouts) {
    AttendSpec spec = halves({1, 32, 0}, {1, 32, 1});
    spec.q_heads = layout[0], spec.kv_heads = layout[1];
    spec.spans = {{250, 37}, {90, 3}};
    SCOPED_TRACE(name(spec));
    expect_right(spec, 7);
  }
}

TEST_F(Attend, StartsAndCounts) {
  for (const int32_t first : {0, 1, 255, 256, 257, 1000})
    for (const int32_t count : {1, 2, 5, 63, 64, 65, 300, 700}) {
      AttendSpec spec = halves({128, 0, 1}, {1, 128, 1});
      spec.q_heads = 3, spec.kv_heads = 1;
      spec.page_tokens = 512;
      spec.spans = {{first, count}};
      SCOPED_TRACE(name(spec));
      expect_right(spec, static_cast<uint64_t>(first * 1000 + count), 100);
    }
}

TEST_F(Attend, Rules) {
  const SealRule rules[] = {{1, 0, 0}, {1, 0, 1}, {32, 0, 0}, {128, 0, 1}, {1, 128, 1}, {1, 32, 0}};
  for (const SealRule& k : rules)
    for (const SealRule& v : rules)
      for (const Reads reads : {Reads::kStreamed, Reads::kAll}) {
        AttendSpec spec = halves(k, v);
        spec.q_heads = 2, spec.kv_heads = 1;
        spec.reads = reads;
        spec.spans = {{217, 90}, {510, 4}};
        SCOPED_TRACE(name(spec));
        expect_right(spec, 11, 80);
      }
}

TEST_F(Attend, CodesWithMetadata) {
  struct Format {
    int bits, group;
    bool along_tokens;
  };
  const Format formats[] = {{2, 32, true},  {4, 32, true},  {8, 128, true}, {3, 16, false},
                            {4, 64, false}, {8, 4, false},  {5, 2, false},  {6, 32, false},
                            {2, 8, false},  {7, 128, false}};
  for (const int dim : {64, 128, 96})
    for (const Format& k : formats) {
      const Format& v = formats[static_cast<size_t>(&k - formats + 4) % std::size(formats)];
      if ((!k.along_tokens && dim % k.group) || (!v.along_tokens && dim % v.group)) continue;
      AttendSpec spec;
      spec.codec = TestCodec::kScaled;
      spec.dim = dim;
      spec.q_heads = 4, spec.kv_heads = 2;
      spec.page_tokens = 512;
      const auto rule = [](const Format& f) {
        return f.along_tokens ? SealRule{f.group, 0, 1} : SealRule{1, 32, 1};
      };
      spec.format[0] = scaled_format(rule(k), k.bits, k.group, k.along_tokens);
      spec.format[1] = scaled_format(rule(v), v.bits, v.group, v.along_tokens);
      spec.spans = {{400, 130}, {0, 33}, {1030, 1}};
      SCOPED_TRACE(name(spec));
      expect_right(spec, 13, 100);
    }
}

TEST_F(Attend, MixedSpans) {
  for (const Reads reads : {Reads::kStreamed, Reads::kAll})
    for (const gpu::ScalarType type : {gpu::ScalarType::kF32, gpu::ScalarType::kF16}) {
      AttendSpec spec = halves({32, 64, 1}, {1, 0, 0});
      spec.q_heads = 9, spec.kv_heads = 3;
      spec.reads = reads;
      spec.type = type;
      spec.spans = {{0, 1}, {513, 1}, {0, 300, true}, {31, 2}, {1200, 17}, {0, 7, true}, {64, 100}};
      SCOPED_TRACE(name(spec));
      expect_right(spec, 17, 400);
    }
}

TEST_F(Attend, BoundsAboveWhatIsThere) {
  AttendSpec spec = halves({1, 32, 1}, {32, 0, 0});
  spec.q_heads = 8, spec.kv_heads = 2;
  spec.spans = {{300, 1}, {5, 2}};
  spec.count_slack = 90;
  spec.length_slack = 2000;
  expect_right(spec, 19);
}

TEST_F(Attend, NonFinite) {
  for (const int dim : {64, 128, 80})
    for (const Reads reads : {Reads::kStreamed, Reads::kAll})
      for (const int32_t count : {3, 120}) {
        AttendSpec spec = halves({32, 0, 1}, {1, 16, 1});
        spec.dim = dim;
        spec.q_heads = 6, spec.kv_heads = 2;
        spec.reads = reads;
        spec.non_finite = true;
        spec.spans = {{290, count}, {0, 70, true}, {0, 40}};
        SCOPED_TRACE(name(spec));
        expect_right(spec, 23, 500);
      }
}

TEST_F(Attend, LongContext) {
  AttendSpec spec = halves({1, 128, 1}, {128, 0, 1});
  spec.q_heads = 2, spec.kv_heads = 1;
  spec.spans = {{40001, 2}, {33000, 1}};
  expect_right(spec, 29, 6);
}

TEST_F(Attend, ChosenForm) {
  for (const int32_t count : {1, 9, 200}) {
    AttendSpec spec = halves({1, 0, 0}, {1, 0, 0});
    spec.q_heads = 8, spec.kv_heads = 2;
    spec.spans = {{100, count}};
    SCOPED_TRACE(name(spec));
    const AttendCase c(spec, 31);
    const AttendResult result = c.run_chosen();
    EXPECT_TRUE(result.fences);
    EXPECT_EQ(c.compare(result.out, 200), "");
  }
}

}  // namespace
}  // namespace kvx::test
