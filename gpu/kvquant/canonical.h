// The host side of kvquant: bytes by item, image and canonical tensors (ref/kvquant.md).
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "gpu/cache/kernels.h"
#include "gpu/kvquant/settings.h"
#include "gpu/kvquant/tables.h"

namespace kvx::gpu::kvquant {

class Canonical {
 public:
  Canonical(const Settings& settings, const LayerShape& shape, std::array<Tables, 2> tables)
      : settings_(settings), shape_(shape), tables_(std::move(tables)) {}

  const Settings& settings() const { return settings_; }
  const Tables& tables(Side side) const { return tables_[static_cast<size_t>(side)]; }

  // As SchemeKernels has them.
  ByteCount used(Side side, int64_t length, int64_t outliers) const;
  std::vector<std::byte> table(Side side) const;
  void append_image(Side side, const std::vector<SealedHead>& heads,
                    std::vector<std::byte>& image) const;
  void export_side(Side side, const std::vector<SealedHead>& heads, int64_t length,
                   const Sink& sink) const;

 private:
  // Outliers of coded tokens: [tokens + 1] into channels of the layer, ascending, and their values.
  struct Outliers {
    std::vector<uint32_t> start{0}, channel;
    std::vector<uint16_t> exact;  // fp16 patterns: profile paper
    std::vector<float> value;     // profile repo
  };
  Outliers outliers_of(Side side, const std::vector<SealedHead>& heads) const;
  int64_t channels() const { return int64_t{shape_.kv_heads} * shape_.head_dim; }
  int64_t row_words() const { return (int64_t{shape_.head_dim} * settings_.bits + 31) / 32; }
  int64_t sink_tokens(int64_t length) const { return std::min<int64_t>(length, settings_.sink); }

  Settings settings_;
  LayerShape shape_;
  std::array<Tables, 2> tables_;
};

}  // namespace kvx::gpu::kvquant
