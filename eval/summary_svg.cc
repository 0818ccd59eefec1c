// Accuracy against measured bits per value as one SVG picture: a row per cache mode, perplexity at
// the left, mean divergence at the right. Same summary, same bytes.
#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "eval/summary.h"
#include "eval/text_table.h"

namespace kvx::eval {
namespace {

constexpr double kWidth = 1080, kHead = 64, kRowHeight = 430, kFoot = 30;
constexpr double kPlotWidth = 440, kPlotHeight = 330, kLeft = 64, kGap = 84, kTop = 34;
constexpr double kCharWidth = 6.1, kLabelHeight = 13;

std::string escape(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

// Values to a stretch of the picture, linear or logarithmic.
struct Axis {
  double low, high;  // values
  double from, to;   // coordinates
  bool logarithmic;
  double operator()(double value) const {
    const double share =
        logarithmic ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
    return from + share * (to - from);
  }
};

// Round values inside the axis, about four to eight.
std::vector<double> ticks(const Axis& axis) {
  std::vector<double> values;
  if (axis.logarithmic) {
    static const std::vector<std::vector<double>> kMantissas{
        {1},
        {1, 3},
        {1, 2, 5},
        {1, 1.5, 2, 3, 5, 7},
        {1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 5, 6, 7, 8, 9}};
    for (const auto& mantissas : kMantissas) {
      values.clear();
      for (int exponent = -20; exponent < 20; ++exponent)
        for (const double mantissa : mantissas) {
          const double value = mantissa * std::pow(10.0, exponent);
          if (value >= axis.low && value <= axis.high) values.push_back(value);
        }
      if (values.size() >= 4) break;
    }
    return values;
  }
  const double rough = (axis.high - axis.low) / 5;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  const double step = rough / power < 1.5   ? power
                      : rough / power < 3.5 ? 2 * power
                      : rough / power < 7.5 ? 5 * power
                                            : 10 * power;
  for (double i = std::ceil(axis.low / step); i * step <= axis.high; ++i)
    values.push_back(i * step);
  return values;
}

struct Box {
  double x, y, width, height;
  double overlap(const Box& other) const {
    const double w = std::min(x + width, other.x + other.width) - std::max(x, other.x);
    const double h = std::min(y + height, other.y + other.height) - std::max(y, other.y);
    return w > 0 && h > 0 ? w * h : 0;
  }
};

// What a label should keep clear of, and how much it matters.
struct Obstacle {
  Box box;
  double weight;
};

struct Point {
  double x, y;
  double low, high;  // whisker, in coordinates; equal: none
  std::string label;
  std::string title;
  std::string color;
};

struct Placed {
  Box box;
  bool leader;
};

// Labels one after the other, each at the nearest spot that covers least of points, lines and
// earlier labels.
std::vector<Placed> place_labels(const std::vector<Point>& points, const Box& frame,
                                 std::vector<Obstacle> taken) {
  for (const Point& point : points) {
    taken.push_back({{point.x - 6, point.y - 6, 12, 12}, 4});
    if (point.low != point.high)
      taken.push_back(
          {{point.x - 1, std::min(point.low, point.high), 2, std::abs(point.high - point.low)}, 4});
  }
  std::vector<Placed> placed(points.size());
  std::vector<size_t> order(points.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return points[a].x < points[b].x; });
  static constexpr double kPi = 3.14159265358979323846;
  for (const size_t i : order) {
    const Point& point = points[i];
    const double width = kCharWidth * static_cast<double>(point.label.size());
    double best = 1e300;
    for (const double radius : {9.0, 16.0, 26.0, 38.0, 52.0, 70.0}) {
      for (const double turn : {0.0, -1 / 6., 1 / 6., 1 / 2., -1 / 3., 1 / 3., -1 / 4., 1 / 4.,
                                -1 / 12., 1 / 12., -5 / 12., 5 / 12.}) {
        const double dx = std::cos(2 * kPi * turn), dy = std::sin(2 * kPi * turn);
        const double x = point.x + radius * dx - (dx < -0.1 ? width : dx < 0.1 ? width / 2 : 0);
        const Box box{x, point.y + radius * dy - kLabelHeight / 2, width, kLabelHeight};
        double cost = 0.6 * radius + (turn == 0 ? 0 : 1);
        for (const auto& [other, weight] : taken) cost += weight * box.overlap(other);
        cost += 4 * (width * kLabelHeight - box.overlap(frame));
        if (cost < best) {
          best = cost;
          placed[i] = {box, radius > 20};
        }
      }
    }
    taken.push_back({placed[i].box, 4});
  }
  return placed;
}

std::string number(double value) { return fmt::format("{:g}", value); }

const char* family_color(const std::string& label, std::vector<std::string>& families) {
  static constexpr std::array<const char*, 7> kColors{"#0072b2", "#d55e00", "#009e73", "#cc79a7",
                                                      "#7a5195", "#b8860b", "#444444"};
  const std::string family = label.substr(0, label.find(':'));
  auto found = std::find(families.begin(), families.end(), family);
  if (found == families.end()) found = families.insert(families.end(), family);
  return kColors[static_cast<size_t>(found - families.begin()) % kColors.size()];
}

struct Series {
  const SchemeRow* row;
  double value, low, high;
};

// Axis around values, logarithmic if asked for or if they are far apart.
Axis value_axis(const std::vector<double>& values, bool logarithmic, double from, double to) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  if (logarithmic || (*min > 0 && *max / *min > 2.5)) {
    const double room = std::max(std::pow(*max / *min, 0.09), 1.05);
    return {*min / room, *max * room, from, to, true};
  }
  const double room = std::max(0.12 * (*max - *min), 1e-4 * std::abs(*max));
  return {*min - room, *max + room, from, to, false};
}

std::string panel(const std::string& title, const std::vector<Series>& series, double base,
                  bool logarithmic, double x0, double y0, std::vector<std::string>& families) {
  std::string svg = fmt::format(
      "<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"t\">{}</text>\n"
      "<rect x=\"{:.1f}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{:.1f}\" class=\"f\"/>\n",
      x0, y0 - 10, title, x0, y0, kPlotWidth, kPlotHeight);
  std::vector<double> bits, values;
  for (const Series& one : series) {
    bits.push_back(one.row->bits);
    values.insert(values.end(), {one.value, one.low, one.high});
  }
  if (base > 0) values.push_back(base);
  if (bits.empty())
    return svg + fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"n\">nothing to show</text>\n",
                             x0 + 12, y0 + 24);
  const auto [min_bits, max_bits] = std::minmax_element(bits.begin(), bits.end());
  const Axis x{*min_bits / 1.12, *max_bits * 1.25, x0, x0 + kPlotWidth, true};
  const Axis y = value_axis(values, logarithmic, y0 + kPlotHeight, y0);
  for (const double tick : {0.5, 1., 1.5, 2., 3., 4., 5., 6., 8., 10., 12., 16., 24., 32.}) {
    if (tick < x.low || tick > x.high) continue;
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" class=\"g\"/>\n"
        "<text x=\"{0:.1f}\" y=\"{3:.1f}\" class=\"n m\">{4}</text>\n",
        x(tick), y0, y0 + kPlotHeight, y0 + kPlotHeight + 16, number(tick));
  }
  for (const double tick : ticks(y))
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{2:.1f}\" x2=\"{1:.1f}\" y2=\"{2:.1f}\" class=\"g\"/>\n"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\" class=\"n e\">{5}</text>\n",
        x0, x0 + kPlotWidth, y(tick), x0 - 7, y(tick) + 4, number(tick));
  svg +=
      fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"n m\">measured bits per value</text>\n",
                  x0 + kPlotWidth / 2, y0 + kPlotHeight + 34);

  // The front: no other scheme is at most as large and more accurate.
  std::vector<Series> sorted = series;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Series& a, const Series& b) {
    return a.row->bits != b.row->bits ? a.row->bits < b.row->bits : a.value < b.value;
  });
  std::string front;
  std::vector<Obstacle> obstacles;
  double best = INFINITY, last_x = 0, last_y = 0;
  for (const Series& one : sorted) {
    if (one.value >= best) continue;
    best = one.value;
    const double to_x = x(one.row->bits), to_y = y(one.value);
    constexpr int kSteps = 24;
    for (int i = 0; i < kSteps && !front.empty(); ++i)
      obstacles.push_back({{last_x + (to_x - last_x) * i / kSteps - 2,
                            last_y + (to_y - last_y) * i / kSteps - 2, 4, 4},
                           0.5});
    front += fmt::format("{}{:.1f},{:.1f}", front.empty() ? "" : " ", to_x, to_y);
    last_x = to_x;
    last_y = to_y;
  }
  svg += fmt::format("<polyline points=\"{}\" class=\"p\"/>\n", front);

  std::vector<Point> points;
  for (const Series& one : series)
    points.push_back(
        {x(one.row->bits), y(one.value), y(one.low), y(one.high), one.row->label,
         fmt::format("{}: {:.3f} bits, {:.6g}", one.row->label, one.row->bits, one.value),
         family_color(one.row->label, families)});
  if (base > 0) {
    const std::string name = fmt::format("fp:f32, {:.4g}", base);
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{2:.1f}\" x2=\"{1:.1f}\" y2=\"{2:.1f}\" class=\"b\"/>\n"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\" class=\"n\">{5}</text>\n",
        x0, x0 + kPlotWidth, y(base), x0 + 6, y(base) + 15, name);
    obstacles.push_back({{x0, y(base) - 2, kPlotWidth, 4}, 2});
    obstacles.push_back(
        {{x0 + 6, y(base) + 4, kCharWidth * static_cast<double>(name.size()), kLabelHeight}, 4});
  }
  const std::vector<Placed> labels =
      place_labels(points, {x0 + 2, y0 + 2, kPlotWidth - 4, kPlotHeight - 4}, obstacles);
  for (size_t i = 0; i < points.size(); ++i) {
    const Point& point = points[i];
    const Box& box = labels[i].box;
    if (point.low != point.high)
      svg += fmt::format(
          "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" stroke=\"{3}\" "
          "class=\"w\"/>\n",
          point.x, point.low, point.high, point.color);
    if (labels[i].leader)
      svg += fmt::format(
          "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"l\"/>\n", point.x,
          point.y, std::clamp(point.x, box.x, box.x + box.width), box.y + box.height / 2);
    svg += fmt::format(
        "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"5\" fill=\"{}\"><title>{}</title></circle>\n",
        point.x, point.y, point.color, escape(point.title));
    svg += fmt::format(
        "<text x=\"{:.1f}\" y=\"{:.1f}\" textLength=\"{:.1f}\" lengthAdjust=\"spacingAndGlyphs\" "
        "fill=\"{}\">{}</text>\n",
        box.x, box.y + 10.5, box.width, point.color, escape(point.label));
  }
  return svg;
}

std::string mode_row(const ModeSummary& mode, double top, std::vector<std::string>& families) {
  const double base = mode.rows.front().ppl;
  std::vector<Series> ppl, kl;
  for (const SchemeRow& row : mode.rows) {
    if (row.base) continue;
    if (std::isfinite(row.ppl)) {
      const bool whisker = row.delta_ppl_interval && std::isfinite(row.delta_ppl_interval->high);
      ppl.push_back({&row, row.ppl,
                     whisker ? std::max(base + row.delta_ppl_interval->low, base * 0.5) : row.ppl,
                     whisker ? base + row.delta_ppl_interval->high : row.ppl});
    }
    if (std::isfinite(row.kl_mean) && row.kl_mean > 0)
      kl.push_back({&row, row.kl_mean, row.kl_mean, row.kl_mean});
  }
  return panel(fmt::format("Perplexity, cache mode {}", mode.mode), ppl,
               std::isfinite(base) ? base : 0, false, kLeft, top + kTop, families) +
         panel("Mean KL divergence from fp:f32, nats", kl, 0, true, kLeft + kPlotWidth + kGap,
               top + kTop, families);
}

}  // namespace

std::string summary_svg(const Summary& summary) {
  const double height = kHead + kRowHeight * static_cast<double>(summary.modes.size()) + kFoot;
  std::string svg = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" "
      "height=\"{1:.0f}\" "
      "font-family=\"Helvetica, Arial, sans-serif\" font-size=\"11.5\">\n"
      "<style>text{{paint-order:stroke;stroke:#fafafa;stroke-width:3px;stroke-linejoin:round}}"
      ".t{{font-size:14px;font-weight:bold;fill:#222}}.h{{font-size:18px;font-weight:bold;"
      "fill:#222}}"
      ".n{{fill:#555}}.m{{text-anchor:middle}}.e{{text-anchor:end}}.f{{fill:#fff;stroke:#999}}"
      ".g{{stroke:#e4e4e4}}.p{{fill:none;stroke:#bbb;stroke-width:1.5}}.b{{stroke:#555;stroke-"
      "dasharray:5 4}}"
      ".l{{stroke:#aaa;stroke-width:.8}}.w{{stroke-width:1.5;opacity:.55}}circle{{stroke:#fff;"
      "stroke-width:1}}</style>\n"
      "<rect width=\"{0:.0f}\" height=\"{1:.0f}\" fill=\"#fafafa\"/>\n",
      kWidth, height);
  const auto name = [&](const char* what) {
    const std::filesystem::path path = summary.run.at(what).at("path").get<std::string>();
    return escape((path.has_filename() ? path : path.parent_path()).filename().string());
  };
  svg += fmt::format(
      "<text x=\"{0:.0f}\" y=\"30\" class=\"h\">Accuracy against bits: {1}</text>\n"
      "<text x=\"{0:.0f}\" y=\"50\" class=\"n\">{2}, {3} windows of {4} tokens</text>\n",
      kLeft, name("model"), name("data"), thousands(summary.windows),
      thousands(summary.run.at("identity").at("length").get<int64_t>()));
  std::vector<std::string> families;
  for (size_t i = 0; i < summary.modes.size(); ++i)
    svg += mode_row(summary.modes[i], kHead + kRowHeight * static_cast<double>(i), families);
  svg += fmt::format(
      "<text x=\"{:.0f}\" y=\"{:.0f}\" class=\"n\">Bits are counted from the cache, scales, zero "
      "points and exact "
      "windows included. Bars: 95 % paired bootstrap intervals. Line: best at its size.</text>\n",
      kLeft, height - 12);
  return svg + "</svg>\n";
}

}  // namespace kvx::eval
