#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <system_error>
#include <utility>

#include "sim/model/checkpoint/loaded.h"
#include "sim/model/checkpoint/sha256.h"

namespace kvx::model {
namespace {

class FileCheckpoint : public Checkpoint {
 public:
  FileCheckpoint(LoadedFiles loaded, std::string path)
      : loaded_(std::move(loaded)), path_(std::move(path)) {}

  const ModelConfig& config() const override { return loaded_.config; }
  TensorRef tensor(const std::string& name, int64_t rows, int64_t cols) const override {
    return loaded_.tensors.get(name, rows, cols);
  }
  std::vector<float> rope_divisors() const override { return loaded_.rope_divisors; }
  std::string path() const override { return path_; }

  std::string sha256() const override {
    Sha256 hash;
    for (const auto& file : loaded_.files) {
      hash.update(std::filesystem::path(file->path()).filename().string());
      hash.update(std::string_view("\0", 1));
      hash.update(uint64_t{file->bytes().size()});
      hash.update(file->bytes());
    }
    return hash.hex();
  }

 private:
  LoadedFiles loaded_;
  std::string path_;
};

}  // namespace

const char* dtype_name(DType dtype) {
  constexpr std::array kNames = {"F32",  "F16",  "BF16", "Q8_0", "Q4_0", "Q4_1",
                                 "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"};
  return kNames[static_cast<size_t>(dtype)];
}

std::vector<uint64_t> rope_steps(const Checkpoint& checkpoint) {
  const ModelConfig& config = checkpoint.config();
  return num::rope_steps(static_cast<int>(config.head_dim), config.rope_theta,
                         checkpoint.rope_divisors(), config.rope_scaling);
}

std::unique_ptr<Checkpoint> Checkpoint::open(const std::string& path) {
  std::error_code ignored;  // what cannot be looked at cannot be opened as a file either
  if (std::filesystem::is_directory(path, ignored)) {
    return std::make_unique<FileCheckpoint>(load_hf_folder(path), path);
  }
  return std::make_unique<FileCheckpoint>(load_gguf(path), path);
}

}  // namespace kvx::model
