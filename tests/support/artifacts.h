// Artifacts in memory, for schemes that need one.
#pragma once

#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "sim/api/artifact.h"
#include "sim/api/error.h"

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

// What `cal=#...` means in tests: #11111111 fp8 scales per tensor, #22222222 per head of two KV
// heads.
inline Artifacts test_artifacts() {
  return [](std::string_view hash) -> std::shared_ptr<const Artifact> {
    if (hash == "11111111") return fp8_scales(8, 1);
    if (hash == "22222222") return fp8_scales(8, 2);
    throw environment_error("no artifact #" + std::string(hash));
  };
}

}  // namespace kvx::test
