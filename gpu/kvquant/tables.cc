#include "gpu/kvquant/tables.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <string>

#include "gpu/kvquant/artifact.h"
#include "sim/api/error.h"

namespace kvx::gpu::kvquant {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// NormalFloat, section 3.5 of the paper's code: quantiles of the normal distribution, rounded to
// binary32.
std::vector<float> normal_float(int bits) {
  if (bits == 2) return {-1.0f, 0.0f, 0x1.5a066cp-2f, 1.0f};
  if (bits == 3)
    return {-1.0f,          -0x1.ea1dbep-2f, -0x1.bcb4d4p-3f, 0.0f,
            0x1.4995bep-3f, 0x1.5a066cp-2f,  0x1.200f52p-1f,  1.0f};
  return {-1.0f,           -0x1.647362p-1f, -0x1.0cd65cp-1f, -0x1.94653cp-2f,
          -0x1.234496p-2f, -0x1.7a6a7ap-3f, -0x1.74f0d2p-4f, 0.0f,
          0x1.45f602p-4f,  0x1.4995bep-3f,  0x1.f809b4p-3f,  0x1.5a066cp-2f,
          0x1.c3496ap-2f,  0x1.200f52p-1f,  0x1.72276p-1f,   1.0f};
}

float half(float x) { return number_of(nearest_pattern(x)); }

// Whether the nearest code is the number of positions passed, for |u| <= 4: then the rounded
// distances to two neighbours cross once.
bool crosses_once(const std::vector<float>& codebook) {
  for (size_t i = 0; i < codebook.size(); ++i) {
    if (std::abs(codebook[i]) > 4.0f) return false;
    if (i > 0 && !(codebook[i] - codebook[i - 1] >= 0x1p-10f)) return false;
  }
  return true;
}

// Patterns of binary32 in ascending order as integers.
int64_t order_of_float(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return (bits & 0x80000000u) != 0 ? -static_cast<int64_t>(bits & 0x7FFFFFFFu)
                                   : static_cast<int64_t>(bits);
}
float float_of_order(int64_t order) {
  return std::bit_cast<float>(order < 0 ? 0x80000000u | static_cast<uint32_t>(-order)
                                        : static_cast<uint32_t>(order));
}

// The least u in (low, high] that is nearer to high.
float crossing(float low, float high) {
  int64_t below = order_of_float(low), at = order_of_float(high);
  while (at - below > 1) {
    const int64_t middle = below + (at - below) / 2;
    const float u = float_of_order(middle);
    (std::abs(u - high) < std::abs(u - low) ? at : below) = middle;
  }
  return float_of_order(at);
}

std::vector<float> codebook_positions(const std::vector<float>& codebook) {
  const size_t n = codebook.size();
  std::vector<float> positions(n + 1, kNan);
  positions[0] = kInfinity;
  if (!crosses_once(codebook)) return positions;
  positions[0] = -4.0f;
  for (size_t j = 1; j < n; ++j) positions[j] = crossing(codebook[j - 1], codebook[j]);
  positions[n] = std::nextafter(4.0f, kInfinity);
  return positions;
}

// Positions are rounded to the nearest integer, halves to even.
std::vector<float> integer_positions(int codes) {
  std::vector<float> positions(static_cast<size_t>(codes) + 1, kNan);
  positions[0] = -kInfinity;
  for (int j = 1; j < codes; ++j) {
    const float middle = static_cast<float>(j) - 0.5f;
    positions[static_cast<size_t>(j)] =
        j % 2 == 0 ? middle : std::nextafter(middle, static_cast<float>(j));
  }
  return positions;
}

// Of a calibrated range; every step rounded to fp16 too with zr=fp16.
Scale channel_scale(const Settings& settings, float lo, float hi) {
  const auto fl = [&](float x) { return settings.half_ranges ? half(x) : x; };
  if (!settings.integer()) return {fl(fl(hi + lo) * 0.5f), fl(fl(hi - lo) * 0.5f)};
  const auto top = static_cast<float>(settings.codes() - 1);
  const float range = fl(hi - lo);
  const float k = settings.paper ? top / range : fl(fl(1.0f / range) * top);
  return {fl(lo * k), k};
}

void add_channels(const Settings& settings, Tables& tables) {
  const size_t d = tables.lo.size(), rows = tables.positions.size();
  tables.bounds.assign((rows + 2) * d, kNever);
  for (size_t c = 0; c < d; ++c) {
    const Scale s = channel_scale(settings, number_of(tables.lo[c]), number_of(tables.hi[c]));
    tables.scales.push_back(s);
    // A range of nothing has code 0 alone, but for integers.
    const bool nothing = !settings.integer() && s.b == 0.0f;
    for (size_t j = 0; j < rows && !nothing; ++j)
      tables.bounds[j * d + c] = first_at(settings.integer(), tables.positions[j], s);
  }
  std::copy(tables.lo.begin(), tables.lo.end(), tables.bounds.end() - static_cast<int64_t>(2 * d));
  std::copy(tables.hi.begin(), tables.hi.end(), tables.bounds.end() - static_cast<int64_t>(d));
}

}  // namespace

Tables make_tables(const Settings& settings, const Artifact* artifact, const LayerShape& shape,
                   Side side) {
  const int64_t d = int64_t{shape.kv_heads} * shape.head_dim;
  Tables tables;
  if (settings.type == Type::kNf) tables.codebook = normal_float(settings.bits);
  if (artifact != nullptr) {
    const ArtifactSide source(*artifact, shape.layer, side);
    if (settings.type == Type::kNuq)
      tables.codebook = source.codebook(settings.codes(), settings.paper);
    if (settings.qnorm) tables.qnorm = source.floats("qnorm", 2);
    if (!settings.token_range(side)) source.read_ranges(d, tables.lo, tables.hi);
  }
  if (d > 65536)
    throw usage_error("kvquant: " + std::to_string(d) + " channels of a layer: more than 65536");
  const int64_t outliers = 2 * settings.per_side(d);
  if (settings.sparse() && settings.token_range(side) && outliers >= d) {
    throw usage_error("kvquant: 2/o=" + std::to_string(settings.quantile) + " makes " +
                      std::to_string(outliers) + " outliers of the " + std::to_string(d) +
                      " channels of a token");
  }

  if (settings.integer()) {
    tables.positions = integer_positions(settings.codes());
  } else {
    tables.positions = codebook_positions(tables.codebook);
    tables.code_of_zero = nearest_code(tables.codebook.data(), settings.codes(), 0.0f);
  }
  for (const float c : tables.codebook) {
    float value = settings.type == Type::kNf ? half(c) : c;
    if (settings.qnorm) {
      const float product = tables.qnorm[0] * c;
      value = product + tables.qnorm[1];
    }
    tables.decoded.push_back(value);
  }
  if (!settings.token_range(side)) add_channels(settings, tables);
  return tables;
}

}  // namespace kvx::gpu::kvquant
