// What a descriptor of `kvquant` asks for (ref/kvquant.md, "Descriptor").
#pragma once

#include <array>
#include <cstdint>

#include "sim/api/cache.h"
#include "sim/api/descriptor.h"

namespace kvx::ref::kvquant {

enum class Type : uint8_t { kNuq, kNf, kInt };

// What shares one range [lo, hi]: all values of a token, found when it is appended, or all of a
// channel, calibrated. Channels are those of a layer: d = KV heads * head dim.
enum class Axis : uint8_t { kToken, kChannel };

struct Settings {
  Type type = Type::kNuq;
  int bits = 0;
  double outliers = 0;   // fraction o of values stored exactly; 0: none
  int64_t quantile = 0;  // E = 2 / o, whole; 0: no outliers
  int64_t sink = 0;      // first tokens kept exact
  bool qnorm = false;
  std::array<Axis, 2> axes = {Axis::kChannel, Axis::kToken};  // by side
  bool pre_rope = true;
  bool half_ranges = false;  // zr=fp16
  bool paper = false;        // profile=paper

  Axis axis(Side side) const { return axes[static_cast<size_t>(side)]; }
  int codes() const { return 1 << bits; }
  bool sparse() const { return quantile > 0; }
  // Whether cb=... must be given.
  bool calibrated() const {
    return type == Type::kNuq || axes[0] == Axis::kChannel || axes[1] == Axis::kChannel;
  }
};

// Throws a usage Error for keys that do not go together and for a fraction o without a whole 2/o;
// `cb` is not looked at.
Settings read_settings(const Descriptor& descriptor);

// m = floor((d - 1) / E) + 1: the values of a token of d channels that are outliers on either side
// (ref/kvquant.md, "Outliers"); 0 without outliers.
int64_t outliers_per_side(const Settings& settings, int64_t channels);

}  // namespace kvx::ref::kvquant
