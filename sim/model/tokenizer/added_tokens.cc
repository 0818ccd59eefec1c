#include "sim/model/tokenizer/added_tokens.h"

#include <fmt/format.h>

#include <algorithm>

#include "sim/api/error.h"
#include "sim/model/checkpoint/utf8.h"

namespace kvx::model {

void require_utf8(std::string_view text) {
  const size_t at = find_invalid_utf8(text);
  if (at == std::string_view::npos) return;
  throw environment_error(fmt::format("text to encode: byte {} (0x{:02x}) is not valid UTF-8", at,
                                      static_cast<unsigned char>(text[at])));
}

AddedTokens::AddedTokens(std::vector<AddedToken> tokens) {
  for (AddedToken& token : tokens) {
    ids_.insert(token.id);
    if (token.text.empty()) continue;
    by_first_byte_[static_cast<unsigned char>(token.text[0])].push_back(std::move(token));
  }
  for (auto& list : by_first_byte_) {
    std::stable_sort(list.begin(), list.end(), [](const AddedToken& a, const AddedToken& b) {
      return a.text.size() > b.text.size();
    });
  }
}

const AddedToken* AddedTokens::match(std::string_view text, bool parse_special) const {
  for (const AddedToken& token : by_first_byte_[static_cast<unsigned char>(text[0])]) {
    if ((parse_special || !token.special) && text.starts_with(token.text)) return &token;
  }
  return nullptr;
}

void AddedTokens::for_each_segment(
    std::string_view text, bool parse_special,
    const std::function<void(std::string_view, int32_t)>& visit) const {
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = match(text.substr(at), parse_special);
    if (token == nullptr) {
      ++at;
      continue;
    }
    if (at > done) visit(text.substr(done, at - done), -1);
    visit(text.substr(at, token->text.size()), token->id);
    at += token->text.size();
    done = at;
  }
  if (done < text.size()) visit(text.substr(done), -1);
}

}  // namespace kvx::model
