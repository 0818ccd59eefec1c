// What both kinds of tokenizer do before they encode: refuse ill-formed text, and cut out the texts
// of added tokens.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <set>
#include <string_view>
#include <vector>

#include "sim/model/tokenizer/bpe.h"

namespace kvx::model {

// Throws an environment Error naming the offset of the first byte that is not UTF-8.
void require_utf8(std::string_view text);

class AddedTokens {
 public:
  explicit AddedTokens(std::vector<AddedToken> tokens);

  bool is_added(int32_t id) const { return ids_.contains(id); }

  // Calls `visit(segment, id)` in order: id is -1 for text between added tokens (never empty). The
  // leftmost match wins, of those the longest; special tokens match only if `parse_special`.
  void for_each_segment(std::string_view text, bool parse_special,
                        const std::function<void(std::string_view, int32_t)>& visit) const;

 private:
  const AddedToken* match(std::string_view text, bool parse_special) const;

  std::array<std::vector<AddedToken>, 256> by_first_byte_;  // longest first
  std::set<int32_t> ids_;
};

}  // namespace kvx::model
