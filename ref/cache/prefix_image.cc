// PrefixCache: its bytes. Count, image, layout and the way back.
#include <algorithm>
#include <cctype>

#include "ref/cache/elements.h"
#include "ref/cache/prefix_cache.h"
#include "sim/api/error.h"

namespace kvx::ref {

ByteCount PrefixCache::count(Side side, int64_t length) const {
  const SideScheme& s = scheme(side);
  const int64_t sealed_tokens = s.rule.sealed_after(length);
  const int64_t blocks = sealed_tokens / s.coder->tokens() * config_.shape.kv_heads;
  ByteCount bytes;
  for (const Table& table : s.tables) {
    bytes[Item::kTables] += static_cast<int64_t>(table.bytes.size());
  }
  for (const Field& field : s.coder->fields()) bytes[field.item] += blocks * field.bytes;
  bytes[Item::kExact] += (length - sealed_tokens) * token_bytes();
  return bytes;
}

ByteCount PrefixCache::used(SeqId seq, Side side) const { return count(side, find(seq).length); }

std::vector<std::byte> PrefixCache::image(SeqId seq) const {
  const Sequence& sequence = find(seq);
  const int heads = config_.shape.kv_heads;
  std::vector<std::byte> out;
  for (const Side side : kSides) {
    const Store& store = sequence.sides[static_cast<size_t>(side)];
    const int64_t block_bytes = scheme(side).coder->bytes();
    const auto sealed_bytes = static_cast<int64_t>(store.sealed.size());
    for (const Table& table : scheme(side).tables) {
      out.insert(out.end(), table.bytes.begin(), table.bytes.end());
    }
    for (int head = 0; head < heads; ++head) {
      for (int64_t at = head * block_bytes; at < sealed_bytes; at += heads * block_bytes) {
        const auto from = store.sealed.begin() + at;
        out.insert(out.end(), from, from + block_bytes);
      }
    }
    for (int head = 0; head < heads; ++head) {
      for (int64_t token = sealed(side, sequence); token < sequence.length; ++token) {
        const auto from =
            store.rows.begin() + (token - store.first_row) * token_bytes() + head * row_bytes();
        out.insert(out.end(), from, from + row_bytes());
      }
    }
  }
  return out;
}

SeqId PrefixCache::restore(int64_t length, std::span<const std::byte> image) {
  const auto size = static_cast<int64_t>(image.size());
  // A token takes more than one bit of an image, so that the product below cannot overflow.
  const bool plausible = length >= 0 && length / 8 <= size;
  const int64_t wanted =
      plausible ? count(Side::kK, length).total() + count(Side::kV, length).total() : -1;
  if (size != wanted) {
    throw environment_error("image of " + std::to_string(size) + " bytes for " +
                            std::to_string(length) + " tokens" +
                            (plausible ? ": " + std::to_string(wanted) + " expected" : ""));
  }
  const int heads = config_.shape.kv_heads;
  Sequence sequence;
  sequence.length = length;
  sequence.last_append = length;
  const std::byte* next = image.data();
  for (const Side side : kSides) {
    Store& store = sequence.sides[static_cast<size_t>(side)];
    const BlockCoder& coder = *scheme(side).coder;
    for (const Table& table : scheme(side).tables) {
      if (!std::equal(table.bytes.begin(), table.bytes.end(), next)) {
        throw environment_error(std::string("image with another table ") + side_name(side) + "." +
                                table.name + " than this cache's");
      }
      next += table.bytes.size();
    }
    const auto block_bytes = static_cast<size_t>(coder.bytes());
    store.first_row = sealed(side, sequence);
    const int64_t blocks = store.first_row / coder.tokens();
    store.sealed.resize(static_cast<size_t>(blocks * heads) * block_bytes);
    for (int head = 0; head < heads; ++head) {
      for (int64_t block = 0; block < blocks; ++block, next += block_bytes) {
        const auto index = static_cast<size_t>(block * heads + head);
        std::copy_n(next, block_bytes, store.sealed.data() + index * block_bytes);
      }
    }
    unpack(side, store, 0);
    const int64_t rows = length - store.first_row;
    store.rows.resize(static_cast<size_t>(rows * token_bytes()));
    for (int head = 0; head < heads; ++head) {
      for (int64_t row = 0; row < rows; ++row, next += row_bytes()) {
        std::copy_n(next, row_bytes(),
                    store.rows.data() + row * token_bytes() + head * row_bytes());
      }
    }
  }
  sequences_.emplace(next_, std::move(sequence));
  return next_++;
}

std::vector<LayoutEntry> PrefixCache::layout(int64_t length) const {
  require(length >= 0, "layout: negative length");
  const int heads = config_.shape.kv_heads;
  std::vector<LayoutEntry> entries;
  int64_t offset = 0;
  const auto add = [&](std::string name, std::string dtype, std::string shape, int64_t bytes,
                       Item item) {
    entries.push_back({std::move(name), std::move(dtype), std::move(shape), offset, bytes, item});
    offset += bytes;
  };
  for (const Side side : kSides) {
    const SideScheme& s = scheme(side);
    const int64_t sealed_tokens = s.rule.sealed_after(length);
    for (const Table& table : s.tables) {
      std::string shape;
      for (const int64_t size : table.shape) {
        shape += '[';
        shape += std::to_string(size);
        shape += ']';
      }
      std::string dtype = table.dtype;
      for (char& c : dtype) c = static_cast<char>(std::tolower(c));
      add(std::string(side_name(side)) + "." + table.name, dtype, shape,
          static_cast<int64_t>(table.bytes.size()), Item::kTables);
    }
    const auto head_name = [&](int head) {
      return std::string(side_name(side)) + ".head" + std::to_string(head);
    };
    for (int head = 0; head < heads; ++head) {
      for (int64_t block = 0; block < sealed_tokens / s.coder->tokens(); ++block) {
        const std::string prefix = head_name(head) + ".block" + std::to_string(block) + ".";
        for (const Field& field : s.coder->fields()) {
          add(prefix + field.name, field.dtype, field.shape, field.bytes, field.item);
        }
      }
    }
    const int64_t rows = length - sealed_tokens;
    for (int head = 0; head < heads && rows > 0; ++head) {
      add(head_name(head) + ".exact", element_name(traits_.input),
          std::string("[") + std::to_string(rows) + "][" + std::to_string(config_.shape.head_dim) +
              "]",
          rows * row_bytes(), Item::kExact);
    }
  }
  return entries;
}

}  // namespace kvx::ref
