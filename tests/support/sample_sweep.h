// A small `kvx eval` of perplexity and generation tasks on a seeded model with tokens of few bytes,
// whose answers are nonsense.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/support/eval_sweep.h"

namespace kvx::test {

class SampleSweep {
 public:
  // `program`: kvx. Writes model and text; `reference` is run by the caller.
  explicit SampleSweep(std::string program) : program_(std::move(program)) {
    TinyModelSpec spec;
    spec.head_dim = 32;
    spec.seed = 5;
    spec.vocab = 900;
    spec.max_positions = 1000;
    write_tiny_model(model(), spec);
    write_file(text(), prose(0));
  }

  // Sentences, other ones for another seed.
  static std::string prose(int seed) {
    std::string out;
    for (int i = 0; i < 300; ++i)
      out += "The " + std::to_string((i * i + seed) % 977) + "th house of the row was " +
             (i % 3 == 0 ? "green" : "white") + (i % 4 == 0 ? ".\n" : ". ");
    return out;
  }

  const std::string& program() const { return program_; }
  std::string model() const { return folder_ / "model"; }
  std::string text() const { return folder_ / "text.txt"; }
  std::string reference() const { return folder_ / "reference"; }
  std::string beside(const std::string& name) const { return folder_ / name; }

  // The options of a small run, some of them replaced (by an empty value: left out) or added.
  // Blanks separate the values of an option that is repeated.
  Words command(const std::string& run, const Words& changes = {}) const {
    std::vector<std::pair<std::string, std::string>> pairs{
        {"--model", model()},        {"--task", "ppl,needle,arith"},
        {"--data", text()},          {"--length", "96"},
        {"--windows", "1"},          {"--haystack", text()},
        {"--needle-lengths", "640"}, {"--needle-kinds", "single,passkey"},
        {"--needle-depths", "0,50"}, {"--arith-shots", "1"},
        {"--arith-samples", "3"},    {"--scheme", "int:k4v4 kivi:k2v2,r32"},
        {"--threads", "1"},          {"--mode", "streamed,prefill-exact,context-exact"}};
    for (size_t i = 0; i < changes.size(); i += 2) {
      const auto found = std::find_if(pairs.begin(), pairs.end(),
                                      [&](const auto& pair) { return pair.first == changes[i]; });
      if (found == pairs.end()) {
        pairs.emplace_back(changes[i], changes[i + 1]);
      } else {
        found->second = changes[i + 1];
      }
    }
    Words words{program_, "eval"};
    for (const auto& [name, value] : pairs)
      for (std::istringstream values(value); values;) {
        std::string one;
        if (values >> one) words.insert(words.end(), {name, one});
      }
    words.insert(words.end(), {"--quiet", "--out", run});
    return words;
  }

  // What the command above measures.
  static constexpr int64_t kSamples = 2 * 2 + 3;           // needle: kinds, depths; arith
  static constexpr int64_t kUnits = 3 + 3 * 3 * kSamples;  // ppl; modes, schemes

 private:
  TempDir folder_;
  std::string program_;
};

// Finished units by key, without what is no value.
inline std::map<std::string, std::string> unit_values(const std::string& run) {
  std::map<std::string, std::string> values;
  for (auto& [key, unit] : units_of(run)) {
    for (const char* name : {"timing", "backends", "equal"}) unit.erase(name);
    values[key] = unit.dump();
  }
  return values;
}

}  // namespace kvx::test
