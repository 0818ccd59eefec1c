#include "eval/layout_text.h"

#include <fmt/core.h>

#include <cctype>

#include "eval/text_table.h"

namespace kvx::eval {
namespace {

// Entries [first, last) that make one block: equal names up to the last dot.
struct Block {
  size_t first, last;
  std::string shape;  // names with the numbers out, and sizes
};

std::string without_numbers(const std::string& name) {
  std::string out;
  for (const char c : name) {
    if (std::isdigit(static_cast<unsigned char>(c)) == 0) {
      out += c;
    } else if (out.empty() || out.back() != '#') {
      out += '#';
    }
  }
  return out;
}

std::vector<Block> blocks_of(const std::vector<LayoutEntry>& entries) {
  std::vector<Block> blocks;
  std::string last_name;
  for (size_t i = 0; i < entries.size(); ++i) {
    const LayoutEntry& entry = entries[i];
    const std::string name = entry.name.substr(0, entry.name.rfind('.'));
    if (blocks.empty() || name != last_name) blocks.push_back({i, i, ""});
    last_name = name;
    blocks.back().last = i + 1;
    blocks.back().shape +=
        fmt::format("{} {} {}\n", without_numbers(entry.name), entry.shape, entry.bytes);
  }
  return blocks;
}

}  // namespace

std::string layout_text(const std::vector<LayoutEntry>& entries, bool whole) {
  std::vector<std::vector<std::string>> rows{{"name", "item", "type", "shape", "offset", "bytes"}};
  const auto show = [&](const Block& block) {
    for (size_t i = block.first; i < block.last; ++i) {
      const LayoutEntry& entry = entries[i];
      rows.push_back({entry.name, item_name(entry.item), entry.dtype, entry.shape,
                      fmt::format("{}", entry.offset), fmt::format("{}", entry.bytes)});
    }
  };
  const std::vector<Block> blocks = blocks_of(entries);
  for (size_t first = 0; first < blocks.size();) {
    size_t last = first + 1;
    while (last < blocks.size() && blocks[last].shape == blocks[first].shape) ++last;
    if (whole || last - first < 4) {
      for (size_t i = first; i < last; ++i) show(blocks[i]);
    } else {
      show(blocks[first]);
      rows.push_back({fmt::format("... {} more of these", last - first - 2)});
      show(blocks[last - 1]);
    }
    first = last;
  }
  return align_columns(rows, 4);
}

}  // namespace kvx::eval
