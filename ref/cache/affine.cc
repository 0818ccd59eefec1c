#include "ref/cache/affine.h"

#include <cmath>
#include <string>

#include "sim/api/error.h"
#include "sim/api/fixed_refusals.h"
#include "sim/num/fixed.h"
#include "sim/num/formats.h"

namespace kvx::ref {

std::optional<size_t> AffineContent::append(int head, const AffineForm& form,
                                            const CanonicalBlock& block) {
  if (heads_.size() <= static_cast<size_t>(head)) heads_.resize(static_cast<size_t>(head) + 1);
  Head& to = heads_[static_cast<size_t>(head)];
  const size_t groups = to.scale.size();
  block_codes_ = block.codes.size();
  block_groups_ = block.scale.size();
  for (size_t i = 0; i < block.scale.size(); ++i) {
    const float s = num::f16_decode(static_cast<uint16_t>(block.scale[i]));
    const float stored = form.flip ? 0.0f : num::f16_decode(static_cast<uint16_t>(block.zero[i]));
    const float zero = form.flip             ? static_cast<float>(-form.flip) * s
                       : form.subtracts_zero ? -stored
                                             : stored;
    if (!std::isfinite(s) || !std::isfinite(zero)) {
      to.scale.resize(groups);
      to.zero.resize(groups);
      return i;
    }
    to.scale.push_back(s);
    to.zero.push_back(zero);
  }
  for (const uint8_t code : block.codes) to.codes.push_back(code ^ form.flip);
  return std::nullopt;
}

void AffineContent::truncate(int64_t blocks) {
  const auto count = static_cast<size_t>(blocks);
  for (Head& head : heads_) {
    if (head.codes.size() <= count * block_codes_) continue;
    head.codes.resize(count * block_codes_);
    head.scale.resize(count * block_groups_);
    head.zero.resize(count * block_groups_);
  }
}

AffineRows AffineContent::rows(int head, const AffineForm& form) const {
  AffineRows rows{.along_tokens = form.along_tokens, .group = form.group};
  if (static_cast<size_t>(head) >= heads_.size()) return rows;
  const Head& from = heads_[static_cast<size_t>(head)];
  if (from.codes.empty()) return rows;
  rows.codes = from.codes.data();
  rows.scale = from.scale.data();
  rows.zero = from.zero.data();
  return rows;
}

void require_fixed_domain(const Descriptor& descriptor, const CacheConfig& config) {
  if (config.shape.head_dim > num::fixed::kMaxDim)
    refuse_fixed(descriptor, config,
                 "the head dim " + std::to_string(config.shape.head_dim) + " is above " +
                     std::to_string(num::fixed::kMaxDim));
  refuse_fixed_non_finite(descriptor, config);
}

}  // namespace kvx::ref
