// The input is a list of words, and a haystack: what is read makes needles and prompts.
#include <stdexcept>

#include "eval/tasks/haystack.h"
#include "eval/tasks/needle_draw.h"
#include "eval/tasks/needle_prompt.h"
#include "eval/tasks/needle_words.h"
#include "tests/fuzz/folder.h"

namespace {

using kvx::eval::Haystack;

void require(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}

void use_words(const std::string& path) {
  const kvx::eval::NeedleWords words = kvx::eval::read_needle_words(path);
  for (const auto& needle :
       draw_needles(1, "fuzz", kvx::eval::parse_needle_kind("multivalue16"), 50, 3, words).needles)
    require(needle.key.size() >= 3, "a key without words");
}

void use_haystack(const std::string& text) {
  const Haystack haystack(text, "haystack");
  const auto all = haystack.take(0, haystack.words());
  require(std::ssize(all) == haystack.sentences(), "sentences");
  const auto around = haystack.take(haystack.sentences() - 1, haystack.words() + 1);
  const kvx::eval::Needle needle{"a-b", "1234567", 50};
  for (const auto& sentences : {all, around}) {
    const std::string context = kvx::eval::needle_context(1, sentences, {&needle, 1});
    require(context.find("a-b is: 1234567. ") != std::string::npos ||
                context.ends_with("a-b is: 1234567.\n"),
            "the needle");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvx::fuzz::feed(data, size, "words.json", use_words);
  kvx::fuzz::feed(data, size, "haystack.txt",
                  [&](const std::string&) { use_haystack(kvx::fuzz::text(data, size)); });
  return 0;
}
