// int: round-to-nearest integers of n = 2..8 bits in groups of g values, each group with an fp16
// scale and, unless symmetric, an fp16 zero. The formula of the QuaRot cache (arXiv 2404.00456) in
// binary32 with metadata rounded before it is used. Details and worked examples: ref/int.md.
//
// Open choices, with the row x = .7001953125 -1.2998046875 2.099609375 .04998779296875
// -.39990234375 1.900390625 -2.19921875 .330078125 (d = 8):
// - The stored (fp16) scale makes the codes: n = 4 gives s = 0x3496 and codes 10 3 15 8 6 14 0 9.
// - A range below 1e-5 counts as 1e-5, so that s is never 0: a constant row of 3 has s = 0x000B,
//   zero = 0xC200, codes 0.
// - Symmetric codes use -Q .. Q, not -Q - 1: n = 2 gives s = 0x4066 and codes 0 -1 1 0 0 1 -1 0.
//
// Layout of a block: GroupedCoder's. Packing pads each group to whole words: n = 3, g = 8 is the
// word 0x0083B9CD.
#include <algorithm>
#include <cmath>

#include "ref/cache/elements.h"
#include "ref/cache/grouped_coder.h"
#include "ref/cache/prefix_cache.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"
#include "sim/api/fixed_refusals.h"
#include "sim/num/formats.h"

namespace kvx::ref {
namespace {

// Scale of a group that holds a non-finite value, where such are let through.
constexpr uint16_t kNan = 0x7E00;

// Nearest integer, ties to even, cut to [low, high].
float round_clamp(float t, float low, float high) {
  return std::min(std::max(std::nearbyint(t), low), high);
}

GroupFormat format_of(GroupAxis axis, int dim, int group, int bits, bool symmetric) {
  return {.axis = axis,
          .dim = dim,
          .group = group,
          .bits = bits,
          .is_signed = symmetric,
          .has_zero = !symmetric,
          .subtracts_zero = !symmetric};
}

class AsymmetricCoder final : public GroupedCoder {
 public:
  AsymmetricCoder(GroupAxis axis, int dim, int group, int bits)
      : GroupedCoder(format_of(axis, dim, group, bits, false)),
        top_(static_cast<float>((1 << bits) - 1)) {}

 protected:
  // Q = 2^n - 1
  // s = fl16(max(max x - min x, 1e-5) / Q)
  // z = fl16(0 - min x)                        a minimum of +-0 stores +0
  // q = clamp(RNE((x + z) / s), 0, Q)
  void encode_group(std::span<const float> x, GroupCode& out) const override {
    if (!all_finite(x)) {
      std::fill(out.codes.begin(), out.codes.end(), uint8_t{0});
      out.scale = kNan;
      out.zero = 0;
      return;
    }
    const auto [low, high] = std::minmax_element(x.begin(), x.end());
    out.scale = num::f16_encode(std::max(*high - *low, 1e-5f) / top_);
    out.zero = num::f16_encode(0.0f - *low);
    const float s = num::f16_decode(out.scale);
    const float z = num::f16_decode(out.zero);
    const float top = top_;
    const std::span<uint8_t> codes = out.codes;
    for (size_t i = 0; i < x.size(); ++i) {
      const float shifted = x[i] + z;
      codes[i] = static_cast<uint8_t>(round_clamp(shifted / s, 0.0f, top));
    }
  }

  // x^ = fl16(q s - z), product and difference each rounded to binary32
  void decode_group(const GroupCode& in, std::span<float> x) const override {
    const float s = num::f16_decode(in.scale);
    const float z = num::f16_decode(in.zero);
    for (size_t i = 0; i < x.size(); ++i) {
      const float product = static_cast<float>(in.codes[i]) * s;
      x[i] = product - z;
    }
    num::f16_round(x, x);
  }

 private:
  float top_;  // Q
};

class SymmetricCoder final : public GroupedCoder {
 public:
  SymmetricCoder(GroupAxis axis, int dim, int group, int bits)
      : GroupedCoder(format_of(axis, dim, group, bits, true)),
        bits_(bits),
        top_(static_cast<float>((1 << (bits - 1)) - 1)) {}

 protected:
  // Q = 2^(n-1) - 1
  // s = fl16(max(max |x|, 1e-5) / Q)
  // q = clamp(RNE(x / s), -Q, Q), stored as n-bit two's complement
  void encode_group(std::span<const float> x, GroupCode& out) const override {
    if (!all_finite(x)) {
      std::fill(out.codes.begin(), out.codes.end(), uint8_t{0});
      out.scale = kNan;
      return;
    }
    float largest = 1e-5f;
    for (const float value : x) largest = std::max(largest, std::abs(value));
    out.scale = num::f16_encode(largest / top_);
    const float s = num::f16_decode(out.scale);
    const unsigned mask = (1u << bits_) - 1u;
    const float top = top_;
    const std::span<uint8_t> codes = out.codes;
    for (size_t i = 0; i < x.size(); ++i) {
      const auto q = static_cast<int>(round_clamp(x[i] / s, -top, top));
      codes[i] = static_cast<uint8_t>(static_cast<unsigned>(q) & mask);
    }
  }

  // x^ = fl16(q s); q = 0 gives +0
  void decode_group(const GroupCode& in, std::span<float> x) const override {
    const float s = num::f16_decode(in.scale);
    const int half = 1 << (bits_ - 1);
    for (size_t i = 0; i < x.size(); ++i) {
      const int q = (in.codes[i] ^ half) - half;
      x[i] = static_cast<float>(q) * s;
    }
    num::f16_round(x, x);
  }

 private:
  int bits_;
  float top_;  // Q
};

SideScheme make_side(const Descriptor& descriptor, const std::string& side, int dim) {
  const auto bits = static_cast<int>(descriptor.get_int(side));
  const bool along_tokens = descriptor.get_word(side + "axis") == "channel";
  const int64_t g = descriptor.find_int("g").value_or(along_tokens ? 32 : dim);
  if (!along_tokens && dim % g != 0) {
    throw usage_error("int: g=" + std::to_string(g) + " does not divide the head dim " +
                      std::to_string(dim) + " (" + side + " groups lie along channels)");
  }
  const GroupAxis axis = along_tokens ? GroupAxis::kTokens : GroupAxis::kChannels;
  const auto group = static_cast<int>(g);
  std::unique_ptr<GroupedCoder> coder;
  if (descriptor.has_flag("sym")) {
    coder = std::make_unique<SymmetricCoder>(axis, dim, group, bits);
  } else {
    coder = std::make_unique<AsymmetricCoder>(axis, dim, group, bits);
  }
  SideScheme result;
  result.affine = coder->affine();
  result.coder = std::move(coder);
  // A query reads its own row, and a group that its token completes, decoded.
  const int64_t block = result.coder->tokens();
  result.rule.sealed_after = [block](int64_t length) { return length / block * block; };
  result.rule.sealed_for_query = [block](int64_t position) {
    return (position + 1) / block * block;
  };
  result.rule.sentence =
      along_tokens
          ? "a group of " + std::to_string(g) +
                " tokens is sealed when its last token is appended, before the read; the open "
                "group stays f16"
          : "every token is sealed when it is appended, before the read";
  return result;
}

}  // namespace

std::unique_ptr<StoredCache> make_int(const Descriptor& descriptor, const CacheConfig& config) {
  const int dim = config.shape.head_dim;
  require_fixed_domain(descriptor, config);
  if (descriptor.get_word("vaxis") == "channel")
    refuse_fixed(descriptor, config, "its groups of V lie along tokens");
  return std::make_unique<PrefixCache>(Traits{}, config, make_side(descriptor, "k", dim),
                                       make_side(descriptor, "v", dim));
}

}  // namespace kvx::ref
