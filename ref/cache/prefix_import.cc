// PrefixCache::import_from: canonical tensors back to sealed blocks and exact rows.
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>

#include "ref/cache/elements.h"
#include "ref/cache/prefix_cache.h"
#include "sim/api/error.h"

namespace kvx::ref {
namespace {

std::string shape_text(const std::string& dtype, const std::vector<int64_t>& shape) {
  std::string text = dtype + " [";
  for (size_t i = 0; i < shape.size(); ++i) text += (i ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

std::span<const std::byte> want(const TensorSource& source, const std::string& name,
                                const std::string& dtype, const std::vector<int64_t>& shape) {
  const ArtifactTensor* tensor = source(name);
  if (tensor == nullptr) throw environment_error("tensor '" + name + "' is missing");
  if (tensor->dtype != dtype || tensor->shape != shape) {
    throw environment_error("tensor '" + name + "' is " + shape_text(tensor->dtype, tensor->shape) +
                            ", not " + shape_text(dtype, shape));
  }
  return tensor->bytes;
}

std::string place(const std::string& name, int64_t head, int64_t token) {
  return "tensor '" + name + "', head " + std::to_string(head) + ", token " + std::to_string(token);
}

// Stored patterns of one block.
void copy_patterns(std::span<const std::byte> in, int64_t block, const std::string& dtype,
                   std::vector<uint32_t>& out) {
  const size_t width = dtype_bytes(dtype);
  if (out.empty()) return;
  load_patterns(&in[static_cast<size_t>(block) * out.size() * width], width, out);
}

void check_tables(const TensorSource& source, const std::string& prefix,
                  const std::vector<Table>& tables) {
  for (const Table& table : tables) {
    const auto bytes = want(source, prefix + table.name, table.dtype, table.shape);
    if (std::equal(bytes.begin(), bytes.end(), table.bytes.begin(), table.bytes.end())) continue;
    throw environment_error("tensor '" + prefix + table.name +
                            "' holds other values than this cache's table");
  }
}

void check_sealed(const TensorSource& source, const std::string& name, int64_t heads,
                  int64_t length, int64_t split) {
  const auto marks = want(source, name, "U8", {heads, length});
  for (int64_t i = 0; i < heads * length; ++i) {
    const int64_t token = i % length;
    const auto mark = std::to_integer<int>(marks[static_cast<size_t>(i)]);
    if (mark == (token < split ? 1 : 0)) continue;
    throw environment_error(place(name, i / length, token) + " is " + std::to_string(mark) +
                            ": after " + std::to_string(length) + " tokens the first " +
                            std::to_string(split) + " are sealed");
  }
}

}  // namespace

std::vector<std::byte> PrefixCache::import_blocks(Side side, int64_t length,
                                                  const TensorSource& source) const {
  const SideScheme& s = scheme(side);
  const int64_t heads = config_.shape.kv_heads;
  const int64_t dim = config_.shape.head_dim;
  const int64_t tokens = s.coder->tokens();
  const int64_t groups = length / tokens;
  const int64_t blocks = s.rule.sealed_after(length) / tokens;
  const auto block_bytes = static_cast<size_t>(s.coder->bytes());
  const std::string prefix = std::string(side_name(side)) + ".";

  check_tables(source, prefix, s.tables);
  CanonicalBlock block;  // of a block of zeros: tells which tensors there are, and their sizes
  s.coder->canonical(std::vector<std::byte>(block_bytes), block);
  const auto metadata = static_cast<int64_t>(block.scale.size());
  std::span<const std::byte> codes, scale, zero, values;
  if (!block.codes.empty()) codes = want(source, prefix + "codes", "U8", {heads, length, dim});
  if (metadata > 0)
    scale = want(source, prefix + "scale", block.scale_dtype, {heads, groups, metadata});
  if (!block.zero.empty())
    zero = want(source, prefix + "zero", block.zero_dtype, {heads, groups, metadata});
  if (!block.values.empty()) values = want(source, prefix + "decoded", "F32", {heads, length, dim});

  std::vector<std::byte> out(static_cast<size_t>(blocks * heads) * block_bytes);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t head = 0; head < heads; ++head) {
      const auto first = static_cast<size_t>((head * length + b * tokens) * dim);
      if (!codes.empty()) std::memcpy(block.codes.data(), &codes[first], block.codes.size());
      if (!values.empty()) {
        std::memcpy(block.values.data(), &values[first * 4], block.values.size() * 4);
      }
      copy_patterns(scale, head * groups + b, block.scale_dtype, block.scale);
      copy_patterns(zero, head * groups + b, block.zero_dtype, block.zero);
      const auto at = static_cast<size_t>(b * heads + head) * block_bytes;
      try {
        s.coder_of(static_cast<int>(head))
            .from_canonical(block, std::span(out).subspan(at, block_bytes));
      } catch (const Error& error) {
        throw environment_error(place(prefix + "codes", head, b * tokens) + " on: " + error.what());
      }
    }
  }
  return out;
}

std::vector<std::byte> PrefixCache::import_rows(Side side, int64_t length,
                                                const TensorSource& source) const {
  const int64_t heads = config_.shape.kv_heads;
  const auto dim = static_cast<size_t>(config_.shape.head_dim);
  const int64_t split = scheme(side).rule.sealed_after(length);
  std::vector<std::byte> out(static_cast<size_t>((length - split) * token_bytes()));
  if (out.empty()) return out;
  const std::string name = std::string(side_name(side)) + ".decoded";
  const auto in = want(source, name, "F32", {heads, length, static_cast<int64_t>(dim)});
  std::vector<float> row(dim), stored(dim);
  for (int64_t token = split; token < length; ++token) {
    for (int64_t head = 0; head < heads; ++head) {
      std::memcpy(row.data(), &in[static_cast<size_t>(head * length + token) * dim * 4], dim * 4);
      std::byte* to = out.data() + (token - split) * token_bytes() + head * row_bytes();
      store_elements(traits_.input, row, to);
      load_elements(traits_.input, to, stored);
      for (size_t c = 0; c < dim; ++c) {
        if (std::bit_cast<uint32_t>(row[c]) == std::bit_cast<uint32_t>(stored[c]) ||
            (std::isnan(row[c]) && std::isnan(stored[c]))) {
          continue;
        }
        throw environment_error(place(name, head, token) + ", channel " + std::to_string(c) + ": " +
                                std::to_string(row[c]) + " is exact and not a number of " +
                                element_name(traits_.input));
      }
    }
  }
  return out;
}

SeqId PrefixCache::import_from(int64_t length, const TensorSource& source) {
  if (length < 0) throw environment_error("a sequence of negative length");
  Sequence sequence;
  sequence.length = length;
  sequence.last_append = length;
  for (const Side side : {Side::kK, Side::kV}) {
    Store& store = sequence.sides[static_cast<size_t>(side)];
    store.first_row = sealed(side, sequence);
    check_sealed(source, std::string(side_name(side)) + ".sealed", config_.shape.kv_heads, length,
                 store.first_row);
    store.sealed = import_blocks(side, length, source);
    unpack(side, store, 0);
    store.rows = import_rows(side, length, source);
  }
  sequences_.emplace(next_, std::move(sequence));
  return next_++;
}

}  // namespace kvx::ref
