// Where two computations of the same tensor of a layer differ, for people and as JSON.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "eval/number.h"
#include "sim/api/artifact.h"
#include "sim/api/cache.h"

namespace kvx::eval {

struct Place {
  int layer = -1;                                      // -1: behind the layers
  std::string tensor;                                  // "k", "out", "k.codes", "logits", ...
  std::vector<std::pair<std::string, int64_t>> index;  // {"head", 2}, {"token", 17}, ...
  std::string expected, found;                         // "1.5 (0x3fc00000)"
  int64_t different = 0;                               // values of the tensor
  int64_t values = 0;
};

// "layer 3, k.codes [head 1, token 17, channel 5]: expected 3 (0x03), found 2 (0x02); 4 of 8192
// values differ"
std::string place_text(const Place& place);
Json place_json(const Place& place);

// The first differing value of two tensors; `names` of their dimensions. Compared as bits, a NaN
// equals a NaN; tensors of another dtype or shape differ as a whole.
std::optional<Place> first_place(int layer, const std::string& tensor,
                                 const std::vector<std::string>& names,
                                 const ArtifactTensor& expected, const ArtifactTensor& found);

// The same of rows [tokens][heads][dim]; `first` is the position of the first token.
std::optional<Place> first_place(int layer, const std::string& tensor, ConstRows expected,
                                 ConstRows found, int64_t first);

// The values of rows, [tokens][heads][dim].
std::vector<float> dense_values(ConstRows rows);

struct ContentTensor {
  std::string dtype;
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;

  ArtifactTensor view() const { return {dtype, shape, bytes}; }
};

// What a cache holds for a sequence: the tensors of export_to ("k.codes", "v.decoded", ...), and
// "k.bytes" and "v.bytes" by item.
using CacheContent = std::map<std::string, ContentTensor>;
CacheContent cache_content(const LayerCache& cache, SeqId seq);

// Told of every tensor, and of those that differ.
struct ContentComparison {
  std::function<void(const std::string& tensor, int64_t values)> compared;
  std::function<void(const std::string& tensor, const Place& place)> found;
};
void compare_contents(int layer, const CacheContent& expected, const CacheContent& found,
                      const ContentComparison& comparison);

}  // namespace kvx::eval
