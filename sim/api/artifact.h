// What a scheme needs besides its descriptor: calibrated scales, codebooks, thresholds. A file of
// named tensors, known by the SHA-256 of its bytes; a descriptor names it by (a prefix of) that
// hash.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kvx {

struct ArtifactTensor {
  std::string dtype;           // as safetensors spells it: "F32", "U8", ...
  std::vector<int64_t> shape;  // slowest dimension first
  std::span<const std::byte> bytes;
};

class Artifact {
 public:
  virtual ~Artifact() = default;
  virtual std::string source() const = 0;  // file, for error messages
  virtual std::string sha256() const = 0;  // 64 hex digits
  // A text that the file says of itself; empty if it does not.
  virtual std::string metadata(std::string_view) const { return {}; }
  // nullptr if absent; the bytes are as long as shape and dtype ask for.
  virtual const ArtifactTensor* find(std::string_view name) const = 0;
};

// The artifact that a descriptor's "#hash" names; `hash` is what follows the "#". Throws an
// environment Error naming the hash where there is none.
using Artifacts = std::function<std::shared_ptr<const Artifact>(std::string_view hash)>;

}  // namespace kvx
