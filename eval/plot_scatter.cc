#include "eval/plot_scatter.h"

#include <fmt/core.h>

#include <algorithm>
#include <numeric>
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
  std::string line;
  double last_x = 0, last_y = 0;
  for (const size_t i : front_of(scatter)) {
    const double to_x = x(scatter.points[i].bits), to_y = y(scatter.points[i].value);
    constexpr int kSteps = 24;
    for (int k = 0; k < kSteps && !line.empty(); ++k)
      obstacles.push_back({{last_x + (to_x - last_x) * k / kSteps - 2,
                            last_y + (to_y - last_y) * k / kSteps - 2, 4, 4},
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

std::vector<size_t> front_of(const Scatter& scatter) {
  const std::vector<ScatterPoint>& points = scatter.points;
  const double sign = scatter.more_is_better ? -1 : 1;
  std::vector<size_t> order(points.size()), front;
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return points[a].bits != points[b].bits ? points[a].bits < points[b].bits
                                            : sign * points[a].value < sign * points[b].value;
  });
  double best = kNoCap;
  for (const size_t i : order) {
    if (sign * points[i].value >= best || points[i].value >= scatter.cap) continue;
    best = sign * points[i].value;
    front.push_back(i);
  }
  return front;
}

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
