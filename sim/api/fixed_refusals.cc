#include "sim/api/fixed_refusals.h"

#include <algorithm>
#include <cmath>
#include <string>

namespace kvx {

void refuse_fixed(const Descriptor& descriptor, const CacheConfig& config, std::string_view why) {
  if (config.arithmetic != Arithmetic::kFixed) return;
  throw usage_error(descriptor.str() + " has no arithmetic fixed: " + std::string(why));
}

void refuse_fixed_non_finite(const Descriptor& descriptor, const CacheConfig& config) {
  if (config.nonfinite == NonFinite::kPropagate)
    refuse_fixed(descriptor, config, "its numbers are finite, and others are to be let through");
}

Error infinite_scale(int layer, Side side, int64_t head, int64_t token, int64_t channel) {
  return environment_error("layer " + std::to_string(layer) + ", " + side_name(side) + ", head " +
                           std::to_string(head) + ", token " + std::to_string(token) +
                           ", channel " + std::to_string(channel) +
                           ": the scale of their group is not finite, and arithmetic fixed cannot "
                           "read it");
}

void require_fixed_queries(int layer, ConstRows q, std::span<const Span> spans) {
  int64_t at = 0;
  for (const Span& span : spans) {
    for (int64_t t = 0; t < span.count; ++t, ++at) {
      for (int h = 0; h < q.heads; ++h) {
        const float* row = q.row(at, h);
        const float* bad =
            std::find_if(row, row + q.dim, [](float x) { return !(std::fabs(x) <= 0x1p+64f); });
        if (bad == row + q.dim) continue;
        throw environment_error("layer " + std::to_string(layer) + ", q, head " +
                                std::to_string(h) + ", token " + std::to_string(span.first + t) +
                                ", channel " + std::to_string(bad - row) + ": " +
                                std::to_string(*bad) + " is out of the range of arithmetic fixed");
      }
    }
  }
}

}  // namespace kvx
