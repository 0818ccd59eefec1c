#include "eval/artifacts.h"

#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "eval/files.h"
#include "ref/registry.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace fs = std::filesystem;

std::string artifact_reference(std::string_view sha256) {
  return fmt::format("#{}", sha256.substr(0, kArtifactDigits));
}

std::string artifact_path(const std::string& folder, std::string_view sha256) {
  return fmt::format("{}/artifact-{}.safetensors", folder, sha256.substr(0, kArtifactDigits));
}

const KeySpec* artifact_key(const SchemeSchema& schema) {
  const auto found = std::ranges::find(schema.keys, KeyKind::kArtifact, &KeySpec::kind);
  return found == schema.keys.end() ? nullptr : &*found;
}

ArtifactStore::ArtifactStore(const std::vector<std::string>& folders)
    : state_(std::make_shared<State>(State{folders, false, {}})) {}

std::string ArtifactStore::add(const std::string& path) {
  auto file = std::make_shared<TensorFile>(path);
  const std::string hash = file->sha256();
  auto& known = state_->known;
  if (std::none_of(known.begin(), known.end(), [&](const Known& k) { return k.sha256 == hash; }))
    known.push_back({hash, std::move(file)});
  return hash;
}

void ArtifactStore::search_folders() const {
  if (state_->searched) return;
  state_->searched = true;
  for (const std::string& folder : state_->folders) {
    std::vector<std::string> paths;
    std::error_code error;
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
      if (it->path().extension() == ".safetensors") paths.push_back(it->path().string());
    if (error) throw environment_error(fmt::format("{}: {}", folder, error.message()));
    std::sort(paths.begin(), paths.end());
    for (const std::string& path : paths) ArtifactStore(*this).add(path);
  }
}

std::shared_ptr<const TensorFile> ArtifactStore::find(std::string_view hash) const {
  const auto search = [&] {
    std::shared_ptr<const TensorFile> found;
    for (const Known& known : state_->known) {
      if (!known.sha256.starts_with(hash)) continue;
      if (found)
        throw environment_error(fmt::format("artifact #{}: {} and {} both fit", hash,
                                            found->source(), known.file->source()));
      found = known.file;
    }
    return found;
  };
  auto found = search();
  if (!found) {
    search_folders();
    found = search();
  }
  if (!found)
    throw environment_error(fmt::format(
        "artifact #{}: not found{}; name its file, or its folder with --artifacts", hash,
        state_->folders.empty() ? "" : fmt::format(" in {}", fmt::join(state_->folders, ", "))));
  return found;
}

Descriptor ArtifactStore::resolve(const Descriptor& descriptor) {
  std::string text = descriptor.str();
  const auto replace = [&text](const std::string& what, const std::string& with) {
    text.replace(text.find(what), what.size(), with);
  };
  for (const KeySpec& key : descriptor.schema().keys) {
    const std::string value = descriptor.get_word(key.name);
    if (value.empty()) continue;
    if (key.kind == KeyKind::kArtifact) {
      const std::string hash =
          value.starts_with('#') ? find(value.substr(1))->sha256() : add(value);
      replace(fmt::format("{}={}", key.name, value),
              fmt::format("{}={}", key.name, artifact_reference(hash)));
    } else if (key.kind == KeyKind::kDescriptor) {
      replace(fmt::format("({})", value), fmt::format("({})", parse(value).str()));
    }
  }
  return Descriptor::parse(text);
}

std::vector<std::shared_ptr<const TensorFile>> ArtifactStore::named_by(
    const Descriptor& descriptor) const {
  std::vector<std::shared_ptr<const TensorFile>> all;
  for (const KeySpec& key : descriptor.schema().keys) {
    const std::string value = descriptor.get_word(key.name);
    if (value.empty()) continue;
    if (key.kind == KeyKind::kArtifact) all.push_back(find(value.substr(1)));
    if (key.kind == KeyKind::kDescriptor)
      for (auto& inner : named_by(Descriptor::parse(value))) all.push_back(std::move(inner));
  }
  return all;
}

StoredCacheFactory ArtifactStore::factory(const Descriptor& descriptor) const {
  return ref::factory(descriptor, artifacts());
}

Artifacts ArtifactStore::artifacts() const {
  return [store = *this](std::string_view hash) { return store.find(hash); };
}

void ArtifactStore::save(const Descriptor& descriptor, const std::string& folder) const {
  for (const auto& artifact : named_by(descriptor)) {
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) throw not_saved_error(fmt::format("{}: {}", folder, error.message()));
    write_file(artifact_path(folder, artifact->sha256()), artifact->text());
  }
}

}  // namespace kvx::eval
