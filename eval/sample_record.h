// The result of one sample of a task that is answered by generation, under one scheme in one cache
// mode.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "eval/number.h"
#include "eval/tasks/task.h"
#include "eval/unit.h"

namespace kvx::eval {

inline constexpr const char* kSampleSchema = "kvx-sample/1";

// Why generation ended: the end-of-text token, a stop string, or the budget.
enum class Stop : uint8_t { kEos, kStop, kLength };
const char* stop_name(Stop stop);

// Bytes and values are those of the whole prompt, before anything is generated.
struct SampleRecord : UnitRecord {
  std::vector<std::pair<std::string, std::string>> cell;  // of the task's table
  std::string prompt_sha256;                              // of its UTF-8 text
  int64_t prompt_tokens = 0;
  int64_t context_tokens = 0;  // of them read exactly as computed, for every query
  std::vector<std::string> expected;
  std::vector<int32_t> output_ids;  // up to and with the token that ended it
  std::string output;               // their text, up to the first stop string
  Stop stop = Stop::kLength;
  std::vector<Reading> readings;
};

Json to_json(const SampleRecord& record);
// Throws std::exception where a field is missing or of the wrong type.
SampleRecord parse_sample_record(const Json& json);

}  // namespace kvx::eval
