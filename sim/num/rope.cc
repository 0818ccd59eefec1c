#include "sim/num/rope.h"

#include <cmath>

#include "sim/num/elementary.h"

namespace kvx::num {

namespace {

double scaled(double inverse, const RopeScaling& scaling) {
  if (scaling.rule == RopeScaling::Rule::kNone) return inverse;
  if (scaling.rule == RopeScaling::Rule::kLinear) return inverse / scaling.factor;
  const double original = static_cast<double>(scaling.original);
  const double wavelength = 0x1.921fb54442d18p+2 / inverse;
  if (wavelength < original / scaling.high) return inverse;
  if (wavelength > original / scaling.low) return inverse / scaling.factor;
  const double s = (original / wavelength - scaling.low) / (scaling.high - scaling.low);
  return ((1 - s) * inverse) / scaling.factor + s * inverse;
}

}  // namespace

std::vector<uint64_t> rope_steps(int dim, double theta, std::span<const float> divisors,
                                 const RopeScaling& scaling) {
  const double octaves = log64(theta) * 0x1.71547652b82fep+0;
  std::vector<uint64_t> steps(static_cast<size_t>(dim / 2));
  for (size_t i = 0; i < steps.size(); ++i) {
    const double y = (static_cast<double>(2 * i) / static_cast<double>(dim)) * octaves;
    double inverse = exp2_64(-y);
    inverse =
        divisors.empty() ? scaled(inverse, scaling) : inverse / static_cast<double>(divisors[i]);
    steps[i] = static_cast<uint64_t>(inverse * 0x1.45f306dc9c883p+61);
  }
  return steps;
}

void rope_table(std::span<const uint64_t> steps, int64_t position, std::span<float> sin,
                std::span<float> cos) {
  for (size_t i = 0; i < steps.size(); ++i) {
    const SinCos sc = sincos_phase(rope_phase(steps[i], position));
    sin[i] = sc.sin;
    cos[i] = sc.cos;
  }
}

void rope_rotate(std::span<float> row, std::span<const float> sin, std::span<const float> cos) {
  const size_t half = row.size() / 2;
  for (size_t i = 0; i < half; ++i) {
    const float a = row[i];
    const float b = row[i + half];
    row[i] = std::fma(a, cos[i], -(b * sin[i]));
    row[i + half] = std::fma(b, cos[i], a * sin[i]);
  }
}

}  // namespace kvx::num
