// What the keys of needles are made of: "adjective-noun", as in RULER (arXiv 2404.06654).
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kvx::eval {

struct NeedleWords {
  std::vector<std::string> adjectives;
  std::vector<std::string> nouns;

  size_t keys() const { return adjectives.size() * nouns.size(); }
  // "adjective-noun", index < keys(): adjective index / nouns, noun index % nouns.
  std::string key(size_t index) const;
  // Of the adjectives, an empty line and the nouns, every word with its "\n".
  std::string sha256() const;
};

// data/tasks/needle_words.json, which is part of the program.
const NeedleWords& embedded_needle_words();

// {"adjectives": ["agile", ...], "nouns": ["acorn", ...]}. Other fields are ignored. Throws an
// environment Error naming `path` and field where a list is absent or empty, a word occurs twice in
// one, is empty or longer than 64 bytes, holds a control character or begins or ends with a blank.
NeedleWords parse_needle_words(std::string_view json, const std::string& path);

// A JSON file as above; or a folder with adjectivelist.txt and nounlist.txt, one word a line, as
// the Python package wonderwords has them: blanks around a word, empty lines and words that were
// there before are dropped. Throws environment Errors as parse_needle_words does, naming the line.
NeedleWords read_needle_words(const std::string& path);

}  // namespace kvx::eval
