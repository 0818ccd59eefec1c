#include "ref/kvquant/elements.h"

#include "sim/num/formats.h"

namespace kvx::ref::kvquant {
namespace {

Range channel_range(std::span<const Window> windows, int64_t channels, int64_t channel,
                    int64_t skipped, int64_t quantile) {
  std::vector<float> values;
  for (const Window& window : windows) {
    for (int64_t t = skipped; t < window.tokens; ++t)
      values.push_back(num::f16_decode(window.values[static_cast<size_t>(t * channels + channel)]));
  }
  return percentile_range(values, quantile);
}

}  // namespace

Elements::Elements(std::span<const Window> windows, int64_t channels, Axis axis, int64_t quantile,
                   int64_t sink, bool skip_in_ranges)
    : windows_(windows), channels_(channels), axis_(axis), sink_(sink) {
  const size_t d = static_cast<size_t>(channels);
  const auto add = [this](const Range& range) {
    offset_.push_back((range.hi + range.lo) * 0.5f);
    radius_.push_back((range.hi - range.lo) * 0.5f);
  };
  if (axis == Axis::kChannel) {
    for (int64_t j = 0; j < channels; ++j) {
      ranges_.push_back(channel_range(windows, channels, j, skip_in_ranges ? sink : 0, quantile));
      add(ranges_.back());
    }
    return;
  }
  std::vector<float> x(d);
  for (const Window& window : windows) {
    first_.push_back(std::ssize(offset_));
    for (int64_t t = 0; t < window.tokens; ++t) {
      num::f16_decode(std::span(window.values).subspan(static_cast<size_t>(t) * d, d), x);
      add(percentile_range(x, quantile));
    }
  }
}

void Elements::row(int64_t window, int64_t token, Weight weight, std::span<float> u,
                   std::span<double> w) const {
  const Window& from = windows_[static_cast<size_t>(window)];
  const size_t d = static_cast<size_t>(channels_), first = static_cast<size_t>(token) * d;
  num::f16_decode(std::span(from.values).subspan(first, d), u);
  const float* f = from.fisher.data() + (from.fisher.empty() ? 0 : first);
  // z, r and w of channel j.
  const auto normalise = [&](auto z_of, auto r_of, auto w_of) {
    for (size_t j = 0; j < d; ++j) {
      const float r = r_of(j), x = (u[j] - z_of(j)) / r;
      const bool inlier = x >= -1.0f && x <= 1.0f;
      u[j] = inlier ? x : 0.0f;
      w[j] = inlier ? w_of(j, static_cast<double>(r)) : 0.0;
    }
  };
  const auto by_weight = [&](auto z_of, auto r_of) {
    if (weight == Weight::kOne) return normalise(z_of, r_of, [](size_t, double) { return 1.0; });
    if (weight == Weight::kFisher)
      return normalise(z_of, r_of, [f](size_t j, double) { return static_cast<double>(f[j]); });
    normalise(z_of, r_of, [f](size_t j, double r) { return static_cast<double>(f[j]) * r * r; });
  };
  if (axis_ == Axis::kChannel) {
    by_weight([this](size_t j) { return offset_[j]; }, [this](size_t j) { return radius_[j]; });
  } else {
    const size_t at = static_cast<size_t>(first_[static_cast<size_t>(window)] + token);
    by_weight([z = offset_[at]](size_t) { return z; }, [r = radius_[at]](size_t) { return r; });
  }
}

}  // namespace kvx::ref::kvquant
