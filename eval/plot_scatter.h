// A plot of accuracy, or divergence, against counted bits per value.
#pragma once

#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/plot_labels.h"

namespace kvx::eval {

inline constexpr double kNoCap = std::numeric_limits<double>::infinity();

struct ScatterPoint {
  std::string label;         // of the scheme: tells the colour
  std::string name;          // written beside the point
  double bits = 0;           // counted, per value
  double value = 0;          // finite; positive on a logarithmic axis
  double low = 0, high = 0;  // ends of its bar; equal: none
};

struct Scatter {
  std::string title;
  std::vector<ScatterPoint> points;
  std::optional<double> base;  // value of a dashed line, fp:f32's
  double cap = kNoCap;         // points beyond it are drawn at the upper edge, with their value
  bool logarithmic = false;    // the value axis; the bits' axis always is
  bool more_is_better = false;
  std::optional<std::pair<double, double>> range;  // of the value axis; else as the values ask for
  Box area;                                        // of the plot, without titles and ticks
};

// The points that no other is at most as large as and at least as good as, by size; none beyond the
// cap.
std::vector<size_t> front_of(const Scatter& scatter);

// Bars, points, names and a line through the front. `families`: family_color.
std::string scatter_svg(const Scatter& scatter, std::vector<std::string>& families);

}  // namespace kvx::eval
