// Accuracy against measured bits per value as one SVG picture: a row per cache mode, perplexity at
// the left, mean divergence at the right. Same summary, same bytes.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "eval/plot_axis.h"
#include "eval/plot_svg.h"
#include "eval/summary.h"
#include "eval/xml_escape.h"

namespace kvx::eval {
namespace {

constexpr double kWidth = 1080, kHead = 64, kRowHeight = 430, kFoot = 30;
constexpr double kNoCap = std::numeric_limits<double>::infinity();
constexpr double kPlotWidth = 440, kPlotHeight = 330, kLeft = 64, kGap = 84, kTop = 34;

struct Point {
  const SchemeRow* row;
  double value, low, high;  // low and high: ends of its bar
};

struct Panel {
  std::string title;
  std::vector<Point> points;
  double base;       // value of a dashed line; 0: none
  double cap;        // points beyond it are drawn at the upper edge, with their value
  bool logarithmic;  // the value axis; the bits' axis always is
  double x, y;       // upper left corner
};

std::string grid(const Panel& panel, const Axis& x, const Axis& y) {
  const double right = panel.x + kPlotWidth, bottom = panel.y + kPlotHeight;
  std::string svg;
  for (const double tick : {0.5, 1., 1.5, 2., 3., 4., 5., 6., 8., 10., 12., 16., 24., 32.}) {
    if (tick < x.low || tick > x.high) continue;
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" class=\"g\"/>\n"
        "<text x=\"{0:.1f}\" y=\"{3:.1f}\" class=\"n m\">{4:g}</text>\n",
        x(tick), panel.y, bottom, bottom + 16, tick);
  }
  for (const double tick : ticks(y))
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{2:.1f}\" x2=\"{1:.1f}\" y2=\"{2:.1f}\" class=\"g\"/>\n"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\" class=\"n e\">{5:g}</text>\n",
        panel.x, right, y(tick), panel.x - 7, y(tick) + 4, tick);
  return svg + fmt::format(
                   "<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"n m\">measured bits per value</text>\n",
                   panel.x + kPlotWidth / 2, bottom + 34);
}

// The line through the points that no other is at most as large as and more accurate than.
std::string front(const Panel& panel, const Axis& x, const Axis& y,
                  std::vector<Obstacle>& obstacles) {
  std::vector<Point> sorted = panel.points;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Point& a, const Point& b) {
    return a.row->bits != b.row->bits ? a.row->bits < b.row->bits : a.value < b.value;
  });
  std::string line;
  double best = panel.cap, last_x = 0, last_y = 0;
  for (const Point& point : sorted) {
    if (point.value >= best) continue;
    best = point.value;
    const double to_x = x(point.row->bits), to_y = y(point.value);
    constexpr int kSteps = 24;
    for (int i = 0; i < kSteps && !line.empty(); ++i)
      obstacles.push_back({{last_x + (to_x - last_x) * i / kSteps - 2,
                            last_y + (to_y - last_y) * i / kSteps - 2, 4, 4},
                           0.5});
    line += fmt::format("{}{:.1f},{:.1f}", line.empty() ? "" : " ", to_x, to_y);
    last_x = to_x;
    last_y = to_y;
  }
  return fmt::format("<polyline points=\"{}\" class=\"p\"/>\n", line);
}

std::string base_line(const Panel& panel, const Axis& y, std::vector<Obstacle>& obstacles) {
  const std::string name = fmt::format("fp:f32, {:.4g}", panel.base);
  const double at = y(panel.base);
  obstacles.push_back({{panel.x, at - 2, kPlotWidth, 4}, 2});
  obstacles.push_back(
      {{panel.x + 6, at + 4, kLabelCharWidth * static_cast<double>(name.size()), kLabelHeight}, 4});
  return fmt::format(
      "<line x1=\"{0:.1f}\" y1=\"{2:.1f}\" x2=\"{1:.1f}\" y2=\"{2:.1f}\" class=\"b\"/>\n"
      "<text x=\"{3:.1f}\" y=\"{4:.1f}\" class=\"n\">{5}</text>\n",
      panel.x, panel.x + kPlotWidth, at, panel.x + 6, at + 15, name);
}

// Bars, dots and names.
std::string dots(const Panel& panel, const Axis& x, const Axis& y, std::vector<Obstacle> obstacles,
                 std::vector<std::string>& families) {
  std::string bars, marks;
  std::vector<LabelledPoint> labelled;
  for (const Point& point : panel.points) {
    const bool beyond = point.value > panel.cap;
    const double at_x = x(point.row->bits);
    const double at_y = beyond ? panel.y + 10 : y(point.value);
    labelled.push_back(
        {at_x, at_y,
         beyond ? fmt::format("{} ({:.4g})", point.row->label, point.value) : point.row->label});
    const char* color = family_color(point.row->label, families);
    if (point.low < point.high && !beyond) {
      const double top = y(std::min(point.high, y.high)), bottom = y(std::max(point.low, y.low));
      obstacles.push_back({{at_x - 1, top, 2, bottom - top}, 4});
      bars += fmt::format(
          "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"{3}\" "
          "class=\"w\"/>\n",
          at_x, top, bottom, color);
    }
    const std::string title = xml_escape(
        fmt::format("{}: {:.3f} bits, {:.6g}", point.row->label, point.row->bits, point.value));
    marks += beyond ? fmt::format(
                          "<path d=\"M{:.1f},{:.1f}l5.5,9.5h-11z\" fill=\"{}\" "
                          "class=\"d\"><title>{}</title></path>\n",
                          at_x, at_y - 6, color, title)
                    : fmt::format(
                          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"{}\" "
                          "class=\"d\"><title>{}</title></circle>\n",
                          at_x, at_y, color, title);
  }
  const SvgLabels labels =
      svg_labels(labelled, {panel.x + 2, panel.y + 2, kPlotWidth - 4, kPlotHeight - 4},
                 std::move(obstacles), families);
  return bars + labels.leaders + marks + labels.names;
}

std::string draw(const Panel& panel, std::vector<std::string>& families) {
  const std::string svg = fmt::format(
      "<text x=\"{0:.1f}\" y=\"{1:.1f}\" class=\"t\">{2}</text>\n"
      "<rect x=\"{0:.1f}\" y=\"{3:.1f}\" width=\"{4:.1f}\" height=\"{5:.1f}\" class=\"f\"/>\n",
      panel.x, panel.y - 10, panel.title, panel.y, kPlotWidth, kPlotHeight);
  if (panel.points.empty())
    return svg + fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"n\">nothing to show</text>\n",
                             panel.x + 12, panel.y + 24);
  std::vector<double> bits, values;
  if (panel.base > 0) values.push_back(panel.base);
  for (const Point& point : panel.points) {
    bits.push_back(point.row->bits);
    for (const double value : {point.value, point.low, point.high})
      values.push_back(std::min(value, panel.cap));
  }
  const auto [min_bits, max_bits] = std::minmax_element(bits.begin(), bits.end());
  const Axis x{*min_bits / 1.12, *max_bits * 1.25, panel.x, panel.x + kPlotWidth, true};
  const Axis y = value_axis(values, panel.logarithmic, panel.y + kPlotHeight, panel.y);
  std::vector<Obstacle> obstacles;
  const std::string line = front(panel, x, y, obstacles);
  const std::string dashes = panel.base > 0 ? base_line(panel, y, obstacles) : "";
  return svg + grid(panel, x, y) + line + dashes +
         dots(panel, x, y, std::move(obstacles), families);
}

std::string mode_row(const ModeSummary& mode, double top, std::vector<std::string>& families) {
  const double base = mode.rows.front().ppl;
  const bool has_base = std::isfinite(base);
  // Ruined schemes would press all others onto one line.
  Panel ppl{fmt::format("Perplexity, cache mode {}", mode.mode),
            {},
            has_base ? base : 0,
            has_base ? 1.5 * base : kNoCap,
            false,
            kLeft,
            top + kTop};
  Panel kl{"Mean KL divergence from fp:f32, nats",
           {},
           0,
           kNoCap,
           true,
           kLeft + kPlotWidth + kGap,
           top + kTop};
  for (const SchemeRow& row : mode.rows) {
    if (row.base) continue;
    const auto& interval = row.delta_ppl_interval;
    const bool bar =
        has_base && interval && std::isfinite(interval->low) && std::isfinite(interval->high);
    if (std::isfinite(row.ppl))
      ppl.points.push_back({&row, row.ppl, bar ? base + interval->low : row.ppl,
                            bar ? base + interval->high : row.ppl});
    if (std::isfinite(row.kl_mean) && row.kl_mean > 0)
      kl.points.push_back({&row, row.kl_mean, row.kl_mean, row.kl_mean});
  }
  return draw(ppl, families) + draw(kl, families);
}

}  // namespace

std::string summary_svg(const Summary& summary) {
  const double height = kHead + kRowHeight * static_cast<double>(summary.modes.size()) + kFoot;
  std::string svg = svg_open(kWidth, height);
  svg += svg_title(summary, "Accuracy against bits", kLeft);
  std::vector<std::string> families;
  for (size_t i = 0; i < summary.modes.size(); ++i)
    svg += mode_row(summary.modes[i], kHead + kRowHeight * static_cast<double>(i), families);
  svg += fmt::format(
      "<text x=\"{:.0f}\" y=\"{:.0f}\" class=\"n\">Bits are counted from the cache, scales, zero "
      "points and exact "
      "windows included. Bars: 95 % paired bootstrap intervals. Line: best at its size. Triangles: "
      "beyond the scale.</text>\n",
      kLeft, height - 12);
  return svg + "</svg>\n";
}

}  // namespace kvx::eval
