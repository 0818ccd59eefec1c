#include "eval/protocol.h"

#include <algorithm>

namespace kvx::eval {

using model::CacheMode;

int64_t default_length(Protocol protocol) { return protocol == Protocol::kGptq ? 2048 : 512; }

std::string_view protocol_text(Protocol protocol, std::string_view bytes) {
  if (protocol == Protocol::kLlamaCpp && bytes.ends_with('\n')) bytes.remove_suffix(1);
  return bytes;
}

int64_t least_windows(Protocol protocol) { return protocol == Protocol::kGptq ? 1 : 2; }

std::vector<int32_t> window_tokens(const Cut& cut, std::span<const int32_t> text, int64_t index) {
  const auto window =
      text.subspan(static_cast<size_t>(index * cut.length), static_cast<size_t>(cut.length));
  std::vector<int32_t> tokens(window.begin(), window.end());
  if (cut.protocol == Protocol::kLlamaCpp && cut.bos >= 0) tokens.front() = cut.bos;
  return tokens;
}

int64_t first_scored(const Cut& cut, CacheMode mode) {
  const int64_t first = cut.protocol == Protocol::kGptq ? 0 : cut.length / 2;
  if (mode == CacheMode::kPrefillExact) return std::max(first, cut.context - 1);
  if (mode == CacheMode::kContextExact) return std::max(first, cut.context);
  return first;
}

}  // namespace kvx::eval
