#include "ref/kvquant/tables.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::ref::kvquant {
namespace {

// Quantiles of the normal distribution at 2^(b-1) points from delta to .5 and 2^(b-1) + 1 points
// from .5 to 1 - delta, delta = (1/32 + 1/30) / 2, either half over its greatest magnitude.
constexpr float kNf2[] = {-1.0f, 0.0f, 0x1.5a066cp-2f, 1.0f};
constexpr float kNf3[] = {-1.0f,          -0x1.ea1dbep-2f, -0x1.bcb4d4p-3f, 0.0f,
                          0x1.4995bep-3f, 0x1.5a066cp-2f,  0x1.200f52p-1f,  1.0f};
constexpr float kNf4[] = {-1.0f,           -0x1.647362p-1f, -0x1.0cd65cp-1f, -0x1.94653cp-2f,
                          -0x1.234496p-2f, -0x1.7a6a7ap-3f, -0x1.74f0d2p-4f, 0.0f,
                          0x1.45f602p-4f,  0x1.4995bep-3f,  0x1.f809b4p-3f,  0x1.5a066cp-2f,
                          0x1.c3496ap-2f,  0x1.200f52p-1f,  0x1.72276p-1f,   1.0f};

std::string shape_text(const std::string& dtype, const std::vector<int64_t>& shape) {
  std::string text = dtype + " [";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// Tensors of one side of a layer by their short names.
class Source {
 public:
  Source(const Artifact& artifact, int layer, Side side)
      : artifact_(artifact),
        prefix_("layers." + std::to_string(layer) + "." + side_name(side) + ".") {}

  std::string where(const std::string& name) const {
    return artifact_.source() + ": tensor '" + prefix_ + name + "'";
  }

  template <class T>
  std::vector<T> values(const std::string& name, const std::string& dtype, int64_t count) const {
    const ArtifactTensor* tensor = artifact_.find(prefix_ + name);
    if (tensor == nullptr) throw environment_error(where(name) + " is missing");
    if (tensor->dtype != dtype || tensor->shape != std::vector<int64_t>{count}) {
      throw environment_error(where(name) + " is " + shape_text(tensor->dtype, tensor->shape) +
                              ", not " + shape_text(dtype, {count}));
    }
    std::vector<T> values(static_cast<size_t>(count));
    std::memcpy(values.data(), tensor->bytes.data(), sizeof(T) * values.size());
    return values;
  }

  // `number(i)` of every value of the tensor is finite.
  template <class Number>
  void check_finite(const std::string& name, size_t count, const Number& number) const {
    for (size_t i = 0; i < count; ++i) {
      if (std::isfinite(number(i))) continue;
      throw environment_error(where(name) + ", value " + std::to_string(i) + ": " +
                              std::to_string(number(i)) + " is not finite");
    }
  }

  std::vector<float> floats(const std::string& name, int64_t count) const {
    std::vector<float> all = values<float>(name, "F32", count);
    check_finite(name, all.size(), [&](size_t i) { return all[i]; });
    return all;
  }

  std::vector<uint16_t> halves(const std::string& name, int64_t count) const {
    std::vector<uint16_t> all = values<uint16_t>(name, "F16", count);
    check_finite(name, all.size(), [&](size_t i) { return num::f16_decode(all[i]); });
    for (uint16_t& bits : all) bits = bits == 0x8000 ? uint16_t{0} : bits;
    return all;
  }

 private:
  const Artifact& artifact_;
  std::string prefix_;
};

}  // namespace

std::span<const float> normal_float(int bits) {
  if (bits == 2) return kNf2;
  if (bits == 3) return kNf3;
  return kNf4;
}

SideTables read_tables(const Settings& settings, const Artifact* artifact, int layer, Side side,
                       int64_t channels) {
  SideTables tables;
  if (settings.type == Type::kNf) {
    const std::span<const float> values = normal_float(settings.bits);
    tables.codebook.assign(values.begin(), values.end());
  }
  if (artifact == nullptr) return tables;
  const Source source(*artifact, layer, side);
  if (settings.type == Type::kNuq) {
    tables.codebook = source.floats("codebook", settings.codes());
    const auto fall =
        std::adjacent_find(tables.codebook.begin(), tables.codebook.end(), std::greater<>());
    if (settings.paper && fall != tables.codebook.end()) {
      throw environment_error(
          source.where("codebook") + ", value " +
          std::to_string(fall + 1 - tables.codebook.begin()) +
          " is below the one before it: profile=paper takes ascending codebooks");
    }
  }
  if (settings.qnorm) tables.qnorm = source.floats("qnorm", 2);
  if (settings.axis(side) == Axis::kToken) return tables;
  tables.lo = source.halves("lo", channels);
  tables.hi = source.halves("hi", channels);
  for (size_t j = 0; j < tables.lo.size(); ++j) {
    const float lo = num::f16_decode(tables.lo[j]), hi = num::f16_decode(tables.hi[j]);
    if (lo <= hi) continue;
    throw environment_error(source.where("lo") + ", value " + std::to_string(j) + ": " +
                            std::to_string(lo) + " is above hi, " + std::to_string(hi));
  }
  return tables;
}

void check_calibration(const Settings& settings, const Artifact& artifact) {
  const std::string scheme = artifact.metadata("scheme");
  if (scheme.empty()) return;
  const std::string start = "kvquant: cb=" + artifact.source() + " was calibrated for ";
  const Descriptor descriptor = [&] {
    try {
      return Descriptor::parse(scheme);
    } catch (const Error& error) {
      throw usage_error(start + "what this program does not know: " + error.what());
    }
  }();
  const auto refuse = [&](const std::string& why) {
    return usage_error(start + descriptor.str() + ": " + why);
  };
  if (descriptor.name() != "kvquant") throw refuse("another scheme");
  const Settings made = read_settings(descriptor);
  if (made.quantile != settings.quantile) throw refuse("another fraction o of outliers");
  if (made.sink != settings.sink) throw refuse("another sink s");
  if (made.pre_rope != settings.pre_rope) throw refuse("another rope");
  if (settings.type == Type::kNuq && made.axes != settings.axes) {
    throw refuse("codebooks of another kaxis or vaxis");
  }
}

}  // namespace kvx::ref::kvquant
