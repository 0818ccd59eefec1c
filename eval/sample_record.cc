#include "eval/sample_record.h"

#include <fmt/core.h>

#include <array>
#include <stdexcept>

namespace kvx::eval {
namespace {

constexpr std::array<const char*, 3> kStops{"eos", "stop", "length"};

Stop parse_stop(const std::string& name) {
  for (size_t i = 0; i < kStops.size(); ++i)
    if (name == kStops[i]) return static_cast<Stop>(i);
  throw std::runtime_error(fmt::format("stop is {}", name));
}

}  // namespace

const char* stop_name(Stop stop) { return kStops[static_cast<size_t>(stop)]; }

Json to_json(const SampleRecord& record) {
  Json json;
  json["schema"] = kSampleSchema;
  add_unit(record, json);
  json["sample"] = record.key.item;
  json["cell"] = Json::object();
  for (const auto& [name, value] : record.cell) json["cell"][name] = value;
  json["prompt_sha256"] = record.prompt_sha256;
  json["prompt_tokens"] = record.prompt_tokens;
  json["context_tokens"] = record.context_tokens;
  json["expected"] = record.expected;
  json["output"] = record.output;
  json["output_ids"] = record.output_ids;
  json["output_tokens"] = record.output_ids.size();
  json["stop"] = stop_name(record.stop);
  json["readings"] = Json::array();
  for (const Reading& reading : record.readings)
    json["readings"].push_back({{"filter", reading.filter},
                                {"extracted", reading.extracted},
                                {"score", exact_number(reading.score)}});
  return json;
}

SampleRecord parse_sample_record(const Json& json) {
  SampleRecord record;
  read_unit(json, record);
  record.key.item = json.at("sample");
  for (const auto& [name, value] : json.at("cell").items()) record.cell.emplace_back(name, value);
  record.prompt_sha256 = json.at("prompt_sha256");
  record.prompt_tokens = json.at("prompt_tokens");
  record.context_tokens = json.at("context_tokens");
  record.expected = json.at("expected").get<std::vector<std::string>>();
  record.output = json.at("output");
  record.output_ids = json.at("output_ids").get<std::vector<int32_t>>();
  record.stop = parse_stop(json.at("stop"));
  for (const Json& item : json.at("readings"))
    record.readings.push_back(
        {item.at("filter"), item.at("extracted"), parse_exact_number(item.at("score"))});
  return record;
}

}  // namespace kvx::eval
