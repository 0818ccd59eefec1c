#include "eval/tasks/needle_draw.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>

#include "eval/files.h"
#include "eval/tasks/passkey.h"
#include "eval/tasks/python_random.h"

namespace kvx::eval {
namespace {

constexpr size_t kLeastValue = 1'000'000;
constexpr size_t kValues = 9'000'000;  // of 7 digits

PythonRandom generator(uint64_t seed, std::string_view id) {
  const std::string hash = sha256_hex(fmt::format("needle {} {}", seed, id));
  uint32_t first = 0;
  std::from_chars(hash.data(), hash.data() + 8, first, 16);
  return PythonRandom(first);
}

// RULER's: linspace(0, 100, 40), rounded.
std::vector<int> depths_without(int depth) {
  std::vector<int> depths{0,  3,  5,  8,  10, 13, 15, 18, 21, 23, 26, 28, 31, 33,
                          36, 38, 41, 44, 46, 49, 51, 54, 56, 59, 62, 64, 67, 69,
                          72, 74, 77, 79, 82, 85, 87, 90, 92, 95, 97, 100};
  std::erase(depths, depth);
  return depths;
}

}  // namespace

NeedleDraw draw_needles(uint64_t seed, std::string_view id, const NeedleKind& kind, int depth,
                        int64_t sentences, const NeedleWords& words) {
  PythonRandom random = generator(seed, id);
  const auto count = static_cast<size_t>(kind.needles);
  NeedleDraw out;
  out.first_sentence = static_cast<int64_t>(random.below(static_cast<uint64_t>(sentences)));
  const std::vector<size_t> keys = random.sample(words.keys(), static_cast<size_t>(kind.keys()));
  const std::vector<size_t> values = random.sample(kValues, count);
  const std::vector<int> others = depths_without(depth);
  const std::vector<size_t> places = random.sample(others.size(), count - 1);
  for (size_t i = 0; i < count; ++i)
    out.needles.push_back({words.key(keys[i % keys.size()]),
                           std::to_string(kLeastValue + values[i]),
                           i == 0 ? depth : others[places[i - 1]]});
  return out;
}

int64_t draw_passkey(uint64_t seed, std::string_view id) {
  return 1 + static_cast<int64_t>(generator(seed, id).below(kPasskeyKeys));
}

}  // namespace kvx::eval
