#include "eval/check/fuzz.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>

#include "eval/check/scales.h"
#include "ref/registry.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"
#include "sim/gen/random.h"

namespace kvx::check {
namespace {

class Dice {
 public:
  Dice(uint64_t seed, uint64_t index) : seed_(seed), index_(index) {}

  // In [0, n).
  int64_t below(int64_t n) {
    const gen::Source source{seed_, 0, draw_++};
    return static_cast<int64_t>(source.words(index_)[0] % static_cast<uint64_t>(n));
  }
  bool one_in(int64_t n) { return below(n) == 0; }
  template <class T>
  T of(std::initializer_list<T> values) {
    return values.begin()[below(static_cast<int64_t>(values.size()))];
  }

 private:
  uint64_t seed_, index_;
  uint32_t draw_ = 0;
};

std::string key_item(const KeySpec& key, Dice& dice) {
  const auto word = [&] {
    return std::string(
        key.words[static_cast<size_t>(dice.below(static_cast<int64_t>(key.words.size())))]);
  };
  switch (key.kind) {
    case KeyKind::kInt: {
      if (!key.ints.empty())
        return fmt::format(
            "{}{}", key.name,
            key.ints[static_cast<size_t>(dice.below(static_cast<int64_t>(key.ints.size())))]);
      // Of a wide range mostly what is likely to fit a head dim or another key.
      const int64_t range = key.max - key.min + 1;
      const int64_t value = range <= 64      ? key.min + dice.below(range)
                            : dice.one_in(4) ? 1 + dice.below(40)
                                             : dice.of<int64_t>({0, 8, 16, 32, 64, 96, 128, 256});
      return fmt::format("{}{}", key.name, std::clamp(value, key.min, key.max));
    }
    case KeyKind::kWord:
      return fmt::format("{}={}", key.name, word());
    case KeyKind::kFlag:
      return word();
    case KeyKind::kArtifact:
      return fmt::format("{}=#{:08x}", key.name, dice.below(INT64_C(1) << 32));
    case KeyKind::kReal:
      return fmt::format("{}{}", key.name,
                         dice.of({"0.001", "0.01", "0.02", "0.05", "0.1", "0.4"}));
    case KeyKind::kDescriptor:
      break;
  }
  throw usage_error(fmt::format("fuzz: no values for key '{}'", key.name));
}

std::string descriptor(const SchemeSchema& scheme, Dice& dice) {
  std::string text = std::string(scheme.name) + ":";
  bool first = true;
  for (const KeySpec& key : scheme.keys) {
    if (!key.required && dice.one_in(2)) continue;
    if (!first && !key.glued_to_previous) text += ',';
    text += key_item(key, dice);
    first = false;
  }
  return text;
}

std::vector<Step> steps(Dice& dice, const Case& one) {
  std::vector<Step> all;
  // Attention of one append over all tokens stays below some 10^8 products, mostly far below.
  const auto most =
      static_cast<int64_t>(std::sqrt(1e8 / static_cast<double>(one.q_heads * one.dim * one.batch)));
  int64_t left = dice.one_in(4) ? 1 + dice.below(2 * most) : 1 + dice.below(most);
  const int64_t appends = 1 + dice.below(5);
  for (int64_t i = 0; i < appends && left > 0; ++i) {
    const int64_t count = dice.one_in(2) ? 1 + dice.below(4) : 1 + dice.below(left);
    all.push_back({Step::kAppend, std::min(count, left)});
    left -= count;
    if (dice.one_in(8)) all.push_back({Step::kFork, 0});
    if (dice.one_in(8)) all.push_back({Step::kCut, dice.below(70)});
    if (dice.one_in(4)) all.push_back({Step::kSettle, 0});
  }
  return all;
}

// Whether queries of the fill are of the range of arithmetic `fixed`.
bool finite(gen::Fill fill) {
  return fill != gen::Fill::kNonFinite && fill != gen::Fill::kF32Extreme;
}

}  // namespace

Case fuzz_case(uint64_t seed, uint64_t index, const std::function<bool(std::string_view)>& wanted,
               Arithmetic arithmetic) {
  std::vector<const SchemeSchema*> known;
  for (const SchemeSchema& scheme : schemes())
    if (wanted(scheme.name)) known.push_back(&scheme);
  if (known.empty()) throw usage_error("fuzz: no scheme to draw from");
  Dice dice(seed, index);
  for (int tries = 0; tries < 10000; ++tries) {
    Case one;
    one.name = fmt::format("fuzz/{}/{}", seed, index);
    one.kv_heads = static_cast<int>(dice.of({1, 1, 2, 2, 3, 4, 8}));
    one.q_heads = one.kv_heads * static_cast<int>(dice.of({1, 2, 3, 4, 7}));
    one.dim = dice.of({32, 64, 64, 64, 80, 96, 128, 128, 256});
    const auto fill = [&] { return static_cast<gen::Fill>(dice.below(gen::kFills)); };
    one.k = fill();
    one.v = dice.one_in(2) ? one.k : fill();
    one.q = dice.one_in(3) ? fill() : gen::Fill::kNormal;
    one.seed = static_cast<uint64_t>(dice.below(1 << 20));
    one.batch = dice.one_in(4) ? 2 + static_cast<int>(dice.below(3)) : 1;
    one.windows = dice.one_in(4) ? Windows::kNone : Windows::kKept;
    one.nonfinite = dice.one_in(6) ? NonFinite::kRefuse : NonFinite::kPropagate;
    one.inspect_each = dice.one_in(3);
    one.attend_each = dice.one_in(3);
    one.steps = steps(dice, one);
    if (arithmetic == Arithmetic::kFixed) {
      one.arithmetic = arithmetic;
      one.nonfinite = NonFinite::kRefuse;
      if (!finite(one.q)) one.q = gen::Fill::kNormal;
    }
    try {
      const Descriptor parsed = Descriptor::parse(descriptor(
          *known[static_cast<size_t>(dice.below(static_cast<int64_t>(known.size())))], dice));
      one.scheme = parsed.str();
      ref::make_cache(parsed, case_config(one));
      return one;
    } catch (const Error&) {  // keys that do not go together: another draw
    }
  }
  throw usage_error("fuzz: no valid descriptor in 10000 draws");
}

}  // namespace kvx::check
