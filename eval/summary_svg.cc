// Accuracy against measured bits per value as one SVG picture: a row per cache mode, perplexity at
// the left, mean divergence at the right. Same summary, same bytes.
#include <cmath>

#include "eval/plot_scatter.h"
#include "eval/plot_svg.h"
#include "eval/summary_picture.h"

namespace kvx::eval {
namespace {

std::string mode_row(const ModeSummary& mode, size_t row_index,
                     std::vector<std::string>& families) {
  const double base = mode.rows.front().ppl;
  const bool has_base = std::isfinite(base);
  Scatter ppl, kl;
  ppl.title = "Perplexity, cache mode " + mode.mode;
  ppl.area = left_plot(row_index);
  if (has_base) {
    ppl.base = base;
    ppl.cap = kPerplexityCap * base;
  }
  kl.title = "Mean KL divergence from fp:f32, nats";
  kl.area = right_plot(row_index);
  kl.logarithmic = true;
  for (const SchemeRow& row : mode.rows) {
    if (row.base) continue;
    const auto& interval = row.delta_ppl_interval;
    const bool bar =
        has_base && interval && std::isfinite(interval->low) && std::isfinite(interval->high);
    if (std::isfinite(row.ppl))
      ppl.points.push_back({row.label, row.label, row.bits, row.ppl,
                            bar ? base + interval->low : row.ppl,
                            bar ? base + interval->high : row.ppl});
    if (std::isfinite(row.kl_mean) && row.kl_mean > 0)
      kl.points.push_back({row.label, row.label, row.bits, row.kl_mean, row.kl_mean, row.kl_mean});
  }
  return scatter_svg(ppl, families) + scatter_svg(kl, families);
}

}  // namespace

std::string summary_svg(const Summary& summary) {
  std::string plots;
  std::vector<std::string> families;
  for (size_t i = 0; i < summary.modes.size(); ++i)
    plots += mode_row(summary.modes[i], i, families);
  return summary_picture(
      summary, "Accuracy against bits", plots,
      "Bits are counted from the cache, scales, zero points and exact windows included. Bars: 95 % "
      "paired bootstrap intervals. Line: best at its size. Triangles: beyond the scale.");
}

}  // namespace kvx::eval
