// PrefixCache: canonical logical tensors.
#include <algorithm>

#include "ref/cache/elements.h"
#include "ref/cache/prefix_cache.h"

namespace kvx::ref {
namespace {

// A tensor of stored bit patterns.
class Patterns {
 public:
  Patterns(const std::string& dtype, int64_t count)
      : dtype_(dtype), width_(dtype_bytes(dtype)), bytes_(static_cast<size_t>(count) * width_) {}

  const std::string& dtype() const { return dtype_; }
  std::span<const std::byte> bytes() const { return bytes_; }

  // Values `at`, at + 1, ...: the low bytes of the patterns.
  void put(int64_t at, std::span<const uint32_t> patterns) {
    store_patterns(patterns, width_, bytes_.data() + static_cast<size_t>(at) * width_);
  }

 private:
  std::string dtype_;
  size_t width_;
  std::vector<std::byte> bytes_;
};

}  // namespace

void PrefixCache::export_to(SeqId seq, const Sink& sink) const {
  const Sequence& sequence = find(seq);
  const int64_t heads = config_.shape.kv_heads;
  const int64_t dim = config_.shape.head_dim;
  const int64_t length = sequence.length;
  for (const Side side : kSides) {
    const Store& store = sequence.sides[static_cast<size_t>(side)];
    const SideScheme& s = scheme(side);
    const int64_t tokens = s.coder->tokens();
    const auto block_bytes = static_cast<size_t>(s.coder->bytes());
    const int64_t split = sealed(side, sequence);
    const int64_t blocks = split / tokens;
    const std::string prefix = std::string(side_name(side)) + ".";

    CanonicalBlock block;  // of a block of zeros: tells which tensors there are, and their sizes
    s.coder->canonical(std::vector<std::byte>(block_bytes), block);
    const auto metadata = static_cast<int64_t>(block.scale.size());  // per block
    const auto words = static_cast<int64_t>(block.packed.size());    // per block
    const bool has_codes = !block.codes.empty();
    const bool has_zero = !block.zero.empty();
    // Codes that lie along a channel's tokens are packed so too: [dim][words], else [words].
    const int64_t lines = tokens > 1 ? dim : 1;
    const int64_t line_words = words / lines;
    std::vector<uint8_t> codes(has_codes ? static_cast<size_t>(heads * length * dim) : 0);
    const int64_t groups = length / tokens;  // complete ones, sealed or not
    Patterns scale(block.scale_dtype, heads * groups * metadata);
    Patterns zero(block.zero_dtype, has_zero ? heads * groups * metadata : 0);
    Patterns packed(block.packed_dtype, heads * blocks * words);

    for (int64_t head = 0; head < heads; ++head) {
      const BlockCoder& coder = s.coder_of(static_cast<int>(head));
      for (int64_t b = 0; b < blocks; ++b) {
        const auto index = static_cast<size_t>(b * heads + head);
        coder.canonical(std::span(store.sealed).subspan(index * block_bytes, block_bytes), block);
        std::copy(block.codes.begin(), block.codes.end(),
                  codes.begin() + (head * length + b * tokens) * dim);
        scale.put((head * groups + b) * metadata, block.scale);
        zero.put((head * groups + b) * metadata, block.zero);
        for (int64_t line = 0; line < lines && words > 0; ++line) {
          packed.put(((head * lines + line) * blocks + b) * line_words,
                     std::span(block.packed)
                         .subspan(static_cast<size_t>(line * line_words),
                                  static_cast<size_t>(line_words)));
        }
      }
    }

    std::vector<float> rows(static_cast<size_t>(heads * length * dim));
    std::vector<uint8_t> sealed_tokens(static_cast<size_t>(heads * length));
    const Rows view{rows.data(),           length, static_cast<int>(heads),
                    static_cast<int>(dim), dim,    length * dim};
    read(seq, side, {0, split, Held::kSealed}, view.slice(0, split));
    read(seq, side, {split, length - split, Held::kExact}, view.slice(split, length - split));
    for (int64_t head = 0; head < heads; ++head) {
      std::fill_n(sealed_tokens.begin() + head * length, split, uint8_t{1});
    }

    for (const Table& table : s.tables) {
      sink(prefix + table.name, table.dtype, table.shape, table.bytes);
    }
    if (has_codes) {
      sink(prefix + "codes", "U8", {heads, length, dim}, std::as_bytes(std::span(codes)));
    }
    if (metadata > 0) {
      sink(prefix + "scale", scale.dtype(), {heads, groups, metadata}, scale.bytes());
    }
    if (has_zero) sink(prefix + "zero", zero.dtype(), {heads, groups, metadata}, zero.bytes());
    sink(prefix + "decoded", "F32", {heads, length, dim}, std::as_bytes(std::span(rows)));
    sink(prefix + "sealed", "U8", {heads, length}, std::as_bytes(std::span(sealed_tokens)));
    if (words > 0 && tokens > 1) {
      sink(prefix + "packed", packed.dtype(), {heads, dim, blocks * line_words}, packed.bytes());
    } else if (words > 0) {
      sink(prefix + "packed", packed.dtype(), {heads, blocks, words}, packed.bytes());
    }
  }
}

}  // namespace kvx::ref
