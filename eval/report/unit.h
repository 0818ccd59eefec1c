// One finished unit of a run folder, as a report reads it: a line of results.jsonl
// (reports/schema/result.md). More forgiving than what continues a folder, as schemas of earlier
// programs are read too; stricter in what a number may be.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "eval/number.h"
#include "eval/unit.h"

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

struct Unit : eval::UnitRecord {
  std::variant<WindowScores, SampleScores, ErrorScores> scores;
  // What makes two units equal: the line without schema, key, names, timings and backends.
  std::string content;
};

// Throws std::exception where a field is missing, of the wrong type or out of range.
Unit parse_unit(const Json& line);

// Whether every field that both have is equal: values as bits, outputs, bytes. Fields that a later
// schema added are compared where both have them.
bool same_content(const Unit& a, const Unit& b);

}  // namespace kvx::report
