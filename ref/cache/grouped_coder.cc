#include "ref/cache/grouped_coder.h"

#include <cstring>
#include <stdexcept>

#include "sim/api/error.h"
#include "sim/num/pack.h"

namespace kvx::ref {

GroupedCoder::GroupedCoder(const GroupFormat& format)
    : format_(format), words_(static_cast<int>(num::packed_words(format.group, format.bits))) {
  if (format.axis == GroupAxis::kChannels && format.dim % format.group != 0) {
    throw std::logic_error("groups do not divide the head dim");
  }
  const std::string count = format.axis == GroupAxis::kTokens ? "[D]" : "[D/g]";
  const std::string dtype = (format.is_signed ? "i" : "u") + std::to_string(format.bits);
  const int64_t code_bytes = (int64_t{format.group} * format.bits + 7) / 8;
  const int64_t padding = 4 * int64_t{words_} - code_bytes;
  if (padding == 0) {
    fields_.push_back({"codes", dtype, count + "[g]", groups() * code_bytes, Item::kCodes});
  } else {
    for (int i = 0; i < groups(); ++i) {
      const std::string group = std::to_string(i);
      fields_.push_back({"codes" + group, dtype, "[g]", code_bytes, Item::kCodes});
      fields_.push_back(
          {"padding" + group, "u8", "[" + std::to_string(padding) + "]", padding, Item::kPadding});
    }
  }
  fields_.push_back({"scale", "f16", count, 2 * int64_t{groups()}, Item::kScale});
  if (format.has_zero) {
    fields_.push_back({"zero", "f16", count, 2 * int64_t{groups()}, Item::kZero});
  }
}

size_t GroupedCoder::metadata_offset(int group) const {
  return 4 * static_cast<size_t>(words_) * static_cast<size_t>(groups()) +
         2 * static_cast<size_t>(group);
}

void GroupedCoder::encode(std::span<const float> x, std::span<std::byte> out) const {
  const auto g = static_cast<size_t>(format_.group);
  std::vector<float> values;
  std::vector<uint32_t> words;
  GroupCode code;
  code.codes.resize(g);
  for (int group = 0; group < groups(); ++group) {
    if (format_.axis == GroupAxis::kChannels) {
      encode_group(x.subspan(index(group, 0), g), code);
    } else {
      values.resize(g);
      for (int i = 0; i < format_.group; ++i) values[static_cast<size_t>(i)] = x[index(group, i)];
      encode_group(values, code);
    }
    store(code, group, words, out);
  }
}

void GroupedCoder::store(const GroupCode& code, int group, std::vector<uint32_t>& words,
                         std::span<std::byte> out) const {
  words.resize(static_cast<size_t>(words_));
  num::pack_codes(code.codes, format_.bits, words);
  std::memcpy(&out[static_cast<size_t>(group) * 4 * words.size()], words.data(), 4 * words.size());
  const size_t at = metadata_offset(group);
  std::memcpy(&out[at], &code.scale, 2);
  if (format_.has_zero) std::memcpy(&out[at + 2 * static_cast<size_t>(groups())], &code.zero, 2);
}

void GroupedCoder::load(std::span<const std::byte> in, int group, std::vector<uint32_t>& words,
                        GroupCode& out) const {
  words.resize(static_cast<size_t>(words_));
  out.codes.resize(static_cast<size_t>(format_.group));
  std::memcpy(words.data(), &in[static_cast<size_t>(group) * 4 * words.size()], 4 * words.size());
  num::unpack_codes(words, format_.bits, out.codes);
  const size_t at = metadata_offset(group);
  std::memcpy(&out.scale, &in[at], 2);
  if (format_.has_zero) std::memcpy(&out.zero, &in[at + 2 * static_cast<size_t>(groups())], 2);
}

void GroupedCoder::decode(std::span<const std::byte> in, std::span<float> x) const {
  const auto g = static_cast<size_t>(format_.group);
  std::vector<float> values;
  std::vector<uint32_t> words;
  GroupCode code;
  for (int group = 0; group < groups(); ++group) {
    load(in, group, words, code);
    if (format_.axis == GroupAxis::kChannels) {
      decode_group(code, x.subspan(index(group, 0), g));
      continue;
    }
    values.resize(g);
    decode_group(code, values);
    for (int i = 0; i < format_.group; ++i) x[index(group, i)] = values[static_cast<size_t>(i)];
  }
}

void GroupedCoder::canonical(std::span<const std::byte> in, CanonicalBlock& out) const {
  out.codes.resize(static_cast<size_t>(tokens()) * static_cast<size_t>(format_.dim));
  out.scale.clear();
  out.zero.clear();
  out.packed.clear();
  std::vector<uint32_t> words;
  GroupCode code;
  for (int group = 0; group < groups(); ++group) {
    load(in, group, words, code);
    for (int i = 0; i < format_.group; ++i) {
      out.codes[index(group, i)] = code.codes[static_cast<size_t>(i)];
    }
    out.scale.push_back(code.scale);
    if (format_.has_zero) out.zero.push_back(code.zero);
    if (format_.official_words) out.packed.insert(out.packed.end(), words.begin(), words.end());
  }
}

AffineForm GroupedCoder::affine() const {
  return {.along_tokens = format_.axis == GroupAxis::kTokens,
          .group = format_.group,
          .flip = static_cast<uint8_t>(format_.is_signed ? 1 << (format_.bits - 1) : 0),
          .subtracts_zero = format_.subtracts_zero};
}

void GroupedCoder::from_canonical(const CanonicalBlock& in, std::span<std::byte> out) const {
  std::vector<uint32_t> words;
  GroupCode code;
  code.codes.resize(static_cast<size_t>(format_.group));
  for (int group = 0; group < groups(); ++group) {
    for (int i = 0; i < format_.group; ++i) {
      const size_t at = index(group, i);
      if (in.codes[at] >> format_.bits != 0) {
        const auto dim = static_cast<size_t>(format_.dim);
        throw environment_error("token " + std::to_string(at / dim) + ", channel " +
                                std::to_string(at % dim) + ": code " +
                                std::to_string(in.codes[at]) + " has more than " +
                                std::to_string(format_.bits) + " bits");
      }
      code.codes[static_cast<size_t>(i)] = in.codes[at];
    }
    const auto g = static_cast<size_t>(group);
    code.scale = static_cast<uint16_t>(in.scale[g]);
    if (format_.has_zero) code.zero = static_cast<uint16_t>(in.zero[g]);
    store(code, group, words, out);
  }
}

}  // namespace kvx::ref
