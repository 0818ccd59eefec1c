// The result of one unit of work of task `error`: one window of the text under one scheme in one
// cache mode, every layer by itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/error_layer.h"
#include "eval/number.h"
#include "eval/unit.h"

namespace kvx::eval {

inline constexpr const char* kErrorSchema = "kvx-error/1";

// Rises with every change of a definition in error.md, of the engine or of the arithmetic that can
// move a bit of a result.
inline constexpr const char* kErrorTask = "error@1";

UnitKey error_key(const std::string& mode, int64_t window, const std::string& scheme);

struct ErrorRecord : UnitRecord {
  int64_t window = 0;               // index in the text
  std::vector<LayerErrors> layers;  // of the model
};

Json to_json(const ErrorRecord& record);
// Throws std::exception where a field is missing or of the wrong type.
ErrorRecord parse_error_record(const Json& json);

}  // namespace kvx::eval
