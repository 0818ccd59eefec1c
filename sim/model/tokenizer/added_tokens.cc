#include "sim/model/tokenizer/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "sim/api/error.h"
#include "sim/model/checkpoint/utf8.h"
#include "sim/model/tokenizer/char_class.h"

namespace kvx::model {

void require_utf8(std::string_view text) {
  if (text.size() > std::numeric_limits<int32_t>::max()) {
    throw environment_error(
        fmt::format("text to encode: has {} bytes, more than 2^31 - 1", text.size()));
  }
  const size_t at = find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  throw environment_error(fmt::format("text to encode: byte {} (0x{:02x}) is not valid UTF-8", at,
                                      static_cast<unsigned char>(text[at])));
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) {
  for (AddedToken& token : tokens) {
    if (token.text.empty()) continue;
    by_first_byte_[static_cast<unsigned char>(token.text[0])].push_back(std::move(token));
  }
  for (auto& list : by_first_byte_) {
    std::stable_sort(list.begin(), list.end(), [](const AddedToken& a, const AddedToken& b) {
      return a.text.size() > b.text.size();
    });
  }
}

const AddedToken* AddedTokens::match(std::string_view text) const {
  for (const AddedToken& token : by_first_byte_[static_cast<unsigned char>(text[0])]) {
    if (text.starts_with(token.text)) return &token;
  }
  return nullptr;
}

void AddedTokens::for_each_segment(
    std::string_view text, bool parse_special,
    const std::function<void(std::string_view, int32_t)>& visit) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = match(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at;
    size_t end = at + token->text.size();
    at = end;
    if (token->special && !parse_special) continue;
    const std::string_view before = text.substr(0, begin);
    const std::string_view after = text.substr(end);
    if (token->single_word && (ends_with_word(before) || starts_with_word(after))) continue;
    if (token->lstrip) begin = std::max(begin - trailing_space(before), done);
    if (token->rstrip) end += leading_space(after);
    if (begin > done) visit(text.substr(done, begin - done), -1);
    visit(text.substr(begin, end - begin), token->id);
    done = end;
  }
  if (done < text.size()) visit(text.substr(done), -1);
}

}  // namespace kvx::model
