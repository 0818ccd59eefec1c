// kvquant::Cache::import_from: canonical tensors in, which may be anybody's.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <utility>

#include "ref/kvquant/cache.h"
#include "sim/num/formats.h"

namespace kvx::ref::kvquant {
namespace {

std::string shape_text(const std::string& dtype, const std::vector<int64_t>& shape) {
  std::string text = dtype + " [";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

const ArtifactTensor& want(const TensorSource& source, const std::string& name,
                           const std::string& dtype) {
  const ArtifactTensor* tensor = source(name);
  if (tensor == nullptr) throw environment_error("tensor '" + name + "' is missing");
  if (tensor->dtype != dtype) {
    throw environment_error("tensor '" + name + "' is " + tensor->dtype + ", not " + dtype);
  }
  return *tensor;
}

template <class T>
std::vector<T> values(const TensorSource& source, const std::string& name, const std::string& dtype,
                      const std::vector<int64_t>& shape) {
  const ArtifactTensor& tensor = want(source, name, dtype);
  if (tensor.shape != shape) {
    throw environment_error("tensor '" + name + "' is " + shape_text(dtype, tensor.shape) +
                            ", not " + shape_text(dtype, shape));
  }
  std::vector<T> all(tensor.bytes.size() / sizeof(T));
  if (!all.empty()) std::memcpy(all.data(), tensor.bytes.data(), tensor.bytes.size());
  return all;
}

// A list as long as the sequence's outliers; behind them there may be zeros (the lists of a batch
// are of one length).
template <class T>
std::vector<T> list(const TensorSource& source, const std::string& name, const std::string& dtype,
                    size_t count) {
  const ArtifactTensor& tensor = want(source, name, dtype);
  const std::vector<int64_t> shape = tensor.shape;
  if (shape.size() != 1 || std::cmp_less(shape[0], count)) {
    throw environment_error("tensor '" + name + "' is " + shape_text(dtype, shape) + ", not of " +
                            std::to_string(count) + " outliers");
  }
  auto all = values<T>(source, name, dtype, shape);
  if (std::any_of(all.begin() + static_cast<int64_t>(count), all.end(),
                  [](T value) { return value != T{}; })) {
    throw environment_error("tensor '" + name + "' holds more than " + std::to_string(count) +
                            " outliers");
  }
  all.resize(count);
  return all;
}

template <class T>
void check_table(const TensorSource& source, const std::string& name, const std::string& dtype,
                 const std::vector<T>& table) {
  if (table.empty()) return;
  if (values<T>(source, name, dtype, {static_cast<int64_t>(table.size())}) == table) return;
  throw environment_error("tensor '" + name + "' holds other values than this cache's table");
}

// [tokens][kv heads][dim] of [kv heads][tokens][dim].
template <class T>
std::vector<T> tokens_first(std::span<const T> rows, int64_t heads, int64_t tokens, int64_t dim) {
  std::vector<T> out(rows.size());
  for (int64_t t = 0; t < tokens; ++t) {
    for (int64_t h = 0; h < heads; ++h) {
      std::copy_n(rows.begin() + (h * tokens + t) * dim, dim, out.begin() + (t * heads + h) * dim);
    }
  }
  return out;
}

// All but the first `skipped`.
template <class T>
std::vector<T> behind(const std::vector<T>& values, size_t skipped) {
  return {values.begin() + static_cast<int64_t>(skipped), values.end()};
}

}  // namespace

void Cache::check_starts(const std::vector<uint32_t>& starts, const Wrong& wrong) const {
  for (size_t t = 0; t < starts.size(); ++t) {
    const int64_t before = t == 0 ? 0 : starts[t - 1], most = t == 0 ? 0 : channels();
    if (starts[t] >= before && starts[t] <= before + most) continue;
    throw wrong("outlier.start, value " + std::to_string(t) + ": " + std::to_string(starts[t]) +
                " after " + std::to_string(before));
  }
}

void Cache::check_channels(const Store& store, const Wrong& wrong) const {
  for (size_t t = 0; t + 1 < store.starts.size(); ++t) {
    int64_t before = -1;
    for (uint32_t i = store.starts[t]; i < store.starts[t + 1]; ++i) {
      const int64_t channel = store.outliers[i].channel;
      if (channel <= before || channel >= channels()) {
        throw wrong("outlier.index, value " + std::to_string(i) + ": channel " +
                    std::to_string(channel) + " after " + std::to_string(before) + ", of " +
                    std::to_string(channels()));
      }
      before = channel;
    }
  }
}

void Cache::import_side(Side side, int64_t length, const TensorSource& source, Store& to) const {
  const SideTables& tables = coder(side).tables();
  const std::string prefix = std::string(side_name(side)) + ".";
  const int64_t heads = config_.shape.kv_heads, dim = config_.shape.head_dim, d = channels();
  const int64_t first = sink_tokens(length);
  const auto skipped = static_cast<size_t>(first);
  if (settings_.type == Type::kNuq) {
    check_table(source, prefix + "codebook", "F32", tables.codebook);
  }
  check_table(source, prefix + "qnorm", "F32", tables.qnorm);
  check_table(source, prefix + "lo", "F16", tables.lo);
  check_table(source, prefix + "hi", "F16", tables.hi);

  const auto sealed = values<uint8_t>(source, prefix + "sealed", "U8", {heads, length});
  for (int64_t i = 0; i < heads * length; ++i) {
    const int mark = sealed[static_cast<size_t>(i)];
    if (mark == (i % length >= first ? 1 : 0)) continue;
    throw environment_error("tensor '" + prefix + "sealed', head " + std::to_string(i / length) +
                            ", token " + std::to_string(i % length) + " is " +
                            std::to_string(mark) + ": all tokens but the first " +
                            std::to_string(settings_.sink) + " are sealed");
  }
  const auto codes = values<uint8_t>(source, prefix + "codes", "U8", {heads, length, dim});
  for (int64_t i = 0; i < std::ssize(codes); ++i) {
    const uint8_t code = codes[static_cast<size_t>(i)];
    const int64_t token = i / dim % length;
    if (code < settings_.codes() || token < first) continue;
    throw environment_error(
        "tensor '" + prefix + "codes', head " + std::to_string(i / dim / length) + ", token " +
        std::to_string(token) + ", channel " + std::to_string(i % dim) + ": code " +
        std::to_string(code) + " has more than " + std::to_string(settings_.bits) + " bits");
  }
  to.codes =
      behind(tokens_first<uint8_t>(codes, heads, length, dim), skipped * static_cast<size_t>(d));
  if (per_token(side)) {
    to.lo = behind(values<uint16_t>(source, prefix + "lo", "F16", {length}), skipped);
    to.hi = behind(values<uint16_t>(source, prefix + "hi", "F16", {length}), skipped);
  }
  to.starts.resize(static_cast<size_t>(length - first) + 1);
  if (settings_.sparse()) import_outliers(side, length, source, to);
  import_sink(side, length, source, to);
}

void Cache::import_outliers(Side side, int64_t length, const TensorSource& source,
                            Store& to) const {
  const std::string prefix = std::string(side_name(side)) + ".";
  const auto wrong = [&](const std::string& why) {
    return environment_error("tensor '" + prefix + why);
  };
  const auto starts = values<uint32_t>(source, prefix + "outlier.start", "I32", {length + 1});
  check_starts(starts, wrong);
  to.starts = behind(starts, static_cast<size_t>(sink_tokens(length)));
  const int64_t each = 2 * outliers_per_side(settings_, channels());
  for (size_t t = 0; t < to.starts.size(); ++t) {
    if (t == 0 ? to.starts[0] == 0
               : has_starts(side) || to.starts[t] == static_cast<int64_t>(t) * each) {
      continue;
    }
    throw wrong("outlier.start, coded token " + std::to_string(t) + ": " +
                std::to_string(to.starts[t]) + " outliers before it");
  }
  const size_t count = to.starts.back();
  const auto index = list<uint32_t>(source, prefix + "outlier.index", "I32", count);
  std::vector<float> value;
  if (settings_.paper) {
    const auto bits = list<uint16_t>(source, prefix + "outlier.value", "F16", count);
    value.resize(count);
    num::f16_decode(bits, value);
  } else {
    value = list<float>(source, prefix + "outlier.value", "F32", count);
  }
  for (size_t i = 0; i < count; ++i) to.outliers.push_back({index[i], value[i]});
  check_channels(to, wrong);
}

void Cache::import_sink(Side side, int64_t length, const TensorSource& source, Store& to) const {
  const int64_t heads = config_.shape.kv_heads, dim = config_.shape.head_dim;
  const int64_t first = sink_tokens(length);
  if (first == 0) return;
  const std::string name = std::string(side_name(side)) + ".decoded";
  const auto rows = tokens_first<float>(values<float>(source, name, "F32", {heads, length, dim}),
                                        heads, length, dim);
  to.sink.assign(rows.begin(), rows.begin() + first * channels());
  std::vector<float> stored(to.sink.size());
  num::f16_round(to.sink, stored);
  for (size_t i = 0; i < stored.size(); ++i) {
    if (std::bit_cast<uint32_t>(stored[i]) == std::bit_cast<uint32_t>(to.sink[i]) ||
        (std::isnan(stored[i]) && std::isnan(to.sink[i]))) {
      continue;
    }
    throw environment_error(
        "tensor '" + name + "', token " + std::to_string(static_cast<int64_t>(i) / channels()) +
        ", channel " + std::to_string(static_cast<int64_t>(i) % channels()) +
        " of the layer: " + std::to_string(to.sink[i]) + " is exact and not a number of f16");
  }
  to.sink = std::move(stored);
}

SeqId Cache::import_from(int64_t length, const TensorSource& source) {
  if (length < 0) throw environment_error("a sequence of negative length");
  Sequence sequence;
  sequence.length = length;
  sequence.last_append = length;
  for (const Side side : kSides) {
    import_side(side, length, source, sequence.sides[static_cast<size_t>(side)]);
  }
  return add(std::move(sequence));
}

}  // namespace kvx::ref::kvquant
