// Binary64 numbers in JSON: the shortest decimal that reads back the same, beside the exact bits.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

namespace kvx::eval {

using Json = nlohmann::ordered_json;

// {"value": 1.5, "bits": "3ff8000000000000"}; a value that is not finite becomes null with "class":
// "nan", "+inf" or
// "-inf" beside it.
Json exact_number(double value);

// From `bits` alone. Throws std::runtime_error where they are missing or malformed.
double parse_exact_number(const Json& json);

// Text of a document; bytes of a path that are not UTF-8 become U+FFFD.
std::string json_text(const Json& json, int indent);

}  // namespace kvx::eval
