// The law of stored metadata: codes are those that the stored scale and zero give, by the rule of
// each scheme's page.
#include <algorithm>
#include <cmath>
#include <map>

#include "sim/num/minifloat.h"
#include "tests/laws/laws.h"

namespace kvx::laws {

using test::Tensor;

// kvquant_law.cc
void kvquant_codes_follow_from_ranges(const Descriptor& descriptor, Side side,
                                      const std::map<std::string, test::Exported>& tensors,
                                      const Tensor& given);

namespace {

// The stored scale or zero of every group, as numbers; shape as exported.
struct Metadata {
  std::vector<float> values;
  std::vector<int64_t> shape;

  // Of what group (t, c) is in: [heads][groups of tokens][groups of channels], or a table of one
  // value or one per head.
  float at(int64_t head, int64_t t, int64_t c, int64_t block) const {
    if (shape.size() == 1) return values[static_cast<size_t>(shape[0] == 1 ? 0 : head)];
    return values[static_cast<size_t>((head * shape[1] + t / block) * shape[2] +
                                      c * shape[2] / kDim)];
  }
};

Metadata metadata(const std::map<std::string, test::Exported>& tensors, const std::string& name,
                  float absent) {
  const auto found = tensors.find(name);
  if (found == tensors.end()) return {{absent}, {1}};
  const test::Exported& tensor = found->second;
  return {tensor.dtype == "F32" ? tensor.as<float>() : test::from_f16(tensor.as<uint16_t>()),
          tensor.shape};
}

// The code that x must have given the stored metadata, from the scheme's page.
uint8_t code_from_stored(const Descriptor& descriptor, Side side, float x, float s, float zero) {
  if (descriptor.name() == "fp8") {
    const float t = descriptor.get_word("scale") == "token" ? x * (1.0f / s) : x / s;
    return descriptor.get_word("type") == "e5m2" ? num::e5m2_encode(t) : num::e4m3_encode(t);
  }
  const auto bits = static_cast<int>(descriptor.get_int(side_name(side)));
  const bool symmetric = descriptor.name() == "int" && descriptor.has_flag("sym");
  const int top = symmetric ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
  float t = 0;
  if (descriptor.name() == "int") {
    t = (symmetric ? x : x + zero) / s;
  } else if (descriptor.name() == "kivi") {
    t = num::f16_round(num::f16_round(x - zero) / s);
  } else {
    RC_FAIL("no rule for the codes of " + std::string(descriptor.name()));
  }
  if (std::isnan(t)) return 0;
  const auto limit = static_cast<float>(top);
  const int q = static_cast<int>(std::nearbyint(std::clamp(t, symmetric ? -limit : 0.0f, limit)));
  return static_cast<uint8_t>(q & ((1 << bits) - 1));
}

// Tokens of a block: those of a group where groups lie along tokens.
int64_t block_of(const Descriptor& descriptor, Side side) {
  if (descriptor.name() == "kivi") return side == Side::kK ? descriptor.get_int("g") : 1;
  if (descriptor.name() != "int") return 1;
  const bool along_tokens = descriptor.get_word(std::string(side_name(side)) + "axis") == "channel";
  return along_tokens ? descriptor.find_int("g").value_or(32) : 1;
}

}  // namespace

void stored_metadata_consistency(const Subject& subject) {
  const auto descriptor = Descriptor::parse(subject.descriptor);
  const Make fresh = drawn(subject);
  const Input input = random_input(subject, random_length());
  const auto cache = fresh();
  const SeqId seq = cache->open();
  test::append(*cache, seq, input.k, input.v, 0, input.k.tokens);
  const auto tensors = test::exported(*cache, seq);
  for (const Side side : kSides) {
    const std::string p = std::string(side_name(side)) + ".";
    if (tensors.count(p + "codes") == 0) {
      RC_ASSERT(descriptor.name() ==
                "fp");  // nothing but values: no metadata to be consistent with
      continue;
    }
    if (descriptor.name() == "kvquant") {
      kvquant_codes_follow_from_ranges(descriptor, side, tensors,
                                       side == Side::kK ? input.k : input.v);
      continue;
    }
    const int64_t length = input.k.tokens;
    const auto codes = tensors.at(p + "codes").as<uint8_t>();
    const auto sealed = tensors.at(p + "sealed").as<uint8_t>();
    const Metadata scale = metadata(tensors, p + "scale", 1.0f);
    const Metadata zero = metadata(tensors, p + "zero", 0.0f);
    const int64_t block = block_of(descriptor, side);
    const Tensor& x = side == Side::kK ? input.k : input.v;
    for (int64_t head = 0; head < kHeads; ++head) {
      for (int64_t t = 0; t < length; ++t) {
        for (int64_t c = 0; c < kDim; ++c) {
          const auto at = static_cast<size_t>((head * length + t) * kDim + c);
          if (sealed[static_cast<size_t>(head * length + t)] == 0) {
            RC_ASSERT(codes[at] == 0);
            continue;
          }
          const float value =
              num::f16_round(x.values[static_cast<size_t>((t * kHeads + head) * kDim + c)]);
          RC_ASSERT(codes[at] == code_from_stored(descriptor, side, value,
                                                  scale.at(head, t, c, block),
                                                  zero.at(head, t, c, block)));
        }
      }
    }
  }
}

}  // namespace kvx::laws
