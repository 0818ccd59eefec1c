#include "eval/record.h"

#include <fmt/core.h>

#include <stdexcept>

namespace kvx::eval {

const UnitRecord& unit_of(const Record& record) {
  return std::visit([](const auto& of) -> const UnitRecord& { return of; }, record);
}

UnitRecord& unit_of(Record& record) {
  return std::visit([](auto& of) -> UnitRecord& { return of; }, record);
}

Json to_json(const Record& record) {
  return std::visit([](const auto& of) { return to_json(of); }, record);
}

Record parse_record(const Json& json) {
  const std::string schema = json.at("schema");
  Record record;
  if (schema == kWindowSchema) {
    record = parse_window_record(json);
  } else if (schema == kSampleSchema) {
    record = parse_sample_record(json);
  } else if (schema == kErrorSchema) {
    record = parse_error_record(json);
  } else {
    throw std::runtime_error(fmt::format("schema is {}, this program knows {}, {} and {}", schema,
                                         kWindowSchema, kSampleSchema, kErrorSchema));
  }
  if (json.at("key") != unit_of(record).key.str())
    throw std::runtime_error("key and fields differ");
  return record;
}

}  // namespace kvx::eval
