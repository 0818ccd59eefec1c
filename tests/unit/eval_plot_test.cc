// Axes and labels of pictures, and the picture of a summary.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "eval/plot_axis.h"
#include "eval/plot_labels.h"
#include "eval/summary.h"

namespace kvx::eval {
namespace {

TEST(Axis, MapsItsEndsAndTheMiddle) {
  const Axis linear{10, 30, 200, 100, false}, logarithmic{1, 100, 0, 50, true};
  EXPECT_EQ(linear(10), 200);
  EXPECT_EQ(linear(30), 100);
  EXPECT_EQ(linear(20), 150);
  EXPECT_DOUBLE_EQ(logarithmic(10), 25);
}

TEST(Ticks, AreRoundAndFew) {
  EXPECT_EQ(ticks({0, 50, 0, 1, false}), (std::vector<double>{0, 10, 20, 30, 40, 50}));
  EXPECT_EQ(ticks({0.5, 2000, 0, 1, true}), (std::vector<double>{1, 10, 100, 1000}));
  for (const double low : {1e-7, 0.3, 47.0, 1e4})
    for (const double ratio : {1.001, 1.2, 3.0, 40.0, 1e6})
      for (const bool logarithmic : {false, true}) {
        if (logarithmic && ratio < 2) continue;
        const Axis axis{low, low * ratio, 0, 1, logarithmic};
        const auto values = ticks(axis);
        EXPECT_GE(values.size(), 2u) << low << " x " << ratio;
        EXPECT_LE(values.size(), 12u) << low << " x " << ratio;
        EXPECT_TRUE(std::is_sorted(values.begin(), values.end()));
        for (const double value : values) EXPECT_TRUE(value >= axis.low && value <= axis.high);
      }
}

TEST(ValueAxis, LeavesRoomAndTurnsLogarithmic) {
  const Axis near = value_axis({47, 50, 60}, false, 0, 1), far = value_axis({2, 50}, false, 0, 1);
  EXPECT_FALSE(near.logarithmic);
  EXPECT_LT(near.low, 47);
  EXPECT_GT(near.high, 60);
  EXPECT_TRUE(far.logarithmic);
  EXPECT_FALSE(value_axis({-1, 50}, false, 0, 1).logarithmic);
  const Axis one = value_axis({5}, false, 0, 1);
  EXPECT_LT(one.low, one.high);
}

TEST(Labels, KeepClearOfEachOtherAndStayInside) {
  const Box frame{0, 0, 440, 330};
  std::vector<LabelledPoint> points;
  for (int i = 0; i < 12; ++i)
    points.push_back(
        {30.0 + 34 * i, 300.0 - 20 * i + (i % 3) * 9, "int:k4v4,g" + std::to_string(i)});
  const auto labels = place_labels(points, frame, {});
  ASSERT_EQ(labels.size(), points.size());
  for (size_t i = 0; i < labels.size(); ++i) {
    const Box& box = labels[i].box;
    EXPECT_NEAR(box.overlap(frame), box.width * box.height, 1e-6) << i;
    for (size_t j = 0; j < i; ++j) EXPECT_EQ(box.overlap(labels[j].box), 0) << i << " " << j;
    for (const LabelledPoint& point : points)
      EXPECT_EQ(box.overlap({point.x - 4, point.y - 4, 8, 8}), 0) << i;
  }
}

SchemeRow row(const std::string& label, double bits, double ppl, double kl) {
  SchemeRow out;
  out.scheme = out.label = label;
  out.bits = bits;
  out.ppl = ppl;
  out.kl_mean = kl;
  return out;
}

Summary summary() {
  Summary out;
  out.run = {{"model", {{"path", "dir/m<1>.gguf"}}},
             {"data", {{"path", "t.txt"}}},
             {"tasks", {{"ppl", {{"length", 64}}}}}};
  out.windows = 3;
  SchemeRow base = row("fp:f32", 32, 10, 0);
  base.base = true;
  out.modes.push_back({"streamed",
                       {base, row("int:k2v2", 2.5, 80, 1), row("int:k4v4", 4.5, 11, 0.1),
                        row("kivi:k4v4", 5, 10.1, 0.01)},
                       {}});
  return out;
}

TEST(Picture, NamesEverySchemeInBothPanels) {
  const std::string svg = summary_svg(summary());
  EXPECT_EQ(svg, summary_svg(summary()));
  const auto count = [&svg](const std::string& text) {
    size_t found = 0;
    for (size_t at = 0; (at = svg.find(text, at)) != std::string::npos; ++at) ++found;
    return found;
  };
  EXPECT_EQ(count(">int:k4v4</text>"), 2u);
  EXPECT_EQ(count(">kivi:k4v4</text>"), 2u);
  EXPECT_EQ(count(">int:k2v2</text>"), 1u);
  EXPECT_EQ(count(">int:k2v2 (80)</text>"), 1u);  // beyond the perplexity scale
  EXPECT_EQ(count("<path"), 1u);
  EXPECT_EQ(count("<circle"), 5u);
  EXPECT_EQ(count("m&lt;1&gt;.gguf"), 1u);
  EXPECT_EQ(count("nan"), 0u);
}

TEST(PositionsPicture, DrawsALineASchemeInBothPanels) {
  Summary by_position = summary();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (SchemeRow& row : by_position.modes.front().rows) {
    row.bins = {{0, 100, 50, 2, 8, 1, 0.1, 0.9}, {100, 200, 50, 2, 9, 1, 0.2, 0.9}};
    if (row.label == "kivi:k4v4") row.bins.back() = {100, 200, 50, nan, nan, nan, nan, 0};
  }
  const std::string svg = positions_svg(by_position);
  EXPECT_EQ(svg, positions_svg(by_position));
  const auto count = [&svg](const std::string& text) {
    size_t found = 0;
    for (size_t at = 0; (at = svg.find(text, at)) != std::string::npos; ++at) ++found;
    return found;
  };
  EXPECT_EQ(count("<polyline"), 6u);
  EXPECT_EQ(count("<circle"), 2u * (2 + 2 + 1));
  EXPECT_EQ(count(">int:k4v4</text>"), 2u);
  EXPECT_EQ(count("<title>int:k4v4, 100-199: 1.125</title>"), 1u);  // 9 over 8
  EXPECT_EQ(count("nan"), 0u);
  for (SchemeRow& row : by_position.modes.front().rows) row.bins.clear();
  EXPECT_NE(positions_svg(by_position).find("nothing to show"), std::string::npos);
}

TEST(Picture, LeavesOutWhatHasNoPlace) {
  Summary odd = summary();
  const double nan = std::numeric_limits<double>::quiet_NaN();
  odd.modes.front().rows = {odd.modes.front().rows.front(), row("int:k3v3", 3.5, nan, nan),
                            row("fp:f16", 16, 10, 0)};
  const std::string svg = summary_svg(odd);
  EXPECT_EQ(svg.find(">int:k3v3<"), std::string::npos);
  EXPECT_NE(svg.find(">fp:f16<"), std::string::npos);
  EXPECT_NE(svg.find("nothing to show"), std::string::npos);
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
}

}  // namespace
}  // namespace kvx::eval
