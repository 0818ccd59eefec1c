// kvquant::Cache::export_to: canonical tensors out.
#include <algorithm>
#include <utility>

#include "ref/kvquant/cache.h"
#include "sim/num/formats.h"

namespace kvx::ref::kvquant {
namespace {

// [kv heads][tokens][dim] of [tokens][kv heads][dim].
template <class T>
std::vector<T> heads_first(std::span<const T> rows, int64_t heads, int64_t dim) {
  std::vector<T> out(rows.size());
  const int64_t tokens = static_cast<int64_t>(rows.size()) / (heads * dim);
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      std::copy_n(rows.begin() + (t * heads + h) * dim, dim, out.begin() + (h * tokens + t) * dim);
    }
  }
  return out;
}

}  // namespace

void Cache::export_side(Side side, const Sequence& sequence, const Sink& sink) const {
  const Store& store = sequence.sides[static_cast<size_t>(side)];
  const SideTables& tables = coder(side).tables();
  const std::string prefix = std::string(side_name(side)) + ".";
  const int64_t heads = config_.shape.kv_heads, dim = config_.shape.head_dim, d = channels();
  const int64_t length = sequence.length, first = sink_tokens(length);
  const auto give = [&](const std::string& name, const std::string& dtype,
                        const std::vector<int64_t>& shape, const auto& all) {
    sink(prefix + name, dtype, shape, std::as_bytes(std::span(all)));
  };
  const auto count = [](const auto& all) { return static_cast<int64_t>(all.size()); };
  if (settings_.type == Type::kNuq) {
    give("codebook", "F32", {count(tables.codebook)}, tables.codebook);
  }
  if (settings_.qnorm) give("qnorm", "F32", {2}, tables.qnorm);

  std::vector<uint8_t> codes(static_cast<size_t>(first * d));
  codes.insert(codes.end(), store.codes.begin(), store.codes.end());
  give("codes", "U8", {heads, length, dim}, heads_first<uint8_t>(codes, heads, dim));
  if (per_token(side)) {
    const std::vector<uint16_t> none(static_cast<size_t>(first));
    for (const auto& [name, of_tokens] : {std::pair("lo", &store.lo), {"hi", &store.hi}}) {
      std::vector<uint16_t> all = none;
      all.insert(all.end(), of_tokens->begin(), of_tokens->end());
      give(name, "F16", {length}, all);
    }
  } else {
    give("lo", "F16", {d}, tables.lo);
    give("hi", "F16", {d}, tables.hi);
  }
  if (settings_.sparse()) {
    std::vector<uint32_t> starts(static_cast<size_t>(first)), index;
    starts.insert(starts.end(), store.starts.begin(), store.starts.end());
    std::vector<float> value;
    for (const Outlier& one : store.outliers) {
      index.push_back(one.channel);
      value.push_back(one.value);
    }
    give("outlier.start", "I32", {length + 1}, starts);
    give("outlier.index", "I32", {count(index)}, index);
    if (settings_.paper) {
      std::vector<uint16_t> bits(value.size());
      num::f16_encode(value, bits);
      give("outlier.value", "F16", {count(bits)}, bits);
    } else {
      give("outlier.value", "F32", {count(value)}, value);
    }
  }

  std::vector<float> exact(store.sink.begin(), store.sink.end());
  exact.resize(static_cast<size_t>(length * d));
  for (int64_t t = first; t < length; ++t) {
    decode(side, store, t - first,
           std::span(exact).subspan(static_cast<size_t>(t * d), static_cast<size_t>(d)));
  }
  std::vector<float> decoded(exact.size());
  num::f16_round(exact, decoded);
  give("decoded", "F32", {heads, length, dim}, heads_first<float>(decoded, heads, dim));
  if (!settings_.paper) {
    give("decoded_fp32", "F32", {heads, length, dim}, heads_first<float>(exact, heads, dim));
  }
  std::vector<uint8_t> sealed(static_cast<size_t>(heads * length));
  for (int64_t i = 0; i < heads * length; ++i) {
    sealed[static_cast<size_t>(i)] = i % length >= first ? 1 : 0;
  }
  give("sealed", "U8", {heads, length}, sealed);
}

void Cache::export_to(SeqId seq, const Sink& sink) const {
  for (const Side side : kSides) export_side(side, find(seq), sink);
}

}  // namespace kvx::ref::kvquant
