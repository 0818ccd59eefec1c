// What a descriptor of `kvquant` asks for (ref/kvquant.md).
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "sim/api/artifact.h"
#include "sim/api/cache.h"
#include "sim/api/descriptor.h"

namespace kvx::gpu::kvquant {

enum class Type : uint8_t { kNuq, kNf, kInt };

struct Settings {
  Type type = Type::kNuq;
  int bits = 0;
  double outliers = 0;   // fraction o of values kept exactly
  int64_t quantile = 0;  // E = 2 / o; 0: no outliers
  int32_t sink = 0;
  bool qnorm = false;
  std::array<bool, 2> by_token = {false,
                                  true};  // by Side: the range is the token's, else calibrated
  bool unrotated = true;                  // keys
  bool half_ranges = false;               // zr=fp16
  bool paper = false;

  int codes() const { return 1 << bits; }
  bool sparse() const { return quantile > 0; }
  bool integer() const { return type == Type::kInt; }
  bool token_range(Side side) const { return by_token[static_cast<size_t>(side)]; }
  // Every token has 2m outliers; else they are counted token by token.
  bool counted(Side side) const { return sparse() && !(paper && token_range(side)); }
  // m: outliers of either side of a token of `channels` channels.
  int64_t per_side(int64_t channels) const { return sparse() ? (channels - 1) / quantile + 1 : 0; }
};

// Throws a usage Error where keys do not go together or do not fit the layer.
Settings read_settings(const Descriptor& descriptor, const LayerShape& shape);

// The artifact that `cb` names; nullptr where none is needed. Throws a usage Error where it is
// missing, has no use, or says that it was calibrated for something else; an environment Error
// where it is not loaded.
std::shared_ptr<const Artifact> find_artifact(const Descriptor& descriptor,
                                              const Settings& settings, const CacheConfig& config);

}  // namespace kvx::gpu::kvquant
