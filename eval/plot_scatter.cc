#include "eval/plot_scatter.h"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "eval/plot_axis.h"
#include "eval/plot_svg.h"

namespace kvx::eval {
namespace {

// What names keep clear of in a plot.
using Obstacles = std::vector<Obstacle>;

std::vector<double> bit_ticks(const Axis& x) {
  std::vector<double> inside;
  for (const double tick : {0.5, 1., 1.5, 2., 3., 4., 5., 6., 8., 10., 12., 16., 24., 32.})
    if (tick >= x.low && tick <= x.high) inside.push_back(tick);
  return inside;
}

Axis y_axis(const Scatter& scatter) {
  const double bottom = scatter.area.y + scatter.area.height;
  if (scatter.range)
    return {scatter.range->first, scatter.range->second, bottom, scatter.area.y, false};
  std::vector<double> values;
  if (scatter.base) values.push_back(*scatter.base);
  for (const ScatterPoint& point : scatter.points)
    for (const double value : {point.value, point.low, point.high})
      values.push_back(std::min(value, scatter.cap));
  return value_axis(values, scatter.logarithmic, bottom, scatter.area.y);
}

Axis x_axis(const Scatter& scatter) {
  const auto [least, most] = std::minmax_element(
      scatter.points.begin(), scatter.points.end(),
      [](const ScatterPoint& a, const ScatterPoint& b) { return a.bits < b.bits; });
  return {least->bits / 1.12, most->bits * 1.25, scatter.area.x,
          scatter.area.x + scatter.area.width, true};
}

std::string front(const Scatter& scatter, const Axis& x, const Axis& y, Obstacles& obstacles) {
  const double sign = scatter.more_is_better ? -1 : 1;
  std::vector<ScatterPoint> sorted = scatter.points;
  std::stable_sort(sorted.begin(), sorted.end(), [&](const ScatterPoint& a, const ScatterPoint& b) {
    return a.bits != b.bits ? a.bits < b.bits : sign * a.value < sign * b.value;
  });
  std::string line;
  double best = scatter.cap, last_x = 0, last_y = 0;
  for (const ScatterPoint& point : sorted) {
    if (sign * point.value >= best) continue;
    best = sign * point.value;
    const double to_x = x(point.bits), to_y = y(point.value);
    constexpr int kSteps = 24;
    for (int i = 0; i < kSteps && !line.empty(); ++i)
      obstacles.push_back({{last_x + (to_x - last_x) * i / kSteps - 2,
                            last_y + (to_y - last_y) * i / kSteps - 2, 4, 4},
                           0.5});
    line += fmt::format("{}{:.1f},{:.1f}", line.empty() ? "" : " ", to_x, to_y);
    last_x = to_x;
    last_y = to_y;
  }
  return line;
}

TemplateData base_line(const Scatter& scatter, const Axis& y, Obstacles& obstacles) {
  const std::string name = fmt::format("fp:f32, {:.4g}", *scatter.base);
  const double at = y(*scatter.base), x = scatter.area.x;
  obstacles.push_back({{x, at - 2, scatter.area.width, 4}, 2});
  obstacles.push_back(
      {{x + 6, at + 4, kLabelCharWidth * static_cast<double>(name.size()), kLabelHeight}, 4});
  return TemplateObject{{"at", coordinate(at)},
                        {"name_x", coordinate(x + 6)},
                        {"name_y", coordinate(at + 15)},
                        {"name", name}};
}

// Bars, dots and names.
void add_points(TemplateData& plot, const Scatter& scatter, const Axis& x, const Axis& y,
                Obstacles obstacles, std::vector<std::string>& families) {
  TemplateData bars(TemplateData::type::list), dots(TemplateData::type::list);
  std::vector<NamedPoint> named;
  for (const ScatterPoint& point : scatter.points) {
    const bool beyond = point.value > scatter.cap;
    const double at_x = x(point.bits);
    const double at_y = beyond ? scatter.area.y + 10 : y(point.value);
    const char* color = family_color(point.label, families);
    named.push_back({at_x, at_y,
                     beyond ? fmt::format("{} ({:.4g})", point.name, point.value) : point.name,
                     color});
    if (point.low < point.high && !beyond) {
      const double top = y(std::min(point.high, y.high)), bottom = y(std::max(point.low, y.low));
      obstacles.push_back({{at_x - 1, top, 2, bottom - top}, 4});
      bars.push_back(TemplateObject{{"x", coordinate(at_x)},
                                    {"high", coordinate(top)},
                                    {"low", coordinate(bottom)},
                                    {"color", color}});
    }
    dots.push_back(TemplateObject{
        {"x", coordinate(at_x)},
        {"y", coordinate(at_y)},
        {"tip_y", coordinate(at_y - 6)},
        {"beyond", beyond},
        {"color", color},
        {"note", fmt::format("{}: {:.3f} bits, {:.6g}", point.label, point.bits, point.value)}});
  }
  plot["bars"] = std::move(bars);
  plot["dots"] = std::move(dots);
  add_names(plot, scatter.area, named, std::move(obstacles));
}

}  // namespace

std::string scatter_svg(const Scatter& scatter, std::vector<std::string>& families) {
  TemplateData plot = plot_frame(scatter.title, scatter.area);
  if (!scatter.points.empty()) {
    const Axis x = x_axis(scatter), y = y_axis(scatter);
    add_axes(plot, scatter.area, x, bit_ticks(x), y, "measured bits per value");
    Obstacles obstacles;
    plot["front"] = TemplateObject{{"points", front(scatter, x, y, obstacles)}};
    if (scatter.base) plot["base"] = base_line(scatter, y, obstacles);
    add_points(plot, scatter, x, y, std::move(obstacles), families);
  }
  return render("plot.svg", plot);
}

}  // namespace kvx::eval
