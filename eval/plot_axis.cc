#include "eval/plot_axis.h"

#include <algorithm>
#include <cmath>

namespace kvx::eval {

double Axis::operator()(double value) const {
  const double share =
      logarithmic ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
  return from + share * (to - from);
}

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
    values.push_back(i * step + 0.0);  // not -0
  return values;
}

Axis value_axis(const std::vector<double>& values, bool logarithmic, double from, double to) {
  const auto [min, max] = std::minmax_element(values.begin(), values.end());
  if (logarithmic || (*min > 0 && *max / *min > 2.5)) {
    const double room = std::max(std::pow(*max / *min, 0.09), 1.05);
    return {*min / room, *max * room, from, to, true};
  }
  const double room = std::max(0.12 * (*max - *min), 1e-4 * std::abs(*max));
  return {*min - room, *max + room, from, to, false};
}

}  // namespace kvx::eval
