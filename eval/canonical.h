// K and V of a file to a scheme's canonical tensors and back. Tensors of layer N are named
// "layers.N.k"; a file of one layer may do without the prefix.
#pragma once

#include <string>
#include <vector>

#include "eval/tensor_file.h"
#include "sim/api/cache.h"

namespace kvx::eval {

// What the metadata of a file of canonical tensors calls its content ("format").
inline constexpr const char* kCanonicalFormat = "kvx-canonical/1";

struct LayerName {
  std::string prefix;  // "layers.3." or ""
  int layer = 0;       // 0 without prefix
};

// Layers of which the file has the tensor PREFIX + `name`, by number. Throws an environment Error
// naming the file where there is none.
std::vector<LayerName> find_layers(const TensorFile& file, const std::string& name);

// The file's [batch, kv heads, tokens, head dim]; no dimension is 0.
struct BatchShape {
  int64_t batch = 0;
  int64_t kv_heads = 0;
  int64_t tokens = 0;
  int64_t head_dim = 0;
};

// Shape of tensor `name`; an environment Error where it is not of rank 4, or too large.
BatchShape batch_shape(const TensorFile& file, const std::string& name);

// Makes the cache of one layer of the file.
struct CacheMaker {
  StoredCacheFactory factory;
  CacheConfig config;  // but for the shape

  std::unique_ptr<StoredCache> operator()(const LayerName& layer, const BatchShape& shape) const;
};

// Canonical tensors of K and V, both [batch, kv heads, tokens, head dim] binary32: those of
// LayerCache::export_to, names with `layer.prefix`, shapes with the batch in front; lists (rank 1)
// that differ in length are filled up with zeros. Throws an environment Error naming batch entry,
// head, token and channel of a non-finite value.
TensorMap encode_layer(const CacheMaker& make, const LayerName& layer, const BatchShape& shape,
                       std::span<const float> k, std::span<const float> v);

// K and V of one layer of a file of canonical tensors, decoded from codes and metadata (exact rows
// from `decoded`): F32 PREFIX + "k", PREFIX + "v". Errors name the file, tensor, place and value.
TensorMap decode_layer(const CacheMaker& make, const LayerName& layer, const TensorFile& file);

}  // namespace kvx::eval
