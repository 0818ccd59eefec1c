// The byte layout shared by schemes that code groups of values with one scale (and one zero) each:
// where the groups lie, how codes are packed, where the metadata goes. The arithmetic of a group is
// the scheme's.
#pragma once

#include <vector>

#include "ref/cache/affine.h"
#include "sim/api/coder.h"

namespace kvx::ref {

enum class GroupAxis : uint8_t {
  kChannels,  // g consecutive channels of one token; a block is one token, D / g groups
  kTokens     // g consecutive tokens of one channel; a block is g tokens, D groups
};

struct GroupFormat {
  GroupAxis axis = GroupAxis::kChannels;
  int dim = 0;             // D
  int group = 0;           // g; divides D where groups lie along channels
  int bits = 0;            // n
  bool is_signed = false;  // codes are two's complement; only names the dtype
  bool has_zero = false;
  bool subtracts_zero = false;  // decoded as code * scale - zero
  bool official_words = false;  // the words are a published layout: part of the canonical content
};

// One group: codes [g], each below 2^n, and fp16 bit patterns.
struct GroupCode {
  std::vector<uint8_t> codes;
  uint16_t scale = 0;
  uint16_t zero = 0;
};

// Block: codes [groups][w] 32-bit little-endian words, w = ceil(g n / 32), then scale [groups],
// then zero [groups], fp16 little-endian. Codes of a group are a bit stream: code i at bits n i ..
// n i + n - 1, bit b of the stream is bit b mod 32 of word b / 32; bits after the last code are 0.
class GroupedCoder : public BlockCoder {
 public:
  explicit GroupedCoder(const GroupFormat& format);

  int tokens() const final { return format_.axis == GroupAxis::kTokens ? format_.group : 1; }
  int dim() const final { return format_.dim; }
  const std::vector<Field>& fields() const final { return fields_; }
  double nominal_bits() const final { return format_.bits; }
  void encode(std::span<const float> x, std::span<std::byte> out) const final;
  void decode(std::span<const std::byte> in, std::span<float> x) const final;
  void canonical(std::span<const std::byte> in, CanonicalBlock& out) const final;
  void from_canonical(const CanonicalBlock& in, std::span<std::byte> out) const final;

  AffineForm affine() const;

 protected:
  // x: [g], values of the input type, widened.
  virtual void encode_group(std::span<const float> x, GroupCode& out) const = 0;
  virtual void decode_group(const GroupCode& in, std::span<float> x) const = 0;

 private:
  int groups() const {
    return format_.axis == GroupAxis::kTokens ? format_.dim : format_.dim / format_.group;
  }
  // Index in [tokens][dim] of value i of a group.
  size_t index(int group, int i) const {
    const auto g = static_cast<size_t>(group);
    const auto n = static_cast<size_t>(i);
    return format_.axis == GroupAxis::kTokens ? n * static_cast<size_t>(format_.dim) + g
                                              : g * static_cast<size_t>(format_.group) + n;
  }
  size_t metadata_offset(int group) const;
  void load(std::span<const std::byte> in, int group, std::vector<uint32_t>& words,
            GroupCode& out) const;
  // Writes a group where `load` reads it.
  void store(const GroupCode& code, int group, std::vector<uint32_t>& words,
             std::span<std::byte> out) const;

  GroupFormat format_;
  int words_;  // of one group
  std::vector<Field> fields_;
};

}  // namespace kvx::ref
