// fp: no codes. K and V are rounded once (to nearest, ties to even) to the format and kept so: f32,
// f16 or bf16. `fp:f32` rounds nothing and is the base that every divergence is measured against.
//
// Layout of a block (one token of one head): [D] values of the format, little-endian.
#include "ref/cache/elements.h"
#include "ref/cache/prefix_cache.h"
#include "sim/api/descriptor.h"
#include "sim/api/fixed_refusals.h"

namespace kvx::ref {
namespace {

class FpCoder final : public BlockCoder {
 public:
  FpCoder(InputType type, int dim)
      : type_(type),
        dim_(dim),
        fields_{{"values", element_name(type), "[D]", int64_t{dim} * element_bytes(type),
                 Item::kCodes}} {}

  int tokens() const override { return 1; }
  int dim() const override { return dim_; }
  const std::vector<Field>& fields() const override { return fields_; }
  double nominal_bits() const override { return 8.0 * element_bytes(type_); }

  void encode(std::span<const float> x, std::span<std::byte> out) const override {
    store_elements(type_, x, out.data());
  }
  void decode(std::span<const std::byte> in, std::span<float> x) const override {
    load_elements(type_, in.data(), x);
  }
  void canonical(std::span<const std::byte> in, CanonicalBlock& out) const override {
    out = {};
    out.values.resize(static_cast<size_t>(dim_));
    decode(in, out.values);
  }
  void from_canonical(const CanonicalBlock& in, std::span<std::byte> out) const override {
    encode(in.values, out);
  }

 private:
  InputType type_;
  int dim_;
  std::vector<Field> fields_;
};

}  // namespace

std::unique_ptr<StoredCache> make_fp(const Descriptor& descriptor, const CacheConfig& config) {
  refuse_fixed(descriptor, config, "it has no codes");
  const std::string type = descriptor.get_word("type");
  Traits traits;
  traits.input = type == "f32"   ? InputType::kF32
                 : type == "f16" ? InputType::kF16
                                 : InputType::kBf16;
  const auto side = [&] {
    return SideScheme{
        std::make_unique<FpCoder>(traits.input, config.shape.head_dim),
        {[](int64_t length) { return length; }, [](int64_t position) { return position + 1; },
         "every token is stored rounded when it is appended"}};
  };
  return std::make_unique<PrefixCache>(traits, config, side(), side());
}

}  // namespace kvx::ref
