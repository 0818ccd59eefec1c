// The law of stored metadata for kvquant, from ref/kvquant.md: codes follow from the stored ranges
// and codebook, and outliers are what lies outside the ranges.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "ref/kvquant/tables.h"
#include "tests/laws/laws.h"

namespace kvx::laws {
namespace {

using Tensors = std::map<std::string, test::Exported>;

struct Rule {
  std::string type;
  int bits;
  bool paper, half, channels, sparse;
  std::vector<float> codebook;

  Rule(const Descriptor& descriptor, Side side, const Tensors& tensors)
      : type(descriptor.get_word("type")),
        bits(type.back() - '0'),
        paper(descriptor.get_word("profile") == "paper"),
        channels(descriptor.get_word(side == Side::kK ? "kaxis" : "vaxis") == "channel"),
        sparse(descriptor.get_real("o") > 0) {
    half = channels && descriptor.get_word("zr") == "fp16";
    if (type.starts_with("nuq")) {
      codebook = tensors.at(std::string(side_name(side)) + ".codebook").as<float>();
    } else if (type.starts_with("nf")) {
      const auto values = ref::kvquant::normal_float(bits);
      codebook.assign(values.begin(), values.end());
    }
  }

  float fl(float x) const { return half ? num::f16_round(x) : x; }

  int code(float x, float lo, float hi, bool outlier) const {
    const bool hidden = outlier && !paper;
    const auto top = static_cast<float>((1 << bits) - 1);
    if (codebook.empty()) {
      const float k = paper ? top / (hi - lo) : fl(fl(1.0f / fl(hi - lo)) * top);
      float o = fl(lo * k);
      if (paper && !channels && !std::isnan(o)) o = std::clamp(std::nearbyint(o), -top, 0.0f);
      const float t = std::nearbyint(k * (hidden ? 0.0f : x) - o);
      return std::isnan(t) ? 0 : static_cast<int>(std::clamp(t, 0.0f, top));
    }
    const float z = fl(fl(hi + lo) / 2), r = fl(fl(hi - lo) / 2);
    if (r == 0.0f) return 0;
    const float u = hidden ? 0.0f : (x - z) / r;
    std::vector<float> distances;
    for (const float c : codebook) distances.push_back(std::fabs(u - c));
    return static_cast<int>(std::min_element(distances.begin(), distances.end()) -
                            distances.begin());
  }
};

}  // namespace

void kvquant_codes_follow_from_ranges(const Descriptor& descriptor, Side side,
                                      const Tensors& tensors, const test::Tensor& given) {
  const std::string p = std::string(side_name(side)) + ".";
  const Rule rule(descriptor, side, tensors);
  const auto codes = tensors.at(p + "codes").as<uint8_t>();
  const auto sealed = tensors.at(p + "sealed").as<uint8_t>();
  const std::vector<float> lo = test::from_f16(tensors.at(p + "lo").as<uint16_t>());
  const std::vector<float> hi = test::from_f16(tensors.at(p + "hi").as<uint16_t>());
  const int64_t tokens = given.tokens;
  for (int64_t t = 0; t < tokens; ++t) {
    std::set<int64_t> outliers;
    if (rule.sparse) {
      const auto starts = tensors.at(p + "outlier.start").as<uint32_t>();
      const auto index = tensors.at(p + "outlier.index").as<uint32_t>();
      for (uint32_t i = starts[static_cast<size_t>(t)]; i < starts[static_cast<size_t>(t + 1)]; ++i)
        outliers.insert(index[i]);
    }
    for (int64_t channel = 0; channel < kHeads * kDim; ++channel) {
      const int64_t head = channel / kDim;
      const auto at = static_cast<size_t>((head * tokens + t) * kDim + channel % kDim);
      if (sealed[static_cast<size_t>(head * tokens + t)] == 0) {
        RC_ASSERT(codes[at] == 0 && outliers.empty());
        continue;
      }
      const auto range = static_cast<size_t>(rule.channels ? channel : t);
      const float x =
          num::f16_round(given.values[static_cast<size_t>(t * kHeads * kDim + channel)]);
      const bool outlier = outliers.contains(channel);
      const bool outside = x < lo[range] || x > hi[range];
      if (rule.sparse) RC_ASSERT(!outside || outlier);
      if (rule.sparse && rule.channels) RC_ASSERT(outlier == outside);
      RC_ASSERT(codes[at] == rule.code(x, lo[range], hi[range], outlier));
    }
  }
}

}  // namespace kvx::laws
