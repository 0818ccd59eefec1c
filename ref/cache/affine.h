// Sealed content in the form that arithmetic `fixed` reads (sim/num/fixed.md, 2), kept beside the
// stored bytes so that no step of generation unpacks old rows again.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "sim/api/cache.h"
#include "sim/api/coder.h"
#include "sim/api/descriptor.h"

namespace kvx::ref {

// What a coder's canonical content says: x^ = code * scale + zero.
struct AffineForm {
  bool along_tokens = false;
  int group = 0;
  // 2^(b-1) of symmetric codes, else 0: fixed reads code + 2^(b-1), here the two's complement with
  // its top bit turned over, and the zero -2^(b-1) s.
  uint8_t flip = 0;
  bool subtracts_zero = false;  // the stored zero is that of code * s - z
};

// A copy of what is stored: in no count and no image. Forks have their own.
class AffineContent {
 public:
  // Adds the next block of a head, in which scales and zeros are binary16. Adds nothing and returns
  // the number of the first group (CanonicalBlock::scale) whose scale or zero is not finite.
  std::optional<size_t> append(int head, const AffineForm& form, const CanonicalBlock& block);

  // Leaves the first `blocks` blocks of every head, where there are more.
  void truncate(int64_t blocks);

  AffineRows rows(int head, const AffineForm& form) const;

 private:
  struct Head {
    std::vector<uint8_t> codes;
    std::vector<float> scale, zero;
  };
  std::vector<Head> heads_;
  size_t block_codes_ = 0, block_groups_ = 0;
};

// refuse_fixed() for what no scheme of affine codes has: non-finite input, longer heads.
void require_fixed_domain(const Descriptor& descriptor, const CacheConfig& config);

}  // namespace kvx::ref
