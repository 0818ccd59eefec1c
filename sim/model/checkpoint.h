// A checkpoint on disk: configuration and named tensors, memory-mapped, whatever the container.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/model/config.h"

namespace kvx::model {

// The formats of blocks are GGUF's: checkpoint/gguf-types.md.
enum class DType : uint8_t {
  kF32,
  kF16,
  kBf16,
  kQ8_0,
  kQ4_0,
  kQ4_1,
  kQ5_0,
  kQ5_1,
  kQ4_K,
  kQ5_K,
  kQ6_K
};
const char* dtype_name(DType dtype);

// Stored elements of one tensor, row-major [rows][cols] (a norm's weights are [1][n], a bias is
// [n][1]); `bytes` points into the mapped file and is exactly as long as shape and dtype ask for.
struct TensorRef {
  std::string name;
  DType dtype = DType::kF32;
  int64_t rows = 0;
  int64_t cols = 0;
  std::span<const std::byte> bytes;
  // GGUF's Llama stores q and k rows interleaved per head; `rotate_half_heads` > 0 says the loader
  // must put them back: with H heads of d rows, row h*d + i (i < d/2) comes from stored row h*d +
  // 2i, row h*d + d/2 + i from h*d + 2i + 1.
  int64_t rotate_half_heads = 0;
};

class Checkpoint {
 public:
  virtual ~Checkpoint() = default;

  // A Hugging Face folder (config.json; model.safetensors or the sharded index) or a .gguf file.
  // Throws environment Errors naming file, field and value.
  static std::unique_ptr<Checkpoint> open(const std::string& path);

  virtual const ModelConfig& config() const = 0;

  // By Hugging Face name ("model.layers.0.self_attn.q_proj.weight"), whatever the container calls
  // it. Throws when absent or when the shape is not [rows][cols].
  virtual TensorRef tensor(const std::string& name, int64_t rows, int64_t cols) const = 0;

  // Per-pair divisors of the rotary frequencies (GGUF rope_freqs), empty if none.
  virtual std::vector<float> rope_divisors() const { return {}; }

  // SHA-256 (hex) over the weight files and configuration, and the files' names and sizes: identity
  // of the model in results.
  virtual std::string sha256() const = 0;

  virtual std::string path() const = 0;
};

// Steps of the rotary table of a checkpoint's model (num::rope_steps), one per pair.
std::vector<uint64_t> rope_steps(const Checkpoint& checkpoint);

// Row `row` (in rotate-half order) of a tensor, widened or dequantised to binary32, each product
// and sum one operation (checkpoint/gguf-types.md).  out: [cols].
void read_row(const TensorRef& tensor, int64_t row, std::span<float> out);

// The row's stored 16-bit patterns; F16 and BF16 tensors only.
void read_row_bits(const TensorRef& tensor, int64_t row, std::span<uint16_t> out);

}  // namespace kvx::model
