// kvquant::Cache: its bytes. Count, image and layout.
#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "ref/cache/elements.h"
#include "ref/kvquant/cache.h"
#include "sim/api/error.h"
#include "sim/num/formats.h"
#include "sim/num/pack.h"

namespace kvx::ref::kvquant {
namespace {

std::string dims(std::initializer_list<int64_t> sizes) {
  std::string text;
  for (const int64_t size : sizes) text += "[" + std::to_string(size) + "]";
  return text;
}

template <class T>
void write(std::span<const T> values, std::vector<std::byte>& out) {
  const auto bytes = std::as_bytes(values);
  out.insert(out.end(), bytes.begin(), bytes.end());
}

template <class T>
void write(T value, std::vector<std::byte>& out) {
  write(std::span<const T>(&value, 1), out);
}

}  // namespace

int64_t Cache::row_words() const {
  return num::packed_words(config_.shape.head_dim, settings_.bits);
}

std::vector<LayoutEntry> Cache::runs(Side side, int64_t length, int64_t outliers) const {
  const int64_t dim = config_.shape.head_dim, coded = coded_tokens(length);
  const int64_t sink = sink_tokens(length), bits = settings_.bits;
  const SideTables& tables = coder(side).tables();
  const std::string prefix = std::string(side_name(side)) + ".";
  std::vector<LayoutEntry> all;
  int64_t offset = 0;
  const auto add = [&](const std::string& name, const std::string& dtype, const std::string& shape,
                       int64_t bytes, Item item) {
    if (bytes == 0) return;
    all.push_back({prefix + name, dtype, shape, offset, bytes, item});
    offset += bytes;
  };
  const auto count = [](const auto& values) { return static_cast<int64_t>(values.size()); };
  const auto head_name = [](int64_t head) { return "head" + std::to_string(head) + "."; };
  if (settings_.type == Type::kNuq) {
    const int64_t n = count(tables.codebook);
    add("codebook", "f32", dims({n}), 4 * n, Item::kTables);
  }
  add("qnorm", "f32", "[2]", 4 * count(tables.qnorm), Item::kTables);
  add("lo", "f16", dims({count(tables.lo)}), 2 * count(tables.lo), Item::kTables);
  add("hi", "f16", dims({count(tables.hi)}), 2 * count(tables.hi), Item::kTables);

  const std::string code = "u" + std::to_string(bits);
  const int64_t code_bytes = (dim * bits + 7) / 8, padding = 4 * row_words() - code_bytes;
  for (int64_t head = 0; head < config_.shape.kv_heads; ++head) {
    const std::string name = head_name(head);
    if (padding == 0)
      add(name + "codes", code, dims({coded, dim}), coded * code_bytes, Item::kCodes);
    for (int64_t t = 0; t < coded && padding > 0; ++t) {
      const std::string token = name + "token" + std::to_string(sink + t) + ".";
      add(token + "codes", code, dims({dim}), code_bytes, Item::kCodes);
      add(token + "padding", "u8", dims({padding}), padding, Item::kPadding);
    }
  }
  if (per_token(side)) {
    add("lo", "f16", dims({coded}), 2 * coded, Item::kZero);
    add("hi", "f16", dims({coded}), 2 * coded, Item::kScale);
  }
  if (has_starts(side)) {
    add("outlier.start", "u32", dims({coded + 1}), 4 * (coded + 1), Item::kOutliers);
  }
  add("outlier", settings_.paper ? "u16 f16" : "u32 f32", dims({outliers}),
      outliers * outlier_bytes(), Item::kOutliers);
  for (int64_t head = 0; head < config_.shape.kv_heads; ++head) {
    add(head_name(head) + "exact", "f16", dims({sink, dim}), 2 * sink * dim, Item::kExact);
  }
  return all;
}

ByteCount Cache::used(SeqId seq, Side side) const {
  const Sequence& sequence = find(seq);
  const Store& store = sequence.sides[static_cast<size_t>(side)];
  ByteCount bytes;
  for (const LayoutEntry& run : runs(side, sequence.length, std::ssize(store.outliers))) {
    bytes[run.item] += run.bytes;
  }
  return bytes;
}

std::vector<LayoutEntry> Cache::both_runs(int64_t length, std::array<int64_t, 2> outliers) const {
  std::vector<LayoutEntry> all;
  for (const Side side : kSides) {
    const int64_t offset = all.empty() ? 0 : all.back().offset + all.back().bytes;
    for (LayoutEntry& run : runs(side, length, outliers[static_cast<size_t>(side)])) {
      run.offset += offset;
      all.push_back(std::move(run));
    }
  }
  return all;
}

std::vector<LayoutEntry> Cache::layout_of(SeqId seq) const {
  const Sequence& s = find(seq);
  return both_runs(s.length, {std::ssize(s.sides[0].outliers), std::ssize(s.sides[1].outliers)});
}

std::vector<LayoutEntry> Cache::layout(int64_t length) const {
  require(length >= 0, "layout: negative length");
  require(traits_.fixed_size, "layout: sizes depend on the data; ask for a sequence's");
  const int64_t outliers = coded_tokens(length) * 2 * outliers_per_side(settings_, channels());
  return both_runs(length, {outliers, outliers});
}

void Cache::write_side(Side side, const Sequence& sequence, std::vector<std::byte>& out) const {
  const Store& store = sequence.sides[static_cast<size_t>(side)];
  const SideTables& tables = coder(side).tables();
  const auto d = static_cast<size_t>(channels()), dim = static_cast<size_t>(config_.shape.head_dim);
  if (settings_.type == Type::kNuq) write<float>(tables.codebook, out);
  write<float>(tables.qnorm, out);
  write<uint16_t>(tables.lo, out);
  write<uint16_t>(tables.hi, out);
  std::vector<uint32_t> words(static_cast<size_t>(row_words()));
  for (size_t at = 0; at < d; at += dim) {
    for (size_t row = at; row < store.codes.size(); row += d) {
      num::pack_codes(std::span(store.codes).subspan(row, dim), settings_.bits, words);
      write<uint32_t>(words, out);
    }
  }
  write<uint16_t>(store.lo, out);
  write<uint16_t>(store.hi, out);
  if (has_starts(side)) write<uint32_t>(store.starts, out);
  for (const Outlier& one : store.outliers) {
    if (settings_.paper) {
      write(static_cast<uint16_t>(one.channel), out);
      write(num::f16_encode(one.value), out);
    } else {
      write(one.channel, out);
      write(one.value, out);
    }
  }
  const size_t end = out.size();
  out.resize(end + 2 * store.sink.size());
  std::byte* to = out.data() + end;
  for (size_t at = 0; at < d; at += dim) {
    for (size_t row = at; row < store.sink.size(); row += d, to += 2 * dim) {
      store_elements(InputType::kF16, std::span(store.sink).subspan(row, dim), to);
    }
  }
}

std::vector<std::byte> Cache::image(SeqId seq) const {
  std::vector<std::byte> out;
  for (const Side side : kSides) write_side(side, find(seq), out);
  return out;
}

}  // namespace kvx::ref::kvquant
