// Scores by position in the window as one SVG picture: a row per cache mode, perplexity over the
// base's at the left, mean divergence at the right. Same summary, same bytes.
#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>

#include "eval/plot_svg.h"
#include "eval/summary_picture.h"

namespace kvx::eval {
namespace {

struct Curves {
  std::string title;
  bool logarithmic;
  Box area;
  std::function<double(const PositionBin&)> value;
};

// The lines of all schemes, each named at its end.
void add_curves(TemplateData& plot, const Curves& curves, const ModeSummary& mode, const Axis& x,
                const Axis& y, std::vector<std::string>& families) {
  std::vector<TemplateData> lines;
  TemplateData stops(TemplateData::type::list);
  std::vector<NamedPoint> ends;
  std::vector<Obstacle> obstacles;
  for (const SchemeRow& row : mode.rows) {
    if (row.base) continue;
    const char* color = family_color(row.label, families);
    std::string points;
    NamedPoint end{0, 0, row.label, color};
    for (const PositionBin& bin : row.bins) {
      const double value = curves.value(bin);
      if (!std::isfinite(value) || (y.logarithmic && value <= 0)) continue;
      end.x = x(0.5 * static_cast<double>(bin.first + bin.end));
      end.y = y(value);
      obstacles.push_back({{end.x - 4, end.y - 4, 8, 8}, 1});
      points += fmt::format("{}{:.1f},{:.1f}", points.empty() ? "" : " ", end.x, end.y);
      stops.push_back(TemplateObject{
          {"x", coordinate(end.x)},
          {"y", coordinate(end.y)},
          {"color", color},
          {"note", fmt::format("{}, {}-{}: {:.6g}", row.label, bin.first, bin.end - 1, value)}});
    }
    if (points.empty()) continue;
    lines.push_back(TemplateObject{{"points", points}, {"color", color}});
    ends.push_back(std::move(end));
  }
  // The first scheme's on top.
  std::reverse(lines.begin(), lines.end());
  plot["curves"] = template_list(lines, [](const TemplateData& line) { return line; });
  plot["stops"] = std::move(stops);
  add_names(plot, curves.area, ends, std::move(obstacles));
}

std::string draw(const Curves& curves, const ModeSummary& mode, double length,
                 std::vector<std::string>& families) {
  TemplateData plot = plot_frame(curves.title, curves.area);
  std::vector<double> values;
  for (const SchemeRow& row : mode.rows)
    for (const PositionBin& bin : row.bins)
      if (const double value = curves.value(bin);
          !row.base && std::isfinite(value) && (!curves.logarithmic || value > 0))
        values.push_back(value);
  if (!values.empty()) {
    const Box& area = curves.area;
    const Axis x{0, length, area.x, area.x + area.width, false};
    const Axis y = value_axis(values, curves.logarithmic, area.y + area.height, area.y);
    add_axes(plot, area, x, ticks(x), y, "position in the window");
    add_curves(plot, curves, mode, x, y, families);
  }
  return render("plot.svg", plot);
}

}  // namespace

std::string positions_svg(const Summary& summary) {
  const double length = ppl_identity(summary.run).at("length").get<double>();
  std::string plots;
  std::vector<std::string> families;
  for (size_t i = 0; i < summary.modes.size(); ++i) {
    const ModeSummary& mode = summary.modes[i];
    const Curves ratio{fmt::format("Perplexity over the base's, cache mode {}", mode.mode), false,
                       left_plot(i),
                       [](const PositionBin& bin) { return bin.ppl / (bin.ppl - bin.delta_ppl); }};
    const Curves kl{"Mean KL divergence from fp:f32, nats", true, right_plot(i),
                    [](const PositionBin& bin) { return bin.kl_mean; }};
    plots += draw(ratio, mode, length, families) + draw(kl, mode, length, families);
  }
  return summary_picture(summary, "Accuracy by position", plots,
                         "Means over the scored positions of a bin, of all windows; a prediction "
                         "at position p has p + 1 tokens to read.");
}

}  // namespace kvx::eval
