// The block coder: one sealed block of K or V of one head to bytes and back. Pure; most of a
// paper's mathematics is here. Policies (what is sealed when) are the layer cache's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kvx {

// What stored bytes are for; bits per value are reported by item.
enum class Item : uint8_t { kCodes, kScale, kZero, kOutliers, kExact, kPadding, kTables };
inline constexpr int kItems = 7;
const char* item_name(Item item);

// One run of bytes in a block, in storage order.
struct Field {
  std::string name;   // "codes", "scale", "zero", ...
  std::string dtype;  // "u2", "f16", ...
  std::string shape;  // in the scheme page's letters, e.g. "[D][g/W]"
  int64_t bytes;
  Item item;
};

// Canonical logical content of one block, filled by BlockCoder::canonical.
struct CanonicalBlock {
  std::vector<uint8_t> codes;  // [tokens][dim]; signed codes as their low n bits, zero-extended
  // Stored bit patterns: [groups along tokens][dim] or [tokens][groups along dim].
  std::vector<uint32_t> scale;
  std::vector<uint32_t> zero;    // same shape as scale; empty where the scheme stores none
  std::vector<uint32_t> packed;  // official words or bytes, where an official layout exists
  std::vector<float> values;     // [tokens][dim], where the block stores values and not codes
  // Their stored types, as safetensors spells them; the low bits of a pattern are its value's.
  std::string scale_dtype = "F16";
  std::string zero_dtype = "F16";
  std::string packed_dtype = "I32";
};

class BlockCoder {
 public:
  virtual ~BlockCoder() = default;

  virtual int tokens() const = 0;  // rows of one block
  virtual int dim() const = 0;     // channels of one row (head dim)

  // Fields in storage order; their bytes add up to the size of a block.
  virtual const std::vector<Field>& fields() const = 0;
  int64_t bytes() const;

  // Bits per value the scheme's paper quotes: the code width alone.
  virtual double nominal_bits() const = 0;

  // x: [tokens][dim] binary32, already rounded to the scheme's input type. out: bytes() bytes.
  virtual void encode(std::span<const float> x, std::span<std::byte> out) const = 0;

  // x: [tokens][dim], what a read of the sealed block returns, widened to binary32.
  virtual void decode(std::span<const std::byte> in, std::span<float> x) const = 0;

  virtual void canonical(std::span<const std::byte> in, CanonicalBlock& out) const = 0;

  // The way back: the bytes of the block with this content, of the sizes that `canonical` gives;
  // `packed`, which repeats the codes, is not read. Throws an environment Error naming token,
  // channel and code for a code that has more bits than the scheme's.
  virtual void from_canonical(const CanonicalBlock& in, std::span<std::byte> out) const = 0;
};

}  // namespace kvx
