// fp8: 8-bit floats, e4m3 or e5m2 (OCP OFP8), times a scale that multiplies on the way out. The
// scale is 1, calibrated (one per layer and side, or one per head), or made from each row. Details
// and worked examples: ref/fp8.md.
//
// Open choices, with the row x = .7001953125 -1.2998046875 2.099609375 .04998779296875
// -.39990234375 1.900390625 -2.19921875 .330078125 (e4m3):
// - A calibrated scale divides (the correctly rounded quotient): scale .02 gives codes
//   61 e8 6d 42 da 6c ee 58. scale=1 gives 33 ba 40 15 ad 3f c1 2b.
// - scale=token follows the rule of vLLM's fp8_per_token_head, which multiplies by the rounded
//   reciprocal: scale 0x3BA0DB6E, codes 71 f8 7d 52 ea 7c fe 68. A row of zeros has the scale 1e-6.
// - Codes saturate and keep the sign of zero: 1000 with scale=1 gives 7e, -0 gives 80.
//
// Layout of a block (one token of one head): codes [D]; with scale=token then the scale, f32. A
// calibrated scale is a table of the side.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "ref/cache/elements.h"
#include "ref/cache/prefix_cache.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"
#include "sim/api/fixed_refusals.h"
#include "sim/num/formats.h"
#include "sim/num/minifloat.h"

namespace kvx::ref {
namespace {

constexpr uint32_t kNan = 0x7FC00000;  // scale of a row that holds a non-finite value

class Fp8Coder : public BlockCoder {
 public:
  Fp8Coder(bool e5m2, int dim) : e5m2_(e5m2), dim_(dim) {
    fields_.push_back({"codes", e5m2 ? "e5m2" : "e4m3", "[D]", dim, Item::kCodes});
  }

  int tokens() const final { return 1; }
  int dim() const final { return dim_; }
  const std::vector<Field>& fields() const final { return fields_; }
  double nominal_bits() const final { return 8; }

 protected:
  size_t size() const { return static_cast<size_t>(dim_); }

  // Codes of the binary32 values t(x_i).
  template <class T>
  void put_codes(std::span<const float> x, std::span<std::byte> out, T t) const {
    std::array<float, 256> values;
    std::array<uint8_t, 256> codes;
    for (size_t i = 0; i < x.size(); i += values.size()) {
      const size_t count = std::min(values.size(), x.size() - i);
      for (size_t j = 0; j < count; ++j) values[j] = t(x[i + j]);
      const std::span from(values.data(), count);
      const std::span to(codes.data(), count);
      e5m2_ ? num::e5m2_encode(from, to) : num::e4m3_encode(from, to);
      std::memcpy(&out[i], codes.data(), count);
    }
  }

  // x^ = fl16(fl32(float(code) scale))
  void read_codes(std::span<const std::byte> in, float scale, std::span<float> x) const {
    const std::span codes(reinterpret_cast<const uint8_t*>(in.data()), x.size());
    e5m2_ ? num::e5m2_decode(codes, x) : num::e4m3_decode(codes, x);
    for (float& value : x) value = value * scale;
    num::f16_round(x, x);
  }

  void canonical_codes(std::span<const std::byte> in, CanonicalBlock& out) const {
    out = {};
    out.codes.resize(size());
    std::memcpy(out.codes.data(), in.data(), size());
  }

  bool e5m2_;
  int dim_;
  std::vector<Field> fields_;
};

// The scale is known before any data.
class StaticCoder final : public Fp8Coder {
 public:
  StaticCoder(bool e5m2, int dim, float scale) : Fp8Coder(e5m2, dim), scale_(scale) {}

  // code = fp8(fl32(x / scale))
  void encode(std::span<const float> x, std::span<std::byte> out) const override {
    put_codes(x, out, [this](float value) { return value / scale_; });
  }
  void decode(std::span<const std::byte> in, std::span<float> x) const override {
    read_codes(in, scale_, x);
  }
  void canonical(std::span<const std::byte> in, CanonicalBlock& out) const override {
    canonical_codes(in, out);
  }
  void from_canonical(const CanonicalBlock& in, std::span<std::byte> out) const override {
    std::memcpy(out.data(), in.codes.data(), size());
  }

 private:
  float scale_;
};

// Each row brings its scale.
class TokenCoder final : public Fp8Coder {
 public:
  TokenCoder(bool e5m2, int dim) : Fp8Coder(e5m2, dim), largest_(e5m2 ? 57344.0f : 448.0f) {
    fields_.push_back({"scale", "f32", "[1]", 4, Item::kScale});
  }

  // scale = max(fl32(max |x| / largest), 1e-6)
  // inv   = fl32(1 / scale)
  // code  = fp8(fl32(x inv))
  void encode(std::span<const float> x, std::span<std::byte> out) const override {
    if (!all_finite(x)) {
      std::fill_n(out.begin(), x.size(), std::byte{0});
      std::memcpy(&out[x.size()], &kNan, 4);
      return;
    }
    float amax = 0.0f;
    for (const float value : x) amax = std::max(amax, std::abs(value));
    const float scale = std::max(amax / largest_, 1e-6f);
    const float inv = 1.0f / scale;
    put_codes(x, out, [inv](float value) { return value * inv; });
    std::memcpy(&out[x.size()], &scale, 4);
  }
  void decode(std::span<const std::byte> in, std::span<float> x) const override {
    float scale;
    std::memcpy(&scale, &in[size()], 4);
    read_codes(in, scale, x);
  }
  void canonical(std::span<const std::byte> in, CanonicalBlock& out) const override {
    canonical_codes(in, out);
    out.scale_dtype = "F32";
    out.scale.resize(1);
    std::memcpy(out.scale.data(), &in[size()], 4);
  }
  void from_canonical(const CanonicalBlock& in, std::span<std::byte> out) const override {
    std::memcpy(out.data(), in.codes.data(), size());
    std::memcpy(&out[size()], in.scale.data(), 4);
  }

 private:
  float largest_;
};

std::string shape_text(const std::vector<int64_t>& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ", ";
    text += std::to_string(shape[i]);
  }
  return text + "]";
}

// The calibrated scales of one side: F32, one or one per KV head, finite and positive.
std::vector<float> calibrated_scales(const Artifact& artifact, const CacheConfig& config, Side side,
                                     bool per_head) {
  const std::string name =
      "layers." + std::to_string(config.shape.layer) + "." + side_name(side) + ".scale";
  const std::string where = artifact.source() + ": tensor '" + name + "'";
  const ArtifactTensor* tensor = artifact.find(name);
  if (tensor == nullptr) throw environment_error(where + " is missing");
  const std::vector<int64_t> shape = {per_head ? config.shape.kv_heads : 1};
  if (tensor->dtype != "F32" || tensor->shape != shape) {
    throw environment_error(where + " is " + tensor->dtype + " " + shape_text(tensor->shape) +
                            ", not F32 " + shape_text(shape));
  }
  std::vector<float> scales(static_cast<size_t>(shape[0]));
  std::memcpy(scales.data(), tensor->bytes.data(), 4 * scales.size());
  for (size_t i = 0; i < scales.size(); ++i) {
    if (std::isfinite(scales[i]) && scales[i] > 0.0f) continue;
    throw environment_error(where + ", value " + std::to_string(i) + ": " +
                            std::to_string(scales[i]) + " is not a finite positive scale");
  }
  return scales;
}

std::shared_ptr<const Artifact> calibration(const Descriptor& descriptor,
                                            const CacheConfig& config) {
  const std::string cal = descriptor.get_word("cal");
  if (!cal.starts_with('#') || config.artifacts == nullptr) {
    throw environment_error("fp8: cal=" + cal + " is not loaded");
  }
  return config.artifacts(std::string_view(cal).substr(1));
}

}  // namespace

std::unique_ptr<StoredCache> make_fp8(const Descriptor& descriptor, const CacheConfig& config) {
  refuse_fixed(descriptor, config, "its codes are floats");
  const bool e5m2 = descriptor.get_word("type") == "e5m2";
  const std::string kind = descriptor.get_word("scale");
  const bool calibrated = kind == "tensor" || kind == "head";
  const int dim = config.shape.head_dim;
  if (calibrated && descriptor.get_word("cal").empty()) {
    throw usage_error("fp8: scale=" + kind + " needs cal=#hash or cal=path, the calibrated scales");
  }
  if (!calibrated && !descriptor.get_word("cal").empty()) {
    throw usage_error("fp8: cal=" + descriptor.get_word("cal") + " has no use with scale=" + kind);
  }
  std::shared_ptr<const Artifact> artifact;
  if (calibrated) artifact = calibration(descriptor, config);
  const auto make_side = [&](Side side) {
    SideScheme result;
    result.rule = seal_every_token();
    if (kind == "token") {
      result.coder = std::make_unique<TokenCoder>(e5m2, dim);
      return result;
    }
    std::vector<float> scales = {1.0f};
    if (calibrated) {
      scales = calibrated_scales(*artifact, config, side, kind == "head");
      const auto bytes = std::as_bytes(std::span<const float>(scales));
      result.tables = {
          {"scale", "F32", {static_cast<int64_t>(scales.size())}, {bytes.begin(), bytes.end()}}};
    }
    result.coder = std::make_unique<StaticCoder>(e5m2, dim, scales[0]);
    for (size_t head = 1; head < scales.size(); ++head) {
      result.other_heads.push_back(std::make_unique<StaticCoder>(e5m2, dim, scales[head]));
    }
    return result;
  };
  SideScheme k = make_side(Side::kK);
  SideScheme v = make_side(Side::kV);
  return std::make_unique<PrefixCache>(Traits{}, config, std::move(k), std::move(v));
}

}  // namespace kvx::ref
