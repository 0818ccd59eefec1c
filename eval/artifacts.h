// The files that descriptors name (calibrated scales, codebooks): cal=PATH, or cal=#HASH with (the
// first digits of) a SHA-256, looked for among the files named by path and in folders.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "eval/tensor_file.h"
#include "sim/api/cache.h"
#include "sim/api/descriptor.h"

namespace kvx::eval {

// Digits of a hash in a canonical descriptor.
inline constexpr size_t kArtifactDigits = 16;

// "#" and the first kArtifactDigits digits: what a canonical descriptor names an artifact by.
std::string artifact_reference(std::string_view sha256);

// folder/artifact-DIGITS.safetensors: where a folder keeps an artifact under its hash.
std::string artifact_path(const std::string& folder, std::string_view sha256);

// The key of a scheme's descriptors that names its artifact; nullptr if it has none.
const KeySpec* artifact_key(const SchemeSchema& schema);

// Copies share what is loaded.
class ArtifactStore {
 public:
  // folders: searched for the *.safetensors file of a hash.
  explicit ArtifactStore(const std::vector<std::string>& folders = {});

  // Loads a file; its SHA-256.
  std::string add(const std::string& path);

  // The descriptor with every artifact as "#" and kArtifactDigits digits, the ones it names loaded.
  // Throws usage and environment Errors.
  Descriptor parse(std::string_view text) { return resolve(Descriptor::parse(text)); }
  Descriptor resolve(const Descriptor& descriptor);

  // The reference's caches of a resolved descriptor.
  StoredCacheFactory factory(const Descriptor& descriptor) const;

  // What CacheConfig asks for.
  Artifacts artifacts() const;

  // Copies what a resolved descriptor names, also inside another, to its artifact_path; makes the
  // folder. Throws a not-saved Error.
  void save(const Descriptor& descriptor, const std::string& folder) const;

  // The artifact of a hash, from what is loaded or the folder. Throws an environment Error naming
  // the hash where none or more than one fits.
  std::shared_ptr<const TensorFile> find(std::string_view hash) const;

 private:
  struct Known {
    std::string sha256;
    std::shared_ptr<const TensorFile> file;
  };
  struct State {
    std::vector<std::string> folders;
    bool searched = false;
    std::vector<Known> known;
  };
  void search_folders() const;
  std::vector<std::shared_ptr<const TensorFile>> named_by(const Descriptor& descriptor) const;

  std::shared_ptr<State> state_;
};

}  // namespace kvx::eval
