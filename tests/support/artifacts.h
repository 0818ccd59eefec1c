// Artifacts in memory, for schemes that need one.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/api/artifact.h"
#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::test {

class MemoryArtifact final : public Artifact {
 public:
  std::string source() const override { return "memory.safetensors"; }
  std::string sha256() const override { return std::string(64, '0'); }
  const ArtifactTensor* find(std::string_view name) const override {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }

  template <class T>
  void set(const std::string& name, const std::string& dtype, std::vector<int64_t> shape,
           const std::vector<T>& values) {
    std::vector<std::byte>& bytes = storage_[name];
    bytes.resize(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    tensors_[name] = {dtype, std::move(shape), bytes};
  }

 private:
  std::map<std::string, std::vector<std::byte>, std::less<>> storage_;
  std::map<std::string, ArtifactTensor, std::less<>> tensors_;
};

// Calibrated fp8 scales of the first layers, `count` values of a side (1, or one per KV head), all
// different.
inline std::shared_ptr<MemoryArtifact> fp8_scales(int layers, int count) {
  auto artifact = std::make_shared<MemoryArtifact>();
  for (int layer = 0; layer < layers; ++layer) {
    for (const char* side : {"k", "v"}) {
      std::vector<float> scales;
      for (int i = 0; i < count; ++i) {
        scales.push_back(0.02f * static_cast<float>(1 + i) + (side[0] == 'v' ? 0.013f : 0.0f) +
                         0.001f * static_cast<float>(layer));
      }
      artifact->set("layers." + std::to_string(layer) + "." + side + ".scale", "F32", {count},
                    scales);
    }
  }
  return artifact;
}

// Codebooks of `bits`, ranges of both sides' channels and Q-Norm of the first layers for kvquant,
// all different; one channel in 16 has lo = hi, some ranges are of one sign.
inline std::shared_ptr<MemoryArtifact> kvquant_tables(int layers, int channels, int bits) {
  auto artifact = std::make_shared<MemoryArtifact>();
  for (int layer = 0; layer < layers; ++layer) {
    for (const char* side : {"k", "v"}) {
      const std::string prefix = "layers." + std::to_string(layer) + "." + side + ".";
      const float shift = 0.01f * static_cast<float>(layer) + (side[0] == 'v' ? 0.03f : 0.0f);
      std::vector<float> codebook;
      for (int i = 0; i < 1 << bits; ++i) {
        const float t =
            (static_cast<float>(i) + 0.5f) / static_cast<float>(1 << bits) * 2.0f - 1.0f;
        codebook.push_back(t * (0.5f + 0.4f * t * t) + shift);
      }
      std::vector<uint16_t> lo, hi;
      for (int j = 0; j < channels; ++j) {
        const float middle = 0.3f * static_cast<float>(j % 7 - 3) + shift;
        const float half = j % 16 == 5 ? 0.0f : 0.25f + 0.125f * static_cast<float>(j % 13);
        lo.push_back(num::f16_encode(middle - half));
        hi.push_back(num::f16_encode(middle + half));
      }
      artifact->set(prefix + "codebook", "F32", {1 << bits}, codebook);
      artifact->set(prefix + "qnorm", "F32", {2}, std::vector<float>{1.05f, 0.01f + shift});
      artifact->set(prefix + "lo", "F16", {channels}, lo);
      artifact->set(prefix + "hi", "F16", {channels}, hi);
    }
  }
  return artifact;
}

// What `cal=#...` and `cb=#...` mean in tests: #11111111 fp8 scales per tensor, #22222222 per head
// of two KV heads; #0000000B kvquant tables of B bits for 128 channels.
inline Artifacts test_artifacts() {
  return [](std::string_view hash) -> std::shared_ptr<const Artifact> {
    if (hash == "11111111") return fp8_scales(8, 1);
    if (hash == "22222222") return fp8_scales(8, 2);
    if (hash == "00000002") return kvquant_tables(8, 128, 2);
    if (hash == "00000003") return kvquant_tables(8, 128, 3);
    if (hash == "00000004") return kvquant_tables(8, 128, 4);
    throw environment_error("no artifact #" + std::string(hash));
  };
}

}  // namespace kvx::test
