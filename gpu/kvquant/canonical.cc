#include "gpu/kvquant/canonical.h"

#include <algorithm>
#include <bit>
#include <span>
#include <string>

namespace kvx::gpu::kvquant {
namespace {

template <class T>
void put(std::vector<std::byte>& to, const std::vector<T>& values) {
  const auto bytes = std::as_bytes(std::span(values));
  to.insert(to.end(), bytes.begin(), bytes.end());
}

template <class T>
void put(std::vector<std::byte>& to, T value) {
  put(to, std::vector<T>{value});
}

// One row as a little-endian stream of codes, filled up to whole words.
void put_row(std::vector<std::byte>& to, std::span<const uint32_t> codes, int bits) {
  std::vector<uint32_t> words((codes.size() * static_cast<size_t>(bits) + 31) / 32);
  for (size_t i = 0; i < codes.size(); ++i) {
    const size_t bit = i * static_cast<size_t>(bits);
    const uint64_t placed = static_cast<uint64_t>(codes[i]) << (bit % 32);
    words[bit / 32] |= static_cast<uint32_t>(placed);
    if (placed >> 32 != 0) words[bit / 32 + 1] |= static_cast<uint32_t>(placed >> 32);
  }
  put(to, words);
}

std::vector<uint16_t> narrowed(const std::vector<uint32_t>& patterns) {
  return {patterns.begin(), patterns.end()};
}

bool is_nan_pattern(uint16_t pattern) { return (pattern & 0x7FFF) > 0x7C00; }

}  // namespace

ByteCount Canonical::used(Side side, int64_t length, int64_t outliers) const {
  const int64_t sink = sink_tokens(length), coded = length - sink, d = channels();
  const int64_t rows = coded * shape_.kv_heads;
  const int64_t code_bytes = (int64_t{shape_.head_dim} * settings_.bits + 7) / 8;
  ByteCount count;
  count[Item::kCodes] = rows * code_bytes;
  count[Item::kPadding] = rows * (4 * row_words() - code_bytes);
  if (settings_.token_range(side)) count[Item::kZero] = count[Item::kScale] = 2 * coded;
  count[Item::kOutliers] = outliers * (settings_.paper ? 4 : 8);
  if (settings_.counted(side)) count[Item::kOutliers] += 4 * (coded + 1);
  count[Item::kExact] = 2 * sink * d;
  count[Item::kTables] = static_cast<int64_t>(table(side).size());
  return count;
}

std::vector<std::byte> Canonical::table(Side side) const {
  const Tables& t = tables(side);
  std::vector<std::byte> bytes;
  if (settings_.type == Type::kNuq) put(bytes, t.codebook);
  put(bytes, t.qnorm);
  put(bytes, t.lo);
  put(bytes, t.hi);
  return bytes;
}

Canonical::Outliers Canonical::outliers_of(Side side, const std::vector<SealedHead>& heads) const {
  const Tables& t = tables(side);
  const int dim = shape_.head_dim;
  // What is stored beside the channel in profile repo: x - z, of integers x.
  const auto value_of = [&](size_t token, size_t channel, uint16_t pattern) {
    const float x = number_of(pattern);
    float value = x;
    if (!settings_.integer() && settings_.token_range(side)) {
      const float lo = number_of(static_cast<uint16_t>(heads[0].scale[token]));
      const float hi = number_of(static_cast<uint16_t>(heads[0].zero[token]));
      value = x - (hi + lo) * 0.5f;
    } else if (!settings_.integer()) {
      value = x - t.scales[channel].a;
    }
    return value == value ? value : std::bit_cast<float>(0x7FC00000u);
  };
  Outliers out;
  for (int64_t token = 0; token < heads[0].tokens; ++token) {
    for (size_t h = 0; h < heads.size(); ++h) {
      for (int i = 0; i < dim; ++i) {
        const auto at = static_cast<size_t>(token * dim + i);
        if (heads[h].marks[at] == 0) continue;
        const uint16_t pattern = heads[h].outliers[at];
        const size_t channel = h * static_cast<size_t>(dim) + static_cast<size_t>(i);
        out.channel.push_back(static_cast<uint32_t>(channel));
        if (settings_.paper) {
          out.exact.push_back(is_nan_pattern(pattern) ? kNever : pattern);
        } else {
          out.value.push_back(value_of(static_cast<size_t>(token), channel, pattern));
        }
      }
    }
    out.start.push_back(static_cast<uint32_t>(out.channel.size()));
  }
  return out;
}

void Canonical::append_image(Side side, const std::vector<SealedHead>& heads,
                             std::vector<std::byte>& image) const {
  const auto dim = static_cast<size_t>(shape_.head_dim);
  for (const SealedHead& head : heads) {
    for (size_t at = 0; at < head.codes.size(); at += dim)
      put_row(image, std::span(head.codes).subspan(at, dim), settings_.bits);
  }
  if (settings_.token_range(side)) {
    put(image, narrowed(heads[0].scale));
    put(image, narrowed(heads[0].zero));
  }
  if (!settings_.sparse()) return;
  const Outliers outliers = outliers_of(side, heads);
  if (settings_.counted(side)) put(image, outliers.start);
  for (size_t i = 0; i < outliers.channel.size(); ++i) {
    if (settings_.paper) {
      put(image, static_cast<uint16_t>(outliers.channel[i]));
      put(image, outliers.exact[i]);
    } else {
      put(image, outliers.channel[i]);
      put(image, outliers.value[i]);
    }
  }
}

void Canonical::export_side(Side side, const std::vector<SealedHead>& heads, int64_t length,
                            const Sink& sink) const {
  const Tables& t = tables(side);
  const std::string prefix = std::string(side_name(side)) + ".";
  const int64_t first = sink_tokens(length), dim = shape_.head_dim;
  const auto give = [&](const std::string& name, const std::string& dtype,
                        const std::vector<int64_t>& shape, const auto& values) {
    sink(prefix + name, dtype, shape, std::as_bytes(std::span(values)));
  };
  if (settings_.type == Type::kNuq) give("codebook", "F32", {std::ssize(t.codebook)}, t.codebook);
  if (settings_.qnorm) give("qnorm", "F32", {2}, t.qnorm);

  // Of the sink everything is 0.
  std::vector<uint8_t> codes;
  for (const SealedHead& head : heads) {
    codes.resize(codes.size() + static_cast<size_t>(first * dim));
    codes.insert(codes.end(), head.codes.begin(), head.codes.end());
  }
  give("codes", "U8", {shape_.kv_heads, length, dim}, codes);
  if (settings_.token_range(side)) {
    for (const auto& [name, patterns] :
         {std::pair("lo", &heads[0].scale), std::pair("hi", &heads[0].zero)}) {
      std::vector<uint16_t> all(static_cast<size_t>(first));
      all.insert(all.end(), patterns->begin(), patterns->end());
      give(name, "F16", {length}, all);
    }
  } else {
    give("lo", "F16", {channels()}, t.lo);
    give("hi", "F16", {channels()}, t.hi);
  }
  if (!settings_.sparse()) return;
  const Outliers outliers = outliers_of(side, heads);
  std::vector<uint32_t> start(static_cast<size_t>(first));
  start.insert(start.end(), outliers.start.begin(), outliers.start.end());
  const int64_t count = std::ssize(outliers.channel);
  give("outlier.start", "I32", {length + 1}, start);
  give("outlier.index", "I32", {count}, outliers.channel);
  if (settings_.paper) {
    give("outlier.value", "F16", {count}, outliers.exact);
  } else {
    give("outlier.value", "F32", {count}, outliers.value);
  }
}

}  // namespace kvx::gpu::kvquant
