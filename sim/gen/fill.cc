#include "sim/gen/fill.h"

#include <bit>
#include <string>
#include <vector>

#include "sim/api/error.h"
#include "sim/gen/random.h"
#include "sim/num/elementary.h"
#include "sim/num/formats.h"
#include "sim/num/rope.h"

namespace kvx::gen {
namespace {

constexpr const char* kNames[kFills] = {
    "normal",      "heavy",       "rope-keys",  "constant",      "ties",
    "f16-ties",    "bf16-ties",   "zeros",      "f16-subnormal", "f32-subnormal",
    "f16-extreme", "f32-extreme", "non-finite",
};

constexpr int kTile = 32;
constexpr double kRopeTheta = 10000.0;

// Draws of one tensor that must not share random bits.
enum Purpose : uint32_t { kValue, kChannel, kTileValue, kChoice };

struct Place {
  int64_t token;
  int head;
  int channel;
};

float from_bits(uint32_t bits) { return std::bit_cast<float>(bits); }
float with_sign(float x, bool negative) { return negative ? -x : x; }

class Filler {
 public:
  Filler(Fill fill, uint64_t seed, uint32_t tensor, FillShape shape)
      : fill_(fill), shape_(shape), seed_(seed), tensor_(tensor) {}

  float value(const Place& at) const {
    const uint64_t index = (static_cast<uint64_t>(at.token) * static_cast<uint64_t>(shape_.heads) +
                            static_cast<uint64_t>(at.head)) *
                               static_cast<uint64_t>(shape_.dim) +
                           static_cast<uint64_t>(at.channel);
    switch (fill_) {
      case Fill::kNormal:
        return source(kValue).normal(index);
      case Fill::kHeavy:
        return source(kValue).normal(index) * channel_scale(at);
      case Fill::kRopeKeys:
        return (bias(at) + 0.5f * source(kValue).normal(index)) * channel_scale(at);
      case Fill::kConstant:
        return constant(at);
      case Fill::kTies:
        return quantizer_tie(at, index);
      case Fill::kF16Ties:
        return f16_tie(source(kValue).words(index));
      case Fill::kBf16Ties:
        return bf16_tie(source(kValue).words(index));
      case Fill::kZeros:
        return signed_zero(at, index);
      case Fill::kF16Subnormal:
        return f16_subnormal(source(kValue).words(index));
      case Fill::kF32Subnormal:
        return from_bits(source(kValue).words(index)[0] & 0x807FFFFFu);
      case Fill::kF16Extreme:
        return f16_extreme(source(kValue).words(index));
      case Fill::kF32Extreme:
        return f32_extreme(source(kValue).words(index));
      case Fill::kNonFinite:
        return non_finite(index);
    }
    return 0.0f;
  }

 private:
  Source source(Purpose purpose) const { return {seed_, tensor_, purpose}; }

  uint64_t channel_index(const Place& at) const {
    return static_cast<uint64_t>(at.head) * static_cast<uint64_t>(shape_.dim) +
           static_cast<uint64_t>(at.channel);
  }

  uint64_t tile_index(const Place& at) const {
    const uint64_t tiles_per_row = static_cast<uint64_t>((shape_.dim + kTile - 1) / kTile);
    return (static_cast<uint64_t>(at.token / kTile) * static_cast<uint64_t>(shape_.heads) +
            static_cast<uint64_t>(at.head)) *
               tiles_per_row +
           static_cast<uint64_t>(at.channel / kTile);
  }

  // 1, or 10 to 50 in one channel of every run of 32.
  float channel_scale(const Place& at) const {
    const int run = at.channel / kTile;
    const int width = shape_.dim - run * kTile < kTile ? shape_.dim - run * kTile : kTile;
    const Words w = source(kChannel).words(channel_index({0, at.head, run * kTile}));
    if (at.channel % kTile != static_cast<int>(w[2] % static_cast<uint32_t>(width))) return 1.0f;
    return 10.0f + 40.0f * (static_cast<float>(w[3] >> 8) * 0x1p-24f);
  }

  float bias(const Place& at) const { return source(kChoice).normal(channel_index(at)); }

  float constant(const Place& at) const {
    const uint64_t tile = tile_index(at);
    if (source(kChoice).words(tile)[0] % 8 == 0) return 0.0f;
    return source(kTileValue).normal(tile);
  }

  // A tile is [32][32]. Its unit u is a power of two; its values are halves of u between the ends
  // of a quantizer of b bits, whose step is then exactly u. Both ends occur in every full row and
  // column.
  float quantizer_tie(const Place& at, uint64_t index) const {
    const Words tile = source(kTileValue).words(tile_index(at));
    constexpr int kBits[] = {2, 3, 4, 8};
    const int bits = kBits[tile[0] % 4];
    const bool symmetric = (tile[0] >> 8) % 2 == 1;
    const float unit = from_bits((127u - 8u + tile[1] % 10u) << 23);
    const int levels = symmetric ? (1 << (bits - 1)) - 1 : (1 << bits) - 1;
    const int lowest = symmetric ? -2 * levels : 2 * (static_cast<int>(tile[2] % 64) - 32);
    const int width = symmetric ? 4 * levels : 2 * levels;
    const int row = static_cast<int>(at.token % kTile);
    const int column = at.channel % kTile;
    int halves;
    if (row == column)
      halves = lowest;
    else if ((row + 1) % kTile == column)
      halves = lowest + width;
    else
      halves = lowest +
               static_cast<int>(source(kValue).words(index)[0] % static_cast<uint32_t>(width + 1));
    return static_cast<float>(halves) * 0.5f * unit;
  }

  static float f16_tie(const Words& w) {
    const uint32_t magnitude = w[0] % 0x7BFFu;  // below the greatest finite number
    const float low = num::f16_decode(static_cast<uint16_t>(magnitude));
    const float high = num::f16_decode(static_cast<uint16_t>(magnitude + 1));
    return with_sign((low + high) * 0.5f, (w[1] & 1) != 0);
  }

  static float bf16_tie(const Words& w) {
    const uint32_t exponent = 127u - 16u + w[0] % 32u;
    return from_bits((w[1] << 31) | (exponent << 23) | ((w[2] & 0x7Fu) << 16) | 0x8000u);
  }

  float signed_zero(const Place& at, uint64_t index) const {
    const Words w = source(kChoice).words(index);
    const bool mixed = source(kTileValue).words(tile_index(at))[0] % 2 == 1;
    if (mixed && w[0] % 8 == 0) return source(kValue).normal(index);
    return with_sign(0.0f, (w[1] & 1) != 0);
  }

  static float f16_subnormal(const Words& w) {
    return with_sign(static_cast<float>(w[0] % 2048u) * 0x1p-25f, (w[1] & 1) != 0);
  }

  static float f16_extreme(const Words& w) {
    float magnitude;
    switch (w[0] % 4) {
      case 0:
        magnitude = 65504.0f;
        break;
      case 1:
        magnitude = 65504.0f - 32.0f * static_cast<float>(w[2] % 64u);
        break;
      case 2:
        magnitude = from_bits(0x477FEFFFu - w[2] % 4096u);
        break;  // ends at the last that rounds to 65504
      default:
        magnitude = static_cast<float>(w[2] % 2048u) * 0x1p-10f;
        break;
    }
    return with_sign(magnitude, (w[1] & 1) != 0);
  }

  static float f32_extreme(const Words& w) {
    const uint32_t near = w[0] % 2 == 0 ? 0x7F7FFFFFu - w[2] % 256u : 0x00800000u + w[2] % 256u;
    return with_sign(from_bits(near), (w[1] & 1) != 0);
  }

  float non_finite(uint64_t index) const {
    const Words w = source(kChoice).words(index);
    if (w[0] % 64 != 0) return source(kValue).normal(index);
    constexpr uint32_t kOdd[] = {0x7FC00000u, 0x7F800000u, 0xFF800000u};
    return from_bits(kOdd[w[1] % 3]);
  }

  Fill fill_;
  FillShape shape_;
  uint64_t seed_;
  uint32_t tensor_;
};

}  // namespace

const char* fill_name(Fill fill) { return kNames[static_cast<size_t>(fill)]; }

Fill parse_fill(std::string_view name) {
  std::string known;
  for (int i = 0; i < kFills; ++i) {
    if (name == kNames[i]) return static_cast<Fill>(i);
    known += (i > 0 ? ", " : "") + std::string(kNames[i]);
  }
  throw usage_error("unknown input '" + std::string(name) + "'; known: " + known);
}

void fill(Fill kind, uint64_t seed, uint32_t tensor, FillShape shape, int64_t first,
          std::span<float> out) {
  const Filler filler(kind, seed, tensor, shape);
  const size_t dim = static_cast<size_t>(shape.dim);
  const size_t row_size = static_cast<size_t>(shape.heads) * dim;
  std::vector<uint64_t> steps;
  if (kind == Fill::kRopeKeys) steps = num::rope_steps(shape.dim, kRopeTheta, {});
  std::vector<float> sin(steps.size());
  std::vector<float> cos(steps.size());
  for (size_t t = 0; t < out.size() / row_size; ++t) {
    const int64_t token = first + static_cast<int64_t>(t);
    num::rope_table(steps, token, sin, cos);
    for (int head = 0; head < shape.heads; ++head) {
      const std::span<float> row = out.subspan(t * row_size + static_cast<size_t>(head) * dim, dim);
      for (int c = 0; c < shape.dim; ++c)
        row[static_cast<size_t>(c)] = filler.value({token, head, c});
      if (kind == Fill::kRopeKeys) num::rope_rotate(row, sin, cos);
    }
  }
}

}  // namespace kvx::gen
