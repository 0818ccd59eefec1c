// Axes of pictures.
#pragma once

#include <vector>

namespace kvx::eval {

// Values to a stretch of the picture, linear or logarithmic.
struct Axis {
  double low, high;  // values
  double from, to;   // coordinates
  bool logarithmic;
  double operator()(double value) const;
};

// Round values inside the axis, about four to eight.
std::vector<double> ticks(const Axis& axis);

// An axis around values, of which there is one at least, with room at both ends: logarithmic if
// asked for (the values are positive then) or if they are positive and far apart.
Axis value_axis(const std::vector<double>& values, bool logarithmic, double from, double to);

}  // namespace kvx::eval
