// fp: no codes. K and V are rounded once (to nearest, ties to even) to the format and kept so: f32,
// f16 or bf16. `fp:f32` rounds nothing and is the base that every divergence is measured against.
//
// Layout of a block (one token of one head): [D] values of the format, little-endian.
#include <cstring>

#include "ref/cache/prefix_cache.h"
#include "sim/api/descriptor.h"
#include "sim/num/formats.h"

namespace kvx::ref {
namespace {

class FpCoder final : public BlockCoder {
 public:
  FpCoder(InputType type, const std::string& dtype, int dim)
      : type_(type),
        dim_(dim),
        bytes_(type == InputType::kF32 ? 4 : 2),
        fields_{{"values", dtype, "[D]", int64_t{dim} * bytes_, Item::kCodes}} {}

  int tokens() const override { return 1; }
  int dim() const override { return dim_; }
  const std::vector<Field>& fields() const override { return fields_; }
  double nominal_bits() const override { return 8.0 * bytes_; }

  void encode(std::span<const float> x, std::span<std::byte> out) const override {
    for (size_t i = 0; i < x.size(); ++i) {
      if (type_ == InputType::kF32) {
        std::memcpy(&out[4 * i], &x[i], 4);
      } else {
        const bool f16 = type_ == InputType::kF16;
        const uint16_t bits = f16 ? num::f16_encode(x[i]) : num::bf16_encode(x[i]);
        std::memcpy(&out[2 * i], &bits, 2);
      }
    }
  }

  void decode(std::span<const std::byte> in, std::span<float> x) const override {
    for (size_t i = 0; i < x.size(); ++i) {
      if (type_ == InputType::kF32) {
        std::memcpy(&x[i], &in[4 * i], 4);
      } else {
        uint16_t bits;
        std::memcpy(&bits, &in[2 * i], 2);
        x[i] = type_ == InputType::kF16 ? num::f16_decode(bits) : num::bf16_decode(bits);
      }
    }
  }

  // There are neither codes nor metadata: the decoded values say all.
  void canonical(std::span<const std::byte>, CanonicalBlock& out) const override { out = {}; }

 private:
  InputType type_;
  int dim_;
  int bytes_;  // of one value
  std::vector<Field> fields_;
};

}  // namespace

std::unique_ptr<LayerCache> make_fp(const Descriptor& descriptor, const CacheConfig& config) {
  const std::string type = descriptor.get_word("type");
  Traits traits;
  traits.input = type == "f32"   ? InputType::kF32
                 : type == "f16" ? InputType::kF16
                                 : InputType::kBf16;
  const auto side = [&] {
    return SideScheme{
        std::make_unique<FpCoder>(traits.input, type, config.shape.head_dim),
        {[](int64_t length) { return length; }, [](int64_t position) { return position + 1; },
         "every token is stored rounded when it is appended"}};
  };
  return std::make_unique<PrefixCache>(traits, config, side(), side());
}

}  // namespace kvx::ref
