// What a codebook is fitted to: K or V of one layer, normalised, with weights
// (ref/kvquant/calibrate.md).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ref/kvquant/percentile.h"
#include "ref/kvquant/settings.h"

namespace kvx::ref::kvquant {

// One window of one side of a layer.
struct Window {
  int64_t tokens = 0;
  std::vector<uint16_t> values;  // fp16 patterns [tokens][d]
  std::vector<float> fisher;     // [tokens][d]; empty where no codebook is fitted
};

enum class Weight : uint8_t { kFisher, kFisherRange, kOne };  // F, F r r, 1

class Elements {
 public:
  // axis: whose range normalises; quantile: E, 0 without outliers; sink: first tokens of each
  // window that are left out. skip_in_ranges: they are left out of the ranges of channels too.
  // Every window has more than `sink` tokens.
  Elements(std::span<const Window> windows, int64_t channels, Axis axis, int64_t quantile,
           int64_t sink, bool skip_in_ranges);

  int64_t windows() const { return std::ssize(windows_); }
  int64_t channels() const { return channels_; }
  int64_t sink() const { return sink_; }
  int64_t tokens(int64_t window) const { return windows_[static_cast<size_t>(window)].tokens; }

  // Of channels [d]; axis kChannel only.
  std::span<const Range> ranges() const { return ranges_; }

  // One token's u = fl(fl(x - z) / r) and weights, [d] each; w = 0 and u = 0 for what is no inlier:
  // u outside [-1, 1] or r = 0.
  void row(int64_t window, int64_t token, Weight weight, std::span<float> u,
           std::span<double> w) const;

 private:
  std::span<const Window> windows_;
  int64_t channels_;
  Axis axis_;
  int64_t sink_;
  std::vector<Range> ranges_;           // by channel
  std::vector<float> offset_, radius_;  // z and r, by channel, or by token of all windows
  std::vector<int64_t> first_;          // of each window among them
};

}  // namespace kvx::ref::kvquant
