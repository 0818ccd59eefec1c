#include "sim/model/checkpoint/architectures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <iterator>
#include <utility>

#include "sim/model/checkpoint/file.h"

namespace kvx::model {
namespace {

// Mistral's GGUF files call themselves llama.
constexpr Architecture kArchitectures[] = {
    {"LlamaForCausalLM", "llama", false, true, false, WindowRule::kNone, true},
    {"MistralForCausalLM", "llama", false, false, false, WindowRule::kAlways, true},
    {"Qwen2ForCausalLM", "qwen2", true, false, false, WindowRule::kSwitched, false},
    {"Qwen3ForCausalLM", "qwen3", false, true, true, WindowRule::kSwitched, false},
};

const Architecture* find(std::string_view name, const char* Architecture::*field) {
  const auto* found = std::ranges::find_if(
      kArchitectures, [&](const Architecture& candidate) { return candidate.*field == name; });
  return found == std::end(kArchitectures) ? nullptr : found;
}

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

}  // namespace

const Architecture* architecture_of_hf(std::string_view name) {
  return find(name, &Architecture::name);
}

const Architecture* architecture_of_gguf(std::string_view name) {
  return find(name, &Architecture::gguf_name);
}

Error unsupported_architecture(const std::string& file, const std::string& name) {
  constexpr std::pair<const char*, const char*> kMissing[] = {
      {"qwen2moe", "mixture of experts"},
      {"qwen3moe", "mixture of experts"},
      {"mixtral", "mixture of experts"},
      {"qwen3next", "linear attention"},
      {"gemma", "scaled embeddings and GELU"},
      {"phi", "fused projections"},
      {"gpt2", "learned positions and layer normalisation"},
  };
  std::string missing = "an implementation (there are Llama, Mistral, Qwen2 and Qwen3)";
  for (const auto& [key, what] : kMissing) {
    if (lower(name).starts_with(key)) missing = what;
  }
  return file_error(
      file, fmt::format("architecture {} is not supported: missing {}", printable(name), missing));
}

}  // namespace kvx::model
