#include "eval/check/scales.h"

#include <cmath>
#include <map>

#include "eval/check/codebooks.h"
#include "sim/api/descriptor.h"
#include "sim/gen/random.h"
#include "sim/num/rope.h"

namespace kvx::check {
namespace {

class Scales final : public Artifact {
 public:
  Scales(std::string_view hash, int64_t count) : hash_(hash) {
    uint64_t seed = 0;
    for (const char c : hash) seed = seed * 31 + static_cast<unsigned char>(c);
    for (uint32_t side = 0; side < 2; ++side) {
      std::vector<float>& values = values_[side];
      for (int64_t i = 0; i < count; ++i) {
        const gen::Words w = gen::Source{seed, side, 0}.words(static_cast<uint64_t>(i));
        const float mantissa = 1.0f + static_cast<float>(w[0] >> 9) * 0x1p-23f;
        values.push_back(std::ldexp(mantissa, static_cast<int>(w[1] % 13) - 9));
      }
      tensors_[side == 0 ? "layers.0.k.scale" : "layers.0.v.scale"] = {
          "F32", {count}, std::as_bytes(std::span<const float>(values))};
    }
  }
  Scales(const Scales&) = delete;
  Scales& operator=(const Scales&) = delete;

  std::string source() const override { return "scales of #" + hash_; }
  std::string sha256() const override { return hash_ + std::string(64 - hash_.size() % 64, '0'); }
  const ArtifactTensor* find(std::string_view name) const override {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }

 private:
  std::string hash_;
  std::vector<float> values_[2];
  std::map<std::string, ArtifactTensor, std::less<>> tensors_;
};

}  // namespace

Artifacts case_artifacts(const Case& one) {
  return [one](std::string_view hash) -> std::shared_ptr<const Artifact> {
    const Descriptor descriptor = Descriptor::parse(one.scheme);
    if (descriptor.name() == "kvquant")
      return made_codebooks(descriptor, hash, one.kv_heads * one.dim);
    const bool per_head = descriptor.get_word("scale") == "head";
    return std::make_shared<Scales>(hash, per_head ? one.kv_heads : 1);
  };
}

CacheConfig case_config(const Case& one) {
  CacheConfig config;
  config.shape = {.layer = 0, .kv_heads = one.kv_heads, .head_dim = one.dim};
  config.windows = one.windows;
  config.nonfinite = one.nonfinite;
  config.arithmetic = one.arithmetic;
  config.artifacts = case_artifacts(one);
  if (one.dim % 2 == 0) config.rope_steps = num::rope_steps(one.dim, 10000.0, {});
  return config;
}

}  // namespace kvx::check
