// What tests of caches share: dense tensors of rows, appends and exports in one line each.
#pragma once

#include <bit>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ref/registry.h"
#include "sim/gen/fill.h"
#include "sim/num/formats.h"
#include "sim/num/rope.h"
#include "tests/support/artifacts.h"

namespace kvx::test {

// [tokens][heads][dim]
struct Tensor {
  int64_t tokens = 0;
  int heads = 0;
  int dim = 0;
  std::vector<float> values;

  Tensor(int64_t tokens_in, int heads_in, int dim_in)
      : tokens(tokens_in),
        heads(heads_in),
        dim(dim_in),
        values(static_cast<size_t>(tokens_in * heads_in * dim_in)) {}
  Rows view() { return dense_rows(values.data(), tokens, heads, dim); }
  ConstRows view() const { return dense_rows(values.data(), tokens, heads, dim); }
};

inline Tensor filled(gen::Fill fill, uint64_t seed, uint32_t tensor, int64_t tokens, int heads,
                     int dim) {
  Tensor result(tokens, heads, dim);
  gen::fill(fill, seed, tensor, {heads, dim}, 0, result.values);
  return result;
}

inline std::unique_ptr<StoredCache> make(const std::string& descriptor, int kv_heads, int head_dim,
                                         Windows windows = Windows::kKept,
                                         NonFinite nonfinite = NonFinite::kRefuse,
                                         Arithmetic arithmetic = Arithmetic::kIeee) {
  CacheConfig config;
  config.shape = {.layer = 3, .kv_heads = kv_heads, .head_dim = head_dim};
  config.windows = windows;
  config.nonfinite = nonfinite;
  config.arithmetic = arithmetic;
  config.artifacts = test_artifacts();
  if (head_dim % 2 == 0) config.rope_steps = num::rope_steps(head_dim, 10000.0, {});
  return ref::make_cache(Descriptor::parse(descriptor), config);
}

// Appends tokens [first, first + count) of k and v to a sequence that holds `first` tokens.
inline void append(LayerCache& cache, SeqId seq, const Tensor& k, const Tensor& v, int64_t first,
                   int64_t count) {
  const Span span{.seq = seq, .first = first, .count = count};
  cache.append(k.view().slice(first, count), v.view().slice(first, count), {&span, 1});
}

inline Tensor read(const LayerCache& cache, SeqId seq, Side side, RowRange range) {
  const LayerShape& shape = cache.config().shape;
  Tensor out(range.count, shape.kv_heads, shape.head_dim);
  cache.read(seq, side, range, out.view());
  return out;
}

// All tokens as `held` says.
inline std::vector<float> read_held(const LayerCache& cache, SeqId seq, Side side) {
  std::vector<float> all;
  for (const RowRange& range : cache.held(seq, side)) {
    const Tensor part = read(cache, seq, side, range);
    all.insert(all.end(), part.values.begin(), part.values.end());
  }
  return all;
}

struct Exported {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  template <class T>
  std::vector<T> as() const {
    std::vector<T> values(bytes.size() / sizeof(T));
    if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }
};

inline std::map<std::string, Exported> exported(const LayerCache& cache, SeqId seq) {
  std::map<std::string, Exported> all;
  cache.export_to(seq, [&](const std::string& name, const std::string& dtype,
                           const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
    all[name] = {dtype, shape, {bytes.begin(), bytes.end()}};
  });
  return all;
}

// Bit patterns; every NaN counts as the same.
inline std::vector<uint32_t> patterns(const std::vector<float>& values) {
  std::vector<uint32_t> bits;
  for (const float x : values) bits.push_back(x != x ? 0x7FC00000u : std::bit_cast<uint32_t>(x));
  return bits;
}

inline std::vector<float> from_f16(const std::vector<uint16_t>& bits) {
  std::vector<float> values;
  for (const uint16_t b : bits) values.push_back(num::f16_decode(b));
  return values;
}

template <class T>
std::vector<T> repeated(const std::vector<T>& part, int times) {
  std::vector<T> all;
  for (int i = 0; i < times; ++i) all.insert(all.end(), part.begin(), part.end());
  return all;
}

}  // namespace kvx::test
