#include "eval/tensor_diff.h"

#include <fmt/core.h>

#include <bit>
#include <cmath>
#include <cstring>

#include "sim/num/formats.h"

namespace kvx::eval {
namespace {

// Little-endian, as stored.
uint64_t pattern(const ArtifactTensor& tensor, size_t width, size_t index) {
  uint64_t bits = 0;
  std::memcpy(&bits, &tensor.bytes[index * width], width);
  return bits;
}

std::optional<float> as_float(const std::string& dtype, uint64_t bits) {
  if (dtype == "F32") return std::bit_cast<float>(static_cast<uint32_t>(bits));
  if (dtype == "F16") return num::f16_decode(static_cast<uint16_t>(bits));
  if (dtype == "BF16") return num::bf16_decode(static_cast<uint16_t>(bits));
  return std::nullopt;
}

bool same(const std::string& dtype, uint64_t a, uint64_t b) {
  if (a == b) return true;
  const auto x = as_float(dtype, a), y = as_float(dtype, b);
  return x && y && std::isnan(*x) && std::isnan(*y);
}

std::string value_text(const std::string& dtype, size_t width, uint64_t bits) {
  const std::string hex = fmt::format("0x{:0{}x}", bits, 2 * width);
  if (const auto value = as_float(dtype, bits)) return fmt::format("{} ({})", *value, hex);
  return fmt::format("{} ({})", bits, hex);
}

}  // namespace

std::optional<TensorDifference> first_difference(const ArtifactTensor& expected,
                                                 const ArtifactTensor& found) {
  size_t values = 1;
  for (const int64_t dim : expected.shape) values *= static_cast<size_t>(dim);
  if (values == 0) return std::nullopt;
  const size_t width = expected.bytes.size() / values;
  std::optional<TensorDifference> result;
  for (size_t i = 0; i < values; ++i) {
    const uint64_t a = pattern(expected, width, i), b = pattern(found, width, i);
    if (same(expected.dtype, a, b)) continue;
    if (!result) {
      result.emplace();
      result->index.resize(expected.shape.size());
      size_t rest = i;
      for (size_t d = expected.shape.size(); d-- > 0;) {
        const auto dim = static_cast<size_t>(expected.shape[d]);
        result->index[d] = static_cast<int64_t>(rest % dim);
        rest /= dim;
      }
      result->expected = value_text(expected.dtype, width, a);
      result->found = value_text(expected.dtype, width, b);
    }
    ++result->count;
  }
  return result;
}

}  // namespace kvx::eval
