// What ships, together: model, text and artifacts give the values that are published of them, on
// any machine.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "eval/tensor_file.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"

namespace kvx {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

const fs::path kData = KVX_SHIPPED;
const fs::path kDemo = fs::path(KVX_PUBLISHED) / "demo";

std::map<std::string, json> records(const fs::path& folder) {
  std::map<std::string, json> by_key;
  std::ifstream file(folder / "results.jsonl");
  for (std::string line; std::getline(file, line);) {
    json record = json::parse(line);
    const std::string key = record.at("key");
    by_key[key] = std::move(record);
  }
  return by_key;
}

json read_json(const fs::path& path) {
  std::ifstream file(path);
  return json::parse(file);
}

TEST(Shipped, FirstUnitsOfTheDemoHaveThePublishedBits) {
  test::TempDir dir;
  std::vector<std::string> words{"eval",
                                 "--model",
                                 kData / "models/tiny",
                                 "--task",
                                 "ppl,arith",
                                 "--data",
                                 kData / "text/demo.txt",
                                 "--windows",
                                 "1",
                                 "--arith-samples",
                                 "2",
                                 "--artifacts",
                                 kData / "artifacts",
                                 "--out",
                                 dir / "run",
                                 "--quiet"};
  const json run = read_json(kDemo / "run.json");
  int calibrated = 0;
  for (const json& scheme : run.at("schemes")) {
    std::string name = scheme;
    if (const size_t at = name.find("@1"); at != std::string::npos) name.erase(at, 2);
    const bool artifact = name.find("cb=#") != std::string::npos;
    calibrated += artifact;
    if (!artifact && name != "int:k3v3" && name != "kivi:k2v2" && name != "ggml:q4_0") continue;
    words.insert(words.end(), {"--scheme", name});
  }
  ASSERT_EQ(calibrated, 3);
  const test::Outcome outcome = test::kvx_run(words);
  ASSERT_EQ(outcome.code, 0) << outcome.err;

  const auto published = records(kDemo), ours = records(dir / "run");
  ASSERT_EQ(ours.size(), 7u * 3u);  // fp:f32 and six schemes; a window and two problems
  for (const auto& [key, record] : ours) {
    ASSERT_TRUE(published.contains(key)) << key;
    const json& expected = published.at(key);
    for (const char* field : {"logits", "bytes", "output_ids"}) {
      EXPECT_EQ(record.value(field, json()), expected.value(field, json())) << key << " " << field;
    }
  }
}

TEST(Shipped, ArtifactsAreOfTheModel) {
  const json run = read_json(kDemo / "run.json");
  int seen = 0;
  for (const auto& entry : fs::directory_iterator(kData / "artifacts")) {
    if (entry.path().extension() != ".safetensors") continue;
    ++seen;
    const eval::TensorFile artifact(entry.path());
    EXPECT_EQ(artifact.metadata("model_sha256"), run.at("identity").at("model_sha256"));
    EXPECT_NE(run.dump().find(artifact.sha256().substr(0, 16)), std::string::npos);
  }
  EXPECT_EQ(seen, 3);
}

}  // namespace
}  // namespace kvx
