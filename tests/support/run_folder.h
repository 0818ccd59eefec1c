// Run folders by hand, as reports/schema/result.md describes them: what a report reads, without a
// model.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "eval/number.h"
#include "tests/support/temp_dir.h"

namespace kvx::test {

using eval::Json;

inline const std::string kHash(64, 'a');

// Fields that lines of all tasks have. Bits are of K and of V, in codes alone.
inline Json common_fields(const std::string& task, const std::string& mode,
                          const std::string& scheme, double bits) {
  constexpr int64_t kValues = 4096;
  const int64_t bytes = static_cast<int64_t>(bits * kValues / 8);
  const Json side{{"codes", bytes}, {"scale", 0},   {"zero", 0},   {"outliers", 0},
                  {"exact", 0},     {"padding", 0}, {"tables", 0}, {"total", bytes}};
  const Json timing{{"seconds", 0.5}, {"tokens_per_second", 128.0}};
  return {{"task", task},
          {"mode", mode},
          {"scheme", scheme},
          {"tokens", 64},
          {"logits", "0123456789abcdef"},
          {"values", kValues},
          {"bytes", {{"k", side}, {"v", side}}},
          {"bits_per_value", {{"k", bits}, {"v", bits}, {"kv", bits}}},
          {"nominal_bits", {{"k", 4.0}, {"v", 4.0}}},
          {"timing", timing},
          {"backends", Json::array({{{"name", "cpu"}, {"timing", timing}}})}};
}

inline Json window_line(const std::string& scheme, int64_t window, double nll, double kl = 0,
                        double bits = 4, const std::string& mode = "streamed") {
  Json line = common_fields("ppl@1", mode, scheme, bits);
  line["schema"] = "kvx-result/2";
  line["window"] = window;
  line["targets"] = 63;
  line["nll_mean"] = eval::exact_number(nll);
  line["kl_mean"] = eval::exact_number(kl);
  line["same_top"] = 60;
  return line;
}

using Cell = std::vector<std::pair<std::string, std::string>>;

// scores: of the first reading and, as "flexible", of a second one.
inline Json sample_line(const std::string& task, const std::string& scheme,
                        const std::string& sample, const Cell& cell,
                        const std::vector<double>& scores, double bits = 4,
                        const std::string& mode = "streamed") {
  Json line = common_fields(task, mode, scheme, bits);
  line["schema"] = "kvx-sample/1";
  line["sample"] = sample;
  line["cell"] = Json::object();
  for (const auto& [name, value] : cell) line["cell"][name] = value;
  line["expected"] = {"7"};
  line["output"] = " 7.";
  line["readings"] = Json::array();
  for (const double score : scores)
    line["readings"].push_back({{"filter", line["readings"].empty() ? "strict" : "flexible"},
                                {"extracted", "7"},
                                {"score", eval::exact_number(score)}});
  return line;
}

// errors: of K, V, attention weights and output, by layer.
inline Json error_line(const std::string& scheme, int64_t window,
                       const std::vector<std::vector<double>>& errors, double bits = 4) {
  Json line = common_fields("error@1", "all", scheme, bits);
  line["schema"] = "kvx-error/1";
  line["window"] = window;
  line["layers"] = Json::array();
  for (const std::vector<double>& layer : errors)
    line["layers"].push_back({{"k", eval::exact_number(layer[0])},
                              {"v", eval::exact_number(layer[1])},
                              {"weights", eval::exact_number(layer[2])},
                              {"out", eval::exact_number(layer[3])}});
  return line;
}

// run.json of schema kvx-run/2 with these tasks; two layers.
inline Json run_header(const std::vector<std::string>& schemes,
                       const std::vector<std::string>& tasks, const std::string& host = "here") {
  Json json{
      {"schema", "kvx-run/2"},
      {"identity",
       {{"arithmetic", "ieee"},
        {"model_sha256", kHash},
        {"tokenizer_sha256", kHash},
        {"nonfinite", "refuse"},
        {"rope_steps_sha256", kHash}}},
      {"tasks", Json::object()},
      {"model", {{"path", "models/tiny.gguf"}, {"layers", 2}, {"kv_heads", 1}, {"head_dim", 32}}},
      {"modes", {"streamed"}},
      {"schemes", schemes},
      {"seed", 1}};
  for (const std::string& task : tasks)
    json["tasks"][task] = {{"task", task + "@1"}, {"length", 64}};
  json["sessions"] = Json::array({{{"command", {"kvx", "eval", "--data", "a text.txt"}},
                                   {"host", {{"name", host}, {"cpu", "x"}}},
                                   {"backends", {"cpu"}}}});
  return json;
}

inline std::string write_run(const std::string& folder, const Json& header,
                             const std::vector<Json>& lines) {
  std::filesystem::create_directories(folder);
  std::string text;
  for (const Json& line : lines) text += line.dump() + "\n";
  write_file(folder + "/run.json", header.dump());
  write_file(folder + "/results.jsonl", text);
  return folder;
}

}  // namespace kvx::test
