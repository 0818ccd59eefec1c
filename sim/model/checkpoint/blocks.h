// How stored elements lie in a row and what they mean as binary32: gguf-types.md.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "sim/model/checkpoint.h"

namespace kvx::model {

// `values` consecutive elements of a row share `bytes` bytes; a float type is a block of one.
struct BlockShape {
  int64_t values;
  int64_t bytes;
};
BlockShape block_shape(DType dtype);

// out.size() elements that begin at a block, a whole number of blocks; `from` at any alignment.
void decode_blocks(DType dtype, const std::byte* from, std::span<float> out);

}  // namespace kvx::model
