// A line of results.jsonl, of any task.
#pragma once

#include <variant>

#include "eval/error_record.h"
#include "eval/sample_record.h"
#include "eval/window_record.h"

namespace kvx::eval {

using Record = std::variant<WindowRecord, SampleRecord, ErrorRecord>;

const UnitRecord& unit_of(const Record& record);
UnitRecord& unit_of(Record& record);

Json to_json(const Record& record);
// Throws std::exception where a field is missing or of the wrong type, or the schema is none of
// this program's.
Record parse_record(const Json& json);

}  // namespace kvx::eval
