// KIVI (arXiv 2402.02750): asymmetric round-to-nearest codes of b = 2, 4 or 8 bits. Keys in groups
// along tokens (per channel), values in groups along channels (per token); the newest tokens stay
// exact. Details and worked examples: ref/kivi.md.
//
// The arithmetic is the official code's (quant/new_pack.py of jy-yuan/KIVI, GPU path), bit for bit:
// all values are fp16, every operator is one binary32 operation rounded to fp16. Open choices, with
// b = 2 and x from -1 to 1 (mn = -1, s = 0x3955):
// - The quotient is rounded to fp16 before it is rounded to an integer: x = 0x8C01 has the binary32
//   quotient 1.49999964 but t = 1.5, hence code 2; x = 0x3955 has t = 2.5, a tie, hence code 2
//   (binary32 says 3).
// - The scale is the range times the binary32 reciprocal of Q, as the framework divides by a
//   constant.
// - Decoded values are the helper's, two fp16 roundings: code 3 reads 1.0 (the fused kernel's
//   binary32 form: 0.99951171875).
// - NaN scales and minima, which only non-finite input makes, are stored as 0x7E00.
//
// Layout of a block: GroupedCoder's. K block: g tokens, codes [D][g/W] words, scale [D], minimum
// [D]. V block: one token, codes [D/W], scale [D/g], minimum [D/g]. W = 32 / b codes a word. The
// official packed tensors are these words: K [D][Tk/W], V [Tv][D/W].
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "ref/cache/grouped_coder.h"
#include "ref/cache/prefix_cache.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::ref {
namespace {

float fl16(float x) { return num::f16_round(x); }

uint16_t stored(float x) { return std::isnan(x) ? uint16_t{0x7E00} : num::f16_encode(x); }

// -0 < +0, as the official reduction orders them.
bool less(float a, float b) { return a < b || (a == b && std::signbit(a) && !std::signbit(b)); }

class KiviCoder final : public GroupedCoder {
 public:
  KiviCoder(GroupAxis axis, int dim, int group, int bits)
      : GroupedCoder({.axis = axis,
                      .dim = dim,
                      .group = group,
                      .bits = bits,
                      .has_zero = true,
                      .official_words = true}),
        top_(static_cast<float>((1 << bits) - 1)),
        inverse_(1.0f / top_) {}

 protected:
  // mn = min x, mx = max x                 NaN elements are skipped
  // r  = fl16(mx - mn)
  // s  = fl16(r * fl32(1 / Q))
  // d  = fl16(x - mn)
  // t  = fl16(d / s), then clamped to 0 .. Q, NaN passing
  // c  = RNE(t), NaN gives 0
  void encode_group(std::span<const float> x, GroupCode& out) const override {
    float mn = std::numeric_limits<float>::quiet_NaN();
    float mx = mn;
    for (const float value : x) {
      if (std::isnan(value)) continue;
      if (std::isnan(mn) || less(value, mn)) mn = value;
      if (std::isnan(mx) || less(mx, value)) mx = value;
    }
    const float r = fl16(mx - mn);
    const float s = fl16(r * inverse_);
    out.scale = stored(s);
    out.zero = stored(mn);
    std::array<float, 128> values;  // the longest group
    const std::span t(values.data(), x.size());
    for (size_t i = 0; i < x.size(); ++i) t[i] = x[i] - mn;
    num::f16_round(t, t);
    for (float& value : t) value = value / s;
    num::f16_round(t, t);
    for (size_t i = 0; i < x.size(); ++i) {
      const float clamped = t[i] < 0.0f ? 0.0f : t[i] > top_ ? top_ : t[i];
      out.codes[i] = std::isnan(t[i]) ? uint8_t{0} : static_cast<uint8_t>(std::nearbyint(clamped));
    }
  }

  // x^ = fl16(fl16(c * s) + mn)
  void decode_group(const GroupCode& in, std::span<float> x) const override {
    const float s = num::f16_decode(in.scale);
    const float mn = num::f16_decode(in.zero);
    for (size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(in.codes[i]) * s;
    num::f16_round(x, x);
    for (float& value : x) value = value + mn;
    num::f16_round(x, x);
  }

 private:
  float top_;      // Q = 2^b - 1
  float inverse_;  // fl32(1 / Q)
};

int64_t whole(int64_t tokens, int64_t block) { return tokens / block * block; }

// Keys are sealed `block` tokens at a time; repo: after the read of the token that completes the
// block, paper: before it.
SealRule key_rule(int64_t block, bool before_read) {
  SealRule rule;
  rule.sealed_after = [block](int64_t length) { return whole(length, block); };
  rule.sealed_for_query = [block, before_read](int64_t position) {
    return whole(before_read ? position + 1 : position, block);
  };
  rule.sentence = std::to_string(block) + " tokens are sealed when the last of them is appended, " +
                  (before_read ? "before" : "after") + " its query reads";
  return rule;
}

// Values leave a window of the newest `window` tokens one at a time; before or after the read as
// above.
SealRule value_rule(int64_t window, bool before_read) {
  SealRule rule;
  const auto outside = [window](int64_t tokens) { return std::max<int64_t>(0, tokens - window); };
  rule.sealed_after = outside;
  rule.sealed_for_query = [outside, before_read](int64_t position) {
    return outside(before_read ? position + 1 : position);
  };
  rule.sentence = window == 0 ? "a token is sealed when it is appended, "
                              : "the newest " + std::to_string(window) +
                                    " tokens are exact; an older one is sealed ";
  rule.sentence += before_read ? "before the newest token's query reads"
                               : "after the newest token's query reads";
  return rule;
}

}  // namespace

std::unique_ptr<StoredCache> make_kivi(const Descriptor& descriptor, const CacheConfig& config) {
  const int dim = config.shape.head_dim;
  const auto group = static_cast<int>(descriptor.get_int("g"));
  const int64_t residual = descriptor.get_int("r");
  if (dim % group != 0) {
    throw usage_error("kivi: g=" + std::to_string(group) + " does not divide the head dim " +
                      std::to_string(dim));
  }
  if (residual % group != 0) {
    throw usage_error("kivi: r=" + std::to_string(residual) +
                      " is not a multiple of g=" + std::to_string(group));
  }
  // Without windows (mode `all`) r counts as 0, and everything goes through the codec before the
  // read.
  const bool windows = config.windows == Windows::kKept;
  const int64_t r = windows ? residual : 0;
  const bool before_read = !windows || descriptor.get_word("profile") == "paper";
  require_fixed_domain(descriptor, config);
  const auto side = [&](GroupAxis axis, const char* bits, SealRule rule) {
    auto coder =
        std::make_unique<KiviCoder>(axis, dim, group, static_cast<int>(descriptor.get_int(bits)));
    SideScheme result;
    result.affine = coder->affine();
    result.coder = std::move(coder);
    result.rule = std::move(rule);
    return result;
  };
  return std::make_unique<PrefixCache>(
      Traits{}, config, side(GroupAxis::kTokens, "k", key_rule(r > 0 ? r : group, before_read)),
      side(GroupAxis::kChannels, "v", value_rule(r, before_read)));
}

}  // namespace kvx::ref
