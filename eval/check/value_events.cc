// The events of the arithmetic: quotients by the formulas of the schemes' pages, over the first
// tokens of sequence 0.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "eval/check/events.h"
#include "eval/check/kvquant_events.h"
#include "sim/api/descriptor.h"
#include "sim/num/formats.h"
#include "sim/num/minifloat.h"

namespace kvx::check {
namespace {

constexpr int64_t kTokens = 1024;  // looked at

float f16(float x) { return num::f16_round(x); }

// A group as stored: values in the input type, and metadata.
struct Group {
  std::vector<float> x;
  float scale = 0;
  float zero = 0;
};

// How values of one side are coded.
struct Coding {
  std::string scheme;
  bool along_tokens = false;
  int64_t group = 1;
  int bits = 8;
  bool symmetric = false;
  std::string type;  // of fp8, ggml
  bool per_token = false;
};

Coding coding_of(const Case& one, Side side) {
  const Descriptor d = Descriptor::parse(one.scheme);
  Coding c;
  c.scheme = d.name();
  if (c.scheme == "int") {
    c.along_tokens = d.get_word(std::string(side_name(side)) + "axis") == "channel";
    c.group = d.find_int("g").value_or(c.along_tokens ? 32 : one.dim);
    c.bits = static_cast<int>(d.get_int(side_name(side)));
    c.symmetric = d.has_flag("sym");
  } else if (c.scheme == "kivi") {
    c.along_tokens = side == Side::kK;
    c.group = d.get_int("g");
    c.bits = static_cast<int>(d.get_int(side_name(side)));
  } else if (c.scheme == "ggml") {
    c.type = d.get_word("type");
    c.group = 32;
    c.bits = c.type[1] - '0';
  } else if (c.scheme == "fp8") {
    c.type = d.get_word("type");
    c.per_token = d.get_word("scale") == "token";
    c.group = one.dim;
  } else if (c.scheme == "fp") {
    c.type = d.get_word("type");
    c.group = one.dim;
  }
  return c;
}

class Finder {
 public:
  Finder(const Coding& coding, Events& events) : c_(coding), events_(events) {}

  // An input as it is given.
  void input(float given) {
    const bool bf16 = c_.scheme == "fp" && c_.type == "bf16";
    if (c_.scheme == "fp" && c_.type == "f32") {
      if (given == 0.0f && std::signbit(given)) set(Event::kNegativeZero);
      if (std::fpclassify(given) == FP_SUBNORMAL) set(Event::kSubnormalInput);
      if (!std::isfinite(given)) set(Event::kNonFiniteInput);
      return;
    }
    const float x = bf16 ? num::bf16_round(given) : f16(given);
    const float least_normal = bf16 ? 0x1p-126f : 0x1p-14f;
    if (x == 0.0f && std::signbit(x)) set(Event::kNegativeZero);
    if (x != 0.0f && std::abs(x) < least_normal) set(Event::kSubnormalInput);
    if (!std::isfinite(given)) return set(Event::kNonFiniteInput);
    if (!std::isfinite(x)) return set(Event::kInputOverflow);
    if (x == 0.0f && given != 0.0f) set(Event::kFlush);
    // Mirrored at the input: the other neighbour, if the input is half way.
    const double other = 2.0 * static_cast<double>(given) - static_cast<double>(x);
    const auto single = static_cast<float>(other);
    if (other != static_cast<double>(x) && static_cast<double>(single) == other &&
        (bf16 ? num::bf16_round(single) : f16(single)) == single)
      set(Event::kInputTie);
  }

  void group(const Group& g) {
    if (!std::all_of(g.x.begin(), g.x.end(), [](float x) { return std::isfinite(x); })) return;
    const auto [low, high] = std::minmax_element(g.x.begin(), g.x.end());
    const auto negative_zero = [](float x) { return x == 0.0f && std::signbit(x); };
    const auto positive_zero = [](float x) { return x == 0.0f && !std::signbit(x); };
    const bool constant = *low == *high;
    if (constant) set(*low == 0.0f ? Event::kZeroGroup : Event::kConstantGroup);
    if (std::any_of(g.x.begin(), g.x.end(), negative_zero) &&
        std::any_of(g.x.begin(), g.x.end(), positive_zero))
      set(Event::kMixedZeros);
    if (c_.scheme != "fp" && c_.scheme != "fp8") {
      if (std::isinf(g.scale)) set(Event::kOverflow);
      if (g.scale != 0.0f && std::abs(g.scale) < 0x1p-14f) set(Event::kSubnormalScale);
      if (g.scale == 0.0f && !constant) set(Event::kFlush);
    }
    if (c_.scheme == "int") integers(g);
    if (c_.scheme == "kivi") kivi(g);
    if (c_.scheme == "ggml") ggml(g);
    if (c_.scheme == "fp8") fp8(g);
  }

 private:
  void set(Event event) { events_.set(static_cast<size_t>(event)); }

  // A quotient among codes low .. high.
  void quotient(float t, float low, float high) {
    if (!std::isfinite(t)) return;
    if (t - std::floor(t) == 0.5f) set(Event::kTie);
    if (std::nearbyint(t) < low || std::nearbyint(t) > high) set(Event::kClamp);
  }

  void integers(const Group& g) {
    if (c_.group * c_.bits % 32 != 0) set(Event::kPaddedGroup);
    const int levels = (1 << (c_.symmetric ? c_.bits - 1 : c_.bits)) - 1;
    const auto top = static_cast<float>(levels);
    for (const float x : g.x) {
      const float t = c_.symmetric ? x / g.scale : (x + g.zero) / g.scale;
      quotient(t, c_.symmetric ? -top : 0.0f, top);
      const float code = std::clamp(std::nearbyint(t), c_.symmetric ? -top : 0.0f, top);
      if (std::isinf(f16(c_.symmetric ? code * g.scale : code * g.scale - g.zero)))
        set(Event::kOverflow);
    }
  }

  void kivi(const Group& g) {
    const auto top = static_cast<float>((1 << c_.bits) - 1);
    for (const float x : g.x) {
      const float t = f16(f16(x - g.zero) / g.scale);
      quotient(t, 0.0f, top);
    }
  }

  void ggml(const Group& g) {
    const bool has_minimum = c_.type.back() == '1';
    const float low = *std::min_element(g.x.begin(), g.x.end());
    const float high = *std::max_element(g.x.begin(), g.x.end());
    const float half = static_cast<float>(1 << (c_.bits - 1));
    const float top = 2.0f * half - 1.0f;
    if (c_.bits == 8) {
      const float d = std::max(std::abs(low), std::abs(high)) / 127.0f;
      for (const float x : g.x) quotient(d == 0.0f ? 0.0f : x * (1.0f / d), -127.0f, 127.0f);
    } else if (has_minimum) {
      const float d = (high - low) / top;
      for (const float x : g.x) shifted(x - low, d == 0.0f ? 0.0f : 1.0f / d, 0.0f, top);
    } else {
      float extreme = 0.0f;
      for (const float x : g.x)
        if (std::abs(x) > std::abs(extreme)) extreme = x;
      const float d = extreme / -half;
      for (const float x : g.x) shifted(x, d == 0.0f ? 0.0f : 1.0f / d, half, top);
    }
  }

  // trunc(x id + (offset + .5)), as the block formats of 4 and 5 bits round.
  void shifted(float x, float id, float offset, float top) {
    quotient(x * id + offset, 0.0f, top);
    const float product = x * id;
    if (std::trunc(product + (offset + 0.5f)) != std::trunc(std::fma(x, id, offset + 0.5f)))
      set(Event::kFused);
  }

  void fp8(const Group& g) {
    const bool e5m2 = c_.type == "e5m2";
    const float largest = e5m2 ? 57344.0f : 448.0f;
    if (c_.per_token && g.scale == 1e-6f) set(Event::kSubnormalScale);
    const auto value = [e5m2](int code) {
      return e5m2 ? num::e5m2_decode(static_cast<uint8_t>(code))
                  : num::e4m3_decode(static_cast<uint8_t>(code));
    };
    for (const float x : g.x) {
      const float t = std::abs(c_.per_token ? x * (1.0f / g.scale) : x / g.scale);
      if (t > largest) {
        set(Event::kClamp);
        continue;
      }
      const int code = e5m2 ? num::e5m2_encode(t) : num::e4m3_encode(t);
      if (code == 0 && t != 0.0f) set(Event::kFlush);
      if (code > 0 && code < (e5m2 ? 4 : 8)) set(Event::kSubnormalCode);
      if (std::isinf(f16(value(code) * g.scale))) set(Event::kOverflow);
      const float a = value(code);
      const bool above = t > a;
      if (t == a || (above && a == largest)) continue;
      const float b = value(above ? code + 1 : code - 1);
      if (static_cast<double>(a) + static_cast<double>(b) == 2.0 * static_cast<double>(t))
        set(Event::kTie);
    }
  }

  const Coding& c_;
  Events& events_;
};

// Element `index` of a tensor of scales, widened; 1 where there is no such tensor.
float metadata(const std::map<std::string, Thing>& content, const std::string& name, size_t index,
               float fallback) {
  const auto found = content.find(name);
  if (found == content.end()) return fallback;
  const bool wide = found->second.dtype == "F32";
  const size_t width = wide ? 4 : 2;
  if ((index + 1) * width > found->second.bytes.size()) return fallback;
  if (wide) {
    float value;
    std::memcpy(&value, &found->second.bytes[index * 4], 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, &found->second.bytes[index * 2], 2);
  return num::f16_decode(bits);
}

void side_events(const Case& one, Side side, ConstRows rows,
                 const std::map<std::string, Thing>& content, Events& events) {
  const Coding coding = coding_of(one, side);
  Finder finder(coding, events);
  for (int64_t t = 0; t < rows.tokens; ++t)
    for (int i = 0; i < rows.heads * rows.dim; ++i) finder.input(rows.row(t, 0)[i]);
  if (coding.scheme == "kvquant") return kvquant_events(one, side, rows, content, events);
  const std::string prefix = std::string(side_name(side)) + ".";
  const auto sealed = content.find(prefix + "sealed");
  if (sealed == content.end()) return;
  const int64_t length = sealed->second.shape[1];
  const int64_t unit = coding.along_tokens ? coding.group : 1;
  const int64_t groups = coding.along_tokens ? one.dim : one.dim / coding.group;  // of a block
  Group group;
  for (int64_t head = 0; head < one.kv_heads; ++head) {
    for (int64_t block = 0; (block + 1) * unit <= std::min(rows.tokens, length); ++block) {
      if (sealed->second.bytes[static_cast<size_t>(head * length + block * unit)] == std::byte{0})
        break;
      for (int64_t i = 0; i < groups; ++i) {
        group.x.clear();
        for (int64_t j = 0; j < coding.group; ++j) {
          const float* row =
              rows.row(block * unit + (coding.along_tokens ? j : 0), static_cast<int>(head));
          group.x.push_back(f16(row[coding.along_tokens ? i : i * coding.group + j]));
        }
        auto at = static_cast<size_t>((head * (length / unit) + block) * groups + i);
        if (coding.scheme == "fp8" && !coding.per_token) {
          const auto table = content.find(prefix + "scale");
          const bool per_head = table != content.end() && table->second.shape[0] > 1;
          at = per_head ? static_cast<size_t>(head) : 0;
        }
        group.scale = metadata(content, prefix + "scale", at, 1.0f);
        group.zero = metadata(content, prefix + "zero", at, 0.0f);
        finder.group(group);
      }
    }
  }
}

}  // namespace

Events value_events(const Case& one, const Inputs& inputs,
                    const std::map<std::string, Thing>& content) {
  Events events;
  const int64_t tokens = std::min(inputs.tokens(0), kTokens);
  side_events(one, Side::kK, inputs.k(0, 0, tokens), content, events);
  side_events(one, Side::kV, inputs.v(0, 0, tokens), content, events);
  return events;
}

}  // namespace kvx::check
