// Tensors of an artifact as kvquant reads them.
#include "gpu/kvquant/artifact.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>

#include "gpu/kvquant/rule.h"
#include "sim/api/error.h"

namespace kvx::gpu::kvquant {
namespace {

std::string header(const std::string& dtype, const std::vector<int64_t>& shape) {
  std::string text = dtype + " [";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

}  // namespace

Error ArtifactSide::wrong(const std::string& name, int64_t value, const std::string& why) const {
  return environment_error(where(name) + ", value " + std::to_string(value) + why);
}

std::string ArtifactSide::where(const std::string& name) const {
  return artifact_.source() + ": tensor '" + prefix_ + name + "'";
}

std::span<const std::byte> ArtifactSide::bytes(const std::string& name, const std::string& dtype,
                                               int64_t count) const {
  const ArtifactTensor* const tensor = artifact_.find(prefix_ + name);
  if (tensor == nullptr) throw environment_error(where(name) + " is missing");
  if (tensor->dtype != dtype || tensor->shape != std::vector{count}) {
    throw environment_error(where(name) + " is " + header(tensor->dtype, tensor->shape) + ", not " +
                            header(dtype, {count}));
  }
  return tensor->bytes;
}

std::vector<float> ArtifactSide::floats(const std::string& name, int64_t count) const {
  const auto from = bytes(name, "F32", count);
  std::vector<float> values(static_cast<size_t>(count));
  std::memcpy(values.data(), from.data(), from.size());
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i]))
      throw wrong(name, static_cast<int64_t>(i),
                  ": " + std::to_string(values[i]) + " is not finite");
  }
  return values;
}

std::vector<uint16_t> ArtifactSide::halves(const std::string& name, int64_t count) const {
  const auto from = bytes(name, "F16", count);
  std::vector<uint16_t> patterns(static_cast<size_t>(count));
  std::memcpy(patterns.data(), from.data(), from.size());
  for (size_t i = 0; i < patterns.size(); ++i) {
    const float value = number_of(patterns[i]);
    if (!std::isfinite(value))
      throw wrong(name, static_cast<int64_t>(i), ": " + std::to_string(value) + " is not finite");
    if (value == 0.0f) patterns[i] = 0;
  }
  return patterns;
}

void ArtifactSide::read_ranges(int64_t count, std::vector<uint16_t>& lo,
                               std::vector<uint16_t>& hi) const {
  lo = halves("lo", count);
  hi = halves("hi", count);
  for (size_t i = 0; i < lo.size(); ++i) {
    const float low = number_of(lo[i]), high = number_of(hi[i]);
    if (low > high)
      throw wrong("lo", static_cast<int64_t>(i),
                  ": " + std::to_string(low) + " is above hi, " + std::to_string(high));
  }
}

std::vector<float> ArtifactSide::codebook(int codes, bool ascending) const {
  std::vector<float> values = floats("codebook", codes);
  const auto fall = std::adjacent_find(values.begin(), values.end(), std::greater<>());
  if (ascending && fall != values.end())
    throw wrong("codebook", fall + 1 - values.begin(),
                " is below the one before it: profile=paper takes ascending codebooks");
  return values;
}

}  // namespace kvx::gpu::kvquant
