// A small sweep of `kvx eval`, run once without interruption, and its values to compare others
// with.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/tiny_model.h"

namespace kvx::test {

using Words = std::vector<std::string>;
using SweepJson = nlohmann::ordered_json;

inline constexpr int64_t kSweepLength = 96;
inline constexpr int64_t kSweepWindows = 3;
inline const Words kSweepSchemes{"fp@1:f32", "fp@1:f16", "int@1:k3v3", "kivi@1:k2v2,r32"};
inline constexpr int64_t kSweepUnits = 2 * kSweepWindows * 4;  // modes, windows, schemes

// Lines of results.jsonl without what is no value: timings, and which backends ran.
inline std::vector<std::string> values_of(const std::string& run) {
  std::vector<std::string> lines;
  std::istringstream text(read_file(run + "/results.jsonl"));
  for (std::string line; std::getline(text, line);) {
    SweepJson json = SweepJson::parse(line);
    for (const char* name : {"timing", "backends", "equal"}) json.erase(name);
    lines.push_back(json.dump());
  }
  return lines;
}

// Finished units, by key.
inline std::map<std::string, SweepJson> units_of(const std::string& run) {
  std::map<std::string, SweepJson> units;
  std::istringstream text(read_file(run + "/results.jsonl"));
  for (std::string line; std::getline(text, line);) {
    SweepJson json = SweepJson::parse(line);
    const std::string key = json.at("key");
    EXPECT_TRUE(units.emplace(key, std::move(json)).second) << key << " twice";
  }
  return units;
}

inline int64_t line_count(const std::string& run) {
  if (!std::filesystem::exists(run + "/results.jsonl")) return 0;
  const std::string text = read_file(run + "/results.jsonl");
  return std::count(text.begin(), text.end(), '\n');
}

class Sweep {
 public:
  // `program`: kvx. Writes model and text; `reference` is run by the caller.
  explicit Sweep(std::string program) : program_(std::move(program)) {
    TinyModelSpec spec;
    spec.head_dim = 32;
    spec.seed = 5;
    write_tiny_model(model(), spec);
    write_file(data(), text(0));
  }

  // Words and numbers, other ones for another seed.
  static std::string text(int seed) {
    std::string text;
    for (int i = 0; i < 400; ++i)
      text += "word " + std::to_string((i * i + seed) % 977) + (i % 9 == 0 ? ".\n" : ", ");
    return text;
  }

  const std::string& program() const { return program_; }
  std::string model() const { return folder_ / "model"; }
  std::string data() const { return folder_ / "text.txt"; }
  std::string reference() const { return folder_ / "reference"; }

  Words command(const std::string& run, const Words& more = {}) const {
    Words words{program_,    "eval",
                "--model",   model(),
                "--data",    data(),
                "--scheme",  "fp:f16",
                "--scheme",  "int:k3v3",
                "--scheme",  "kivi:k2v2,r32",
                "--mode",    "streamed,all",
                "--length",  std::to_string(kSweepLength),
                "--windows", std::to_string(kSweepWindows),
                "--out",     run};
    words.insert(words.end(), more.begin(), more.end());
    if (std::find(more.begin(), more.end(), "--threads") == more.end())
      words.insert(words.end(), {"--threads", "1"});
    return words;
  }

  static int run(const Words& words) {
    Process process(words);
    const int code = process.wait();
    if (code != 0) std::fprintf(stderr, "%s", process.err().c_str());
    return code;
  }

  // The derived views are there and whole, and every value equals the reference run's.
  void expect_same_as_reference(const std::string& run) const {
    namespace fs = std::filesystem;
    EXPECT_EQ(values_of(run), values_of(reference()));
    for (const auto& entry : fs::directory_iterator(reference() + "/positions"))
      EXPECT_EQ(read_file(entry.path()),
                read_file(run + "/positions/" + entry.path().filename().string()));
    EXPECT_EQ(std::distance(fs::directory_iterator(run + "/positions"), {}),
              std::distance(fs::directory_iterator(reference() + "/positions"), {}));
    for (const char* view :
         {"table.csv", "divergence.csv", "positions.csv", "plot.svg", "positions.svg"})
      EXPECT_TRUE(fs::exists(run + "/" + view)) << view;
    EXPECT_EQ(read_file(run + "/divergence.csv"), read_file(reference() + "/divergence.csv"));
    EXPECT_EQ(read_file(run + "/positions.csv"), read_file(reference() + "/positions.csv"));
  }

 private:
  TempDir folder_;
  std::string program_;
};

}  // namespace kvx::test
