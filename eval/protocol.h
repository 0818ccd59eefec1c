// How task `ppl` cuts a text into windows and which of their positions it scores.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/model/engine.h"

namespace kvx::eval {

// kGptq: datautils.py and llama.py of IST-DASLab/gptq. kLlamaCpp: tools/perplexity of
// ggml-org/llama.cpp, without --ppl-stride.
enum class Protocol : uint8_t { kGptq, kLlamaCpp };

// In the order of Protocol: what --protocol takes and results record.
inline constexpr std::array<std::string_view, 2> kProtocolNames{"gptq", "llama.cpp"};

inline std::string protocol_name(Protocol protocol) {
  return std::string(kProtocolNames[static_cast<size_t>(protocol)]);
}

// Tokens of a window: 2048, and 512 in llama.cpp's.
int64_t default_length(Protocol protocol);

// The text that is tokenised, out of the bytes of a file: all of them; llama.cpp's reader drops one
// final "\n".
std::string_view protocol_text(Protocol protocol, std::string_view bytes);

// Windows that the protocol needs at least: 1, and 2 in llama.cpp's.
int64_t least_windows(Protocol protocol);

struct Cut {
  Protocol protocol = Protocol::kGptq;
  int64_t length = 0;  // tokens in a window, L
  int64_t context =
      0;             // tokens of a window that modes prefill-exact and context-exact read exactly
  int32_t bos = -1;  // that the model puts in front of a text; -1: none
};

// Window `index` of a text: tokens [index * L, index * L + L). In llama.cpp's protocol a BOS, if
// there is one, takes the place of the first.
std::vector<int32_t> window_tokens(const Cut& cut, std::span<const int32_t> text, int64_t index);

// The first position of a window whose prediction, of the token behind it, is scored; the last is
// L-2. All of them, or in llama.cpp's protocol those from floor(L/2) on; with a context of N no
// earlier than N-1 in mode prefill-exact, N in context-exact. L-1 or more: none.
int64_t first_scored(const Cut& cut, model::CacheMode mode);

}  // namespace kvx::eval
