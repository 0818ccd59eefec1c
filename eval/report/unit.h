// One finished unit of a run folder, as a report reads it: a line of results.jsonl
// (reports/schema/result.md).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "eval/number.h"
#include "eval/record.h"
#include "sim/api/cache.h"

namespace kvx::report {

using eval::Json;

// Task ppl, schemas kvx-result/1 and /2.
struct WindowScores {
  int64_t targets = 0;   // scored positions
  double nll_mean = 0;   // nats
  double kl_mean = 0;    // KL(fp:f32 || scheme), nats
  int64_t same_top = 0;  // positions whose most probable token is the base's
};

struct Reading {
  std::string filter;
  double score = 0;  // 0 to 1
};

// Tasks that are answered by generation, schema kvx-sample/1.
struct SampleScores {
  std::vector<std::pair<std::string, std::string>> cell;
  std::vector<Reading> readings;  // one at least; the first is the one that is shown
};

// Relative errors with one layer quantised at a time: K, V, attention weights, attention output.
inline constexpr std::array<const char*, 4> kErrorNames{"k", "v", "weights", "out"};
using LayerError = std::array<double, kErrorNames.size()>;

// Task error, schema kvx-error/1.
struct ErrorScores {
  std::vector<LayerError> layers;
};

struct Unit {
  std::string task;    // with version: "ppl@1"
  std::string mode;    // cache mode
  std::string name;    // in its task: the window's number, the sample's id
  std::string scheme;  // versioned descriptor
  std::variant<WindowScores, SampleScores, ErrorScores> scores;
  std::array<ByteCount, 2> bytes;   // of all layers, by side
  int64_t values = 0;               // K values held by all layers; as many V values
  std::array<double, 2> nominal{};  // bits per value, by side
  double tokens = 0;                // that `seconds` of the runs are for
  std::vector<eval::BackendRun> runs;
  // What makes two units equal: the line without schema, key, names, timings and backends.
  std::string content;
};

// "ppl@1" -> "ppl"
std::string task_name(const std::string& task);

// Throws std::exception where a field is missing, of the wrong type or out of range.
Unit parse_unit(const Json& line);

// Whether every field that both have is equal: values as bits, outputs, bytes. Fields that a later
// schema added are compared where both have them.
bool same_content(const Unit& a, const Unit& b);

}  // namespace kvx::report
