// Scores by position in the window as one SVG picture: a row per cache mode, perplexity over the
// base's at the left, mean divergence at the right. Same summary, same bytes.
#include <fmt/core.h>

#include <cmath>
#include <functional>
#include <utility>

#include "eval/plot_axis.h"
#include "eval/plot_svg.h"
#include "eval/summary.h"
#include "eval/xml_escape.h"

namespace kvx::eval {
namespace {

constexpr double kWidth = 1080, kHead = 64, kRowHeight = 430, kFoot = 30;
constexpr double kPlotWidth = 440, kPlotHeight = 330, kLeft = 64, kGap = 84, kTop = 34;

struct Panel {
  std::string title;
  bool logarithmic;
  double x, y;  // upper left corner
  std::function<double(const PositionBin&)> value;
};

std::string grid(const Panel& panel, const Axis& x, const Axis& y) {
  std::string svg;
  for (const double tick : ticks(x))
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{1:.1f}\" x2=\"{0:.1f}\" y2=\"{2:.1f}\" class=\"g\"/>\n"
        "<text x=\"{0:.1f}\" y=\"{3:.1f}\" class=\"n m\">{4:g}</text>\n",
        x(tick), panel.y, panel.y + kPlotHeight, panel.y + kPlotHeight + 16, tick);
  for (const double tick : ticks(y))
    svg += fmt::format(
        "<line x1=\"{0:.1f}\" y1=\"{2:.1f}\" x2=\"{1:.1f}\" y2=\"{2:.1f}\" class=\"g\"/>\n"
        "<text x=\"{3:.1f}\" y=\"{4:.1f}\" class=\"n e\">{5:g}</text>\n",
        panel.x, panel.x + kPlotWidth, y(tick), panel.x - 7, y(tick) + 4, tick);
  return svg + fmt::format(
                   "<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"n m\">position in the window</text>\n",
                   panel.x + kPlotWidth / 2, panel.y + kPlotHeight + 34);
}

// The lines of all schemes, each named at its end.
std::string lines(const Panel& panel, const ModeSummary& mode, const Axis& x, const Axis& y,
                  std::vector<std::string>& families) {
  std::string curves;
  std::vector<LabelledPoint> ends;
  std::vector<Obstacle> obstacles;
  for (const SchemeRow& row : mode.rows) {
    if (row.base) continue;
    const char* color = family_color(row.label, families);
    std::string points;
    LabelledPoint end{0, 0, row.label};
    for (const PositionBin& bin : row.bins) {
      const double value = panel.value(bin);
      if (!std::isfinite(value) || (y.logarithmic && value <= 0)) continue;
      end.x = x(0.5 * static_cast<double>(bin.first + bin.end));
      end.y = y(value);
      obstacles.push_back({{end.x - 4, end.y - 4, 8, 8}, 1});
      points += fmt::format("{}{:.1f},{:.1f}", points.empty() ? "" : " ", end.x, end.y);
      curves += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3\" fill=\"{}\"><title>{}</title></circle>\n",
          end.x, end.y, color,
          xml_escape(fmt::format("{}, {}-{}: {:.6g}", row.label, bin.first, bin.end - 1, value)));
    }
    if (points.empty()) continue;
    curves = fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" class=\"w\"/>\n",
                         points, color) +
             curves;
    ends.push_back(std::move(end));
  }
  const SvgLabels labels =
      svg_labels(ends, {panel.x + 2, panel.y + 2, kPlotWidth - 4, kPlotHeight - 4},
                 std::move(obstacles), families);
  return curves + labels.leaders + labels.names;
}

std::string draw(const Panel& panel, const ModeSummary& mode, double length,
                 std::vector<std::string>& families) {
  std::string svg = fmt::format(
      "<text x=\"{0:.1f}\" y=\"{1:.1f}\" class=\"t\">{2}</text>\n"
      "<rect x=\"{0:.1f}\" y=\"{3:.1f}\" width=\"{4:.1f}\" height=\"{5:.1f}\" class=\"f\"/>\n",
      panel.x, panel.y - 10, panel.title, panel.y, kPlotWidth, kPlotHeight);
  std::vector<double> values;
  for (const SchemeRow& row : mode.rows)
    for (const PositionBin& bin : row.bins)
      if (const double value = panel.value(bin);
          !row.base && std::isfinite(value) && (!panel.logarithmic || value > 0))
        values.push_back(value);
  if (values.empty())
    return svg + fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" class=\"n\">nothing to show</text>\n",
                             panel.x + 12, panel.y + 24);
  const Axis x{0, length, panel.x, panel.x + kPlotWidth, false};
  const Axis y = value_axis(values, panel.logarithmic, panel.y + kPlotHeight, panel.y);
  return svg + grid(panel, x, y) + lines(panel, mode, x, y, families);
}

}  // namespace

std::string positions_svg(const Summary& summary) {
  const double height = kHead + kRowHeight * static_cast<double>(summary.modes.size()) + kFoot;
  const double length = ppl_identity(summary.run).at("length").get<double>();
  std::string svg = svg_open(kWidth, height) + svg_title(summary, "Accuracy by position", kLeft);
  std::vector<std::string> families;
  for (size_t i = 0; i < summary.modes.size(); ++i) {
    const ModeSummary& mode = summary.modes[i];
    const double top = kHead + kRowHeight * static_cast<double>(i) + kTop;
    const Panel ratio{fmt::format("Perplexity over the base's, cache mode {}", mode.mode), false,
                      kLeft, top,
                      [](const PositionBin& bin) { return bin.ppl / (bin.ppl - bin.delta_ppl); }};
    const Panel kl{"Mean KL divergence from fp:f32, nats", true, kLeft + kPlotWidth + kGap, top,
                   [](const PositionBin& bin) { return bin.kl_mean; }};
    svg += draw(ratio, mode, length, families) + draw(kl, mode, length, families);
  }
  svg += fmt::format(
      "<text x=\"{:.0f}\" y=\"{:.0f}\" class=\"n\">Means over the scored positions of a bin, of "
      "all "
      "windows; a prediction at position p has p + 1 tokens to read.</text>\n",
      kLeft, height - 12);
  return svg + "</svg>\n";
}

}  // namespace kvx::eval
