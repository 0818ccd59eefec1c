// ggml: the block formats of llama.cpp (ggml/src/ggml-quants.c), 32 consecutive channels of a token
// a block. The bytes are those of the format's reference encoders (quantize_row_*_ref) built
// without contraction to fma. Details and worked examples: ref/ggml.md.
//
// Open choices:
// - Codes use the binary32 scale and its reciprocal, decoding uses the scale rounded to fp16: codes
//   are not what the stored scale would give. q4_0 of -3 -2.8125 -2.4375 -2.0625 0 ...: d 3600, qs
//   80 81 82 83 88 ... (a fused x id + 8.5 gives 80 80 81 82).
// - The scale of q4_0 and q5_0 carries the sign of the value of largest magnitude, the first of
//   equals: a block of zeros has d = 8000 (0 / -8). The minimum of q4_1 and q5_1 is the first of
//   equals too: of a block of zeros it has the sign of the first.
// - q8_0 rounds half away from zero; the others add a half and cut.
// - A block with a NaN or an infinity gets d = 7e00, m = 0 and codes 0, and so decodes to NaN.
//
// Layout of a block (one token of one head): D/32 structs, each d fp16, then m fp16 (q4_1, q5_1),
// then qh u32 (q5_0, q5_1), then qs.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "ref/cache/elements.h"
#include "ref/cache/prefix_cache.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"
#include "sim/api/fixed_refusals.h"
#include "sim/num/formats.h"

namespace kvx::ref {
namespace {

constexpr size_t kBlock = 32;  // values
constexpr uint16_t kNan = 0x7E00;

struct Format {
  const char* name;
  int bits;          // of a code
  bool has_minimum;  // d and m, codes from 0; else codes around a zero
  bool has_high;     // fifth bits apart
  size_t bytes() const {
    return 2u + (has_minimum ? 2u : 0u) + (has_high ? 4u : 0u) + (bits == 8 ? 32u : 16u);
  }
};

constexpr Format kFormats[] = {{"q8_0", 8, false, false},
                               {"q5_1", 5, true, true},
                               {"q5_0", 5, false, true},
                               {"q4_1", 4, true, false},
                               {"q4_0", 4, false, false}};

// One block of 32 values.
struct Block {
  uint16_t d = 0;                      // fp16
  uint16_t m = 0;                      // fp16
  std::array<uint8_t, kBlock> code{};  // q8_0: two's complement
};

float reciprocal(float d) {
  const float id = d != 0.0f ? 1.0f / d : 0.0f;
  return std::isfinite(id) ? id : 0.0f;
}

// d = amax / 127, code = round half away (x id)
void quantize_q8_0(std::span<const float> x, Block& out) {
  float amax = 0.0f;
  for (const float value : x) amax = std::max(amax, std::abs(value));
  const float d = amax / 127.0f;
  const float id = reciprocal(d);
  for (size_t i = 0; i < kBlock; ++i) {
    const float t = x[i] * id;
    const int whole = static_cast<int>(t);  // cut; what is cut off is exact
    const float rest = t - static_cast<float>(whole);
    const int away = (rest >= 0.5f ? 1 : 0) - (rest <= -0.5f ? 1 : 0);
    out.code[i] = static_cast<uint8_t>(whole + away);
  }
  out.d = num::f16_encode(d);
}

// h = 2^(bits-1); d = v* / -h with v* the value of largest magnitude, the first of equals;
// code = min(2h - 1, trunc(x id + (h + .5)))
void quantize_signed(std::span<const float> x, int bits, Block& out) {
  const auto h = static_cast<float>(1 << (bits - 1));
  float amax = 0.0f;
  float largest = 0.0f;
  for (const float value : x) {
    if (std::abs(value) <= amax) continue;
    amax = std::abs(value);
    largest = value;
  }
  const float d = largest / -h;
  const float id = reciprocal(d);
  const int top = (1 << bits) - 1;
  for (size_t i = 0; i < kBlock; ++i) {
    const float t = x[i] * id;
    out.code[i] = static_cast<uint8_t>(std::min(top, static_cast<int>(t + (h + 0.5f))));
  }
  out.d = num::f16_encode(d);
}

// Q = 2^bits - 1; m = min x, the first of equals; d = (max x - m) / Q;
// code = min(Q, trunc((x - m) id + .5))
void quantize_affine(std::span<const float> x, int bits, Block& out) {
  const int top = (1 << bits) - 1;
  float low = x[0];
  float high = x[0];
  for (const float value : x) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const float d = (high - low) / static_cast<float>(top);
  const float id = reciprocal(d);
  for (size_t i = 0; i < kBlock; ++i) {
    const float t = (x[i] - low) * id;
    out.code[i] = static_cast<uint8_t>(std::min(top, static_cast<int>(t + 0.5f)));
  }
  out.d = num::f16_encode(d);
  out.m = num::f16_encode(low);
}

class GgmlCoder final : public BlockCoder {
 public:
  GgmlCoder(const Format& format, int dim) : format_(format), dim_(dim) {
    for (size_t i = 0; i < blocks(); ++i) {
      const std::string n = std::to_string(i);
      fields_.push_back({"d" + n, "f16", "[1]", 2, Item::kScale});
      if (format.has_minimum) fields_.push_back({"m" + n, "f16", "[1]", 2, Item::kZero});
      if (format.has_high) fields_.push_back({"qh" + n, "u32", "[1]", 4, Item::kCodes});
      if (format.bits == 8) {
        fields_.push_back({"qs" + n, "i8", "[32]", 32, Item::kCodes});
      } else {
        fields_.push_back({"qs" + n, "u8", "[16]", 16, Item::kCodes});
      }
    }
  }

  int tokens() const override { return 1; }
  int dim() const override { return dim_; }
  const std::vector<Field>& fields() const override { return fields_; }
  double nominal_bits() const override { return format_.bits; }

  void encode(std::span<const float> x, std::span<std::byte> out) const override {
    for (size_t i = 0; i < blocks(); ++i) {
      const auto part = x.subspan(i * kBlock, kBlock);
      Block block;
      if (!all_finite(part)) {
        block.d = kNan;
      } else if (format_.bits == 8) {
        quantize_q8_0(part, block);
      } else if (format_.has_minimum) {
        quantize_affine(part, format_.bits, block);
      } else {
        quantize_signed(part, format_.bits, block);
      }
      store(block, out.subspan(i * format_.bytes(), format_.bytes()));
    }
  }

  // x^ = fl16(q d) or fl16(fl32(q d) + m), q counted from the zero of the format
  void decode(std::span<const std::byte> in, std::span<float> x) const override {
    const int zero = format_.has_minimum || format_.bits == 8 ? 0 : 1 << (format_.bits - 1);
    for (size_t i = 0; i < blocks(); ++i) {
      const Block block = load(in.subspan(i * format_.bytes(), format_.bytes()));
      const float d = num::f16_decode(block.d);
      const float m = num::f16_decode(block.m);
      for (size_t j = 0; j < kBlock; ++j) {
        const int q = format_.bits == 8 ? static_cast<int8_t>(block.code[j]) : block.code[j] - zero;
        const float product = static_cast<float>(q) * d;
        x[i * kBlock + j] = format_.has_minimum ? product + m : product;
      }
    }
    num::f16_round(x, x);
  }

  // Packed: the structs, byte by byte.
  void canonical(std::span<const std::byte> in, CanonicalBlock& out) const override {
    out = {};
    out.packed_dtype = "U8";
    for (size_t i = 0; i < blocks(); ++i) {
      const Block block = load(in.subspan(i * format_.bytes(), format_.bytes()));
      out.codes.insert(out.codes.end(), block.code.begin(), block.code.end());
      out.scale.push_back(block.d);
      if (format_.has_minimum) out.zero.push_back(block.m);
    }
    for (const std::byte byte : in) out.packed.push_back(std::to_integer<uint32_t>(byte));
  }
  void from_canonical(const CanonicalBlock& in, std::span<std::byte> out) const override {
    for (size_t i = 0; i < blocks(); ++i) {
      Block block;
      block.d = static_cast<uint16_t>(in.scale[i]);
      if (format_.has_minimum) block.m = static_cast<uint16_t>(in.zero[i]);
      for (size_t j = 0; j < kBlock; ++j) {
        const size_t channel = i * kBlock + j;
        if (in.codes[channel] >> format_.bits != 0) {
          throw environment_error("token 0, channel " + std::to_string(channel) + ": code " +
                                  std::to_string(in.codes[channel]) + " has more than " +
                                  std::to_string(format_.bits) + " bits");
        }
        block.code[j] = in.codes[channel];
      }
      store(block, out.subspan(i * format_.bytes(), format_.bytes()));
    }
  }

 private:
  size_t blocks() const { return static_cast<size_t>(dim_) / kBlock; }

  // qs: byte j holds the low four bits of code j, then those of code j + 16; qh: bit j is bit 4 of
  // code j. q8_0: qs are the codes.
  void store(const Block& block, std::span<std::byte> out) const {
    std::byte* next = out.data();
    const auto put = [&next](const auto& value) {
      std::memcpy(next, &value, sizeof value);
      next += sizeof value;
    };
    put(block.d);
    if (format_.has_minimum) put(block.m);
    if (format_.bits == 8) {
      put(block.code);
      return;
    }
    if (format_.has_high) {
      uint32_t high = 0;
      for (size_t j = 0; j < kBlock; ++j) high |= static_cast<uint32_t>(block.code[j] >> 4) << j;
      put(high);
    }
    std::array<uint8_t, kBlock / 2> low;
    for (size_t j = 0; j < low.size(); ++j) {
      low[j] = static_cast<uint8_t>((block.code[j] & 0xF) | (block.code[j + 16] & 0xF) << 4);
    }
    put(low);
  }

  Block load(std::span<const std::byte> in) const {
    Block block;
    const std::byte* next = in.data();
    const auto get = [&next](auto& value) {
      std::memcpy(&value, next, sizeof value);
      next += sizeof value;
    };
    get(block.d);
    if (format_.has_minimum) get(block.m);
    if (format_.bits == 8) {
      get(block.code);
      return block;
    }
    uint32_t high = 0;
    if (format_.has_high) get(high);
    std::array<uint8_t, kBlock / 2> low;
    get(low);
    for (size_t j = 0; j < kBlock; ++j) {
      const int bits = j < low.size() ? low[j] & 0xF : low[j - low.size()] >> 4;
      block.code[j] = static_cast<uint8_t>(bits | ((high >> j) & 1u) << 4);
    }
    return block;
  }

  Format format_;
  int dim_;
  std::vector<Field> fields_;
};

}  // namespace

std::unique_ptr<StoredCache> make_ggml(const Descriptor& descriptor, const CacheConfig& config) {
  refuse_fixed(descriptor, config, "scales of its block formats may be negative");
  const std::string type = descriptor.get_word("type");
  const int dim = config.shape.head_dim;
  if (dim % static_cast<int>(kBlock) != 0) {
    throw usage_error("ggml: the head dim " + std::to_string(dim) +
                      " is not a multiple of 32, the block of " + type);
  }
  const Format& format = *std::find_if(std::begin(kFormats), std::end(kFormats),
                                       [&](const Format& f) { return f.name == type; });
  Traits traits;
  // Codes are made with the binary32 scale, decoding has its fp16 rounding: the format says so.
  traits.laws = static_cast<LawSet>(kAllLaws & ~static_cast<LawSet>(Law::kMetadata));
  const auto side = [&] {
    return SideScheme{std::make_unique<GgmlCoder>(format, dim), seal_every_token()};
  };
  return std::make_unique<PrefixCache>(traits, config, side(), side());
}

}  // namespace kvx::ref
