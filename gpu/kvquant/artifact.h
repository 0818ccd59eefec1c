// Tensors of an artifact as kvquant reads them (ref/kvquant.md, "The artifact").
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "sim/api/artifact.h"
#include "sim/api/cache.h"
#include "sim/api/error.h"

namespace kvx::gpu::kvquant {

// Those of one side of a layer. All throw an environment Error naming file, tensor and value where
// one is missing, has another type or shape, or holds what it may not.
class ArtifactSide {
 public:
  ArtifactSide(const Artifact& artifact, int layer, Side side)
      : artifact_(artifact),
        prefix_("layers." + std::to_string(layer) + "." + side_name(side) + ".") {}

  // Finite binary32 numbers.
  std::vector<float> floats(const std::string& name, int64_t count) const;
  // A codebook of so many finite numbers.
  std::vector<float> codebook(int codes, bool ascending) const;
  // Patterns of lo <= hi, finite binary16 numbers, zeros positive.
  void read_ranges(int64_t count, std::vector<uint16_t>& lo, std::vector<uint16_t>& hi) const;

 private:
  std::string where(const std::string& name) const;
  Error wrong(const std::string& name, int64_t value, const std::string& why) const;
  std::span<const std::byte> bytes(const std::string& name, const std::string& dtype,
                                   int64_t count) const;
  std::vector<uint16_t> halves(const std::string& name, int64_t count) const;

  const Artifact& artifact_;
  std::string prefix_;
};

}  // namespace kvx::gpu::kvquant
