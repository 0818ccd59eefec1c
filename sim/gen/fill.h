// Inputs for tests, checks and benchmarks: ordinary tensors and edge cases, by name.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace kvx::gen {

enum class Fill : uint8_t {
  kNormal,    // standard normal
  kHeavy,     // normal; about one channel in 32 of every head, at least one, 10 to 50 times larger
  kRopeKeys,  // keys after rotation: a bias per channel (heavy channels too) plus noise, rotated at
              // position = token
  kConstant,  // one number per tile of 32 tokens x 32 channels; one tile in 8 is zero
  kTies,     // tiles whose rows and columns round halfway in 2, 3, 4 and 8 bit quantizers, with and
             // without zero point
  kF16Ties,  // halfway between two neighbouring binary16 numbers
  kBf16Ties,      // halfway between two neighbouring bfloat16 numbers
  kZeros,         // +0 and -0; in one tile of 2, one value in 8 is normal
  kF16Subnormal,  // multiples of half the least binary16 number below the least normal one
  kF32Subnormal,  // binary32 subnormals and zeros of both signs
  kF16Extreme,    // up to +-65504 and those that still round to it; some small ones
  kF32Extreme,    // within 256 ulp of +-the greatest binary32 number, and of the least normal one
  kNonFinite,     // normal; one value in 64 is NaN, +inf or -inf
};
inline constexpr int kFills = 13;

const char* fill_name(Fill fill);
// Throws a usage Error that lists the names.
Fill parse_fill(std::string_view name);

struct FillShape {
  int heads = 1;
  int dim = 1;  // even for kRopeKeys
};

// Tokens [first, first + n) of the tensor as [n][heads][dim], n = out.size() / (heads * dim). A
// value depends on (fill, seed, tensor, heads, dim) and its own token, head and channel alone.
void fill(Fill fill, uint64_t seed, uint32_t tensor, FillShape shape, int64_t first,
          std::span<float> out);

}  // namespace kvx::gen
