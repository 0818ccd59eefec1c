// The host side of a scheme: how its page lays out what kernels store in one private layout. Bytes
// by item, the image's blocks, canonical tensors.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "gpu/cache/kernels.h"
#include "gpu/fused/affine.h"

namespace kvx::gpu {

// How the page stores one side: blocks, each of some tokens of one KV head.
struct Packing {
  int tokens = 1;           // of a block
  ByteCount bytes;          // of a block
  int metadata = 0;         // scales of a block
  bool has_codes = true;    // false: values, which canonical tensors show decoded only
  std::string scale_dtype;  // as safetensors spells it; empty: no scales
  std::string zero_dtype;
  // The block's bytes in the page's order.
  std::function<std::vector<std::byte>(const SealedHead& head, int64_t block)> block;
  // An official packed tensor: a block begins with `lines` runs of `line_words` words; the runs of
  // consecutive blocks follow each other in a line. Empty: there is none.
  std::string packed_dtype;
  int lines = 1;
  int line_words = 0;
};

// Groups as little-endian bit streams, each filled up to whole 32-bit words, then scales and zeros.
// `official`: these words are the packed tensor of another implementation.
Packing grouped_packing(const SideFormat& format, int dim, bool official);

// The low `bytes` bytes of a pattern, little-endian, behind `to`.
void put_pattern(std::vector<std::byte>& to, uint32_t pattern, int bytes);

// One side of a scheme for one layer, but for its codec.
struct SideScheme {
  SideFormat format;
  Packing packing;
  double nominal_bits = 0;
  std::vector<float> table;  // calibrated scales that all sequences share; empty: none
  std::optional<fused::AffineSide> affine;  // set where the scheme has the arithmetic `fixed`
};

// Throws a usage Error where no kernel takes the head dim.
void require_head_dim(int dim);

// Everything of a scheme but its kernels.
class PagedScheme : public SchemeKernels {
 public:
  // Throws a usage Error where no kernel takes the head dim, and std::logic_error where the config
  // asks for an arithmetic that a side lacks.
  PagedScheme(const Traits& traits, const CacheConfig& config, SideScheme k, SideScheme v);

  const Traits& traits() const override { return traits_; }
  const SideFormat& format(Side side) const override { return of(side).format; }
  double nominal_bits(Side side) const override { return of(side).nominal_bits; }
  ByteCount used(Side side, int64_t length, int64_t outliers) const override;
  std::vector<std::byte> table(Side side) const override;
  void append_image(Side side, const std::vector<SealedHead>& heads,
                    std::vector<std::byte>& image) const override;
  void export_side(Side side, const std::vector<SealedHead>& heads, int64_t length,
                   const Sink& sink) const override;

 protected:
  // Set where attention is to be computed in the arithmetic `fixed`.
  const std::optional<fused::AffineScheme>& affine() const { return affine_; }

 private:
  const SideScheme& of(Side side) const { return sides_[static_cast<size_t>(side)]; }

  Traits traits_;
  LayerShape shape_;
  SideScheme sides_[2];
  std::optional<fused::AffineScheme> affine_;
};

}  // namespace kvx::gpu
