#include "eval/unit.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

namespace kvx::eval {
namespace {

Json bytes_json(const ByteCount& count) {
  Json json;
  for (int i = 0; i < kItems; ++i)
    json[item_name(static_cast<Item>(i))] = count[static_cast<Item>(i)];
  json["total"] = count.total();
  return json;
}

ByteCount parse_bytes(const Json& json) {
  ByteCount count;
  for (int i = 0; i < kItems; ++i)
    count[static_cast<Item>(i)] = json.at(item_name(static_cast<Item>(i))).get<int64_t>();
  if (count.total() != json.at("total").get<int64_t>())
    throw std::runtime_error("bytes do not add up");
  return count;
}

ShadowCount parse_shadow(const Json& json) {
  return {json.at("E0"), json.at("E1"), json.at("E2"), json.at("mismatches")};
}

Json timing_json(const UnitRecord& record, double seconds) {
  return {{"seconds", seconds},
          {"tokens_per_second", static_cast<double>(record.tokens) / seconds}};
}

Json runs_json(const UnitRecord& record) {
  Json list = Json::array();
  for (const BackendRun& run : record.runs) {
    Json json{{"name", run.backend}, {"timing", timing_json(record, run.seconds)}};
    if (run.shadow) json["shadow"] = shadow_json(*run.shadow);
    list.push_back(std::move(json));
  }
  return list;
}

// Records of earlier programs say nothing of backends: there was one.
std::vector<BackendRun> parse_runs(const Json& json) {
  if (!json.contains("backends"))
    return {{.backend = "cpu", .seconds = json.at("timing").at("seconds"), .shadow = {}}};
  std::vector<BackendRun> runs;
  for (const Json& item : json.at("backends")) {
    runs.push_back({item.at("name"), item.at("timing").at("seconds"), std::nullopt});
    if (item.contains("shadow")) runs.back().shadow = parse_shadow(item.at("shadow"));
  }
  if (runs.empty()) throw std::runtime_error("no backends");
  return runs;
}

uint64_t parse_hash(const std::string& digits) {
  uint64_t hash = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), hash, 16);
  if (digits.size() != 16 || error != std::errc() || end != digits.data() + digits.size())
    throw std::runtime_error("logits is not 16 hex digits");
  return hash;
}

double bits_per_value(int64_t bytes, int64_t values) {
  return 8.0 * static_cast<double>(bytes) / static_cast<double>(values);
}

}  // namespace

std::string UnitKey::str() const { return fmt::format("{}/{}/{}/{}", task, mode, item, scheme); }

std::string scheme_label(const std::string& versioned) {
  const size_t at = versioned.find('@');
  const size_t end = std::min(versioned.find(':'), versioned.size());
  return at < end ? versioned.substr(0, at) + versioned.substr(end) : versioned;
}

std::string task_name(const std::string& versioned) {
  return versioned.substr(0, versioned.find('@'));
}

ShadowCount& ShadowCount::operator+=(const ShadowCount& other) {
  cache += other.cache;
  decoded += other.decoded;
  attention += other.attention;
  mismatches += other.mismatches;
  return *this;
}

Json shadow_json(const ShadowCount& count) {
  return {{"E0", count.cache},
          {"E1", count.decoded},
          {"E2", count.attention},
          {"mismatches", count.mismatches}};
}

bool UnitRecord::has_run(std::string_view backend) const {
  return std::any_of(runs.begin(), runs.end(),
                     [&](const BackendRun& run) { return run.backend == backend; });
}

void add_unit(const UnitRecord& record, Json& json) {
  const auto& [k, v] = record.bytes;
  json["key"] = record.key.str();
  json["task"] = record.key.task;
  json["mode"] = record.key.mode;
  json["scheme"] = record.key.scheme;
  json["tokens"] = record.tokens;
  if (record.logits) json["logits"] = fmt::format("{:016x}", *record.logits);
  json["values"] = record.values;
  json["bytes"] = {{"k", bytes_json(k)}, {"v", bytes_json(v)}};
  json["bits_per_value"] = {{"k", bits_per_value(k.total(), record.values)},
                            {"v", bits_per_value(v.total(), record.values)},
                            {"kv", bits_per_value(k.total() + v.total(), 2 * record.values)}};
  json["nominal_bits"] = {{"k", record.nominal[0]}, {"v", record.nominal[1]}};
  json["timing"] = timing_json(record, record.seconds());
  json["backends"] = runs_json(record);
  if (record.runs.size() > 1) json["equal"] = true;
}

void read_unit(const Json& json, UnitRecord& record) {
  record.key.task = json.at("task");
  record.key.mode = json.at("mode");
  record.key.scheme = json.at("scheme");
  record.tokens = json.at("tokens");
  record.values = json.at("values");
  record.bytes = {parse_bytes(json.at("bytes").at("k")), parse_bytes(json.at("bytes").at("v"))};
  record.nominal = {json.at("nominal_bits").at("k"), json.at("nominal_bits").at("v")};
  if (json.contains("logits")) record.logits = parse_hash(json.at("logits"));
  record.runs = parse_runs(json);
}

}  // namespace kvx::eval
