#include "eval/record.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <stdexcept>

#include "eval/stats.h"

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

std::string UnitKey::str() const {
  return fmt::format("{}/{}/{}/{}", kPplTask, mode, window, scheme);
}

std::string scheme_label(const std::string& versioned) {
  const size_t at = versioned.find('@');
  const size_t end = std::min(versioned.find(':'), versioned.size());
  return at < end ? versioned.substr(0, at) + versioned.substr(end) : versioned;
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

void UnitRecord::summarise(const PositionScores& scores) {
  targets = static_cast<int64_t>(scores.nll.size());
  nll_mean = mean(scores.nll);
  kl_mean = mean(scores.kl);
  kl_p999 = percentile(scores.kl, 0.999);
  kl_max = percentile(scores.kl, 1.0);
  same_top = std::count(scores.same_top.begin(), scores.same_top.end(), 1.0);
}

Json to_json(const UnitRecord& record) {
  const auto& [k, v] = record.bytes;
  Json json;
  json["schema"] = kRecordSchema;
  json["key"] = record.key.str();
  json["task"] = kPplTask;
  json["protocol"] = record.protocol;
  json["mode"] = record.key.mode;
  json["window"] = record.key.window;
  json["scheme"] = record.key.scheme;
  json["tokens"] = record.tokens;
  json["context"] = record.context;
  json["first_position"] = record.first_position;
  json["targets"] = record.targets;
  json["nll_mean"] = exact_number(record.nll_mean);
  json["kl_mean"] = exact_number(record.kl_mean);
  json["kl_p999"] = exact_number(record.kl_p999);
  json["kl_max"] = exact_number(record.kl_max);
  json["same_top"] = record.same_top;
  if (record.logits) json["logits"] = fmt::format("{:016x}", *record.logits);
  json["values"] = record.values;
  json["bytes"] = {{"k", bytes_json(k)}, {"v", bytes_json(v)}};
  json["bits_per_value"] = {{"k", bits_per_value(k.total(), record.values)},
                            {"v", bits_per_value(v.total(), record.values)},
                            {"kv", bits_per_value(k.total() + v.total(), 2 * record.values)}};
  json["nominal_bits"] = {{"k", record.nominal[0]}, {"v", record.nominal[1]}};
  json["positions"] = {{"file", record.positions_file}, {"sha256", record.positions_sha256}};
  json["timing"] = timing_json(record, record.seconds());
  json["backends"] = runs_json(record);
  if (record.runs.size() > 1) json["equal"] = true;
  return json;
}

UnitRecord parse_record(const Json& json) {
  if (json.at("schema") != kRecordSchema)
    throw std::runtime_error(
        fmt::format("schema is {}, this program's is {}", json.at("schema").dump(), kRecordSchema));
  UnitRecord record;
  record.key = {json.at("mode"), json.at("window"), json.at("scheme")};
  if (json.at("key") != record.key.str()) throw std::runtime_error("key and fields differ");
  record.protocol = json.at("protocol");
  record.tokens = json.at("tokens");
  record.context = json.at("context");
  record.first_position = json.at("first_position");
  record.targets = json.at("targets");
  record.nll_mean = parse_exact_number(json.at("nll_mean"));
  record.kl_mean = parse_exact_number(json.at("kl_mean"));
  record.kl_p999 = parse_exact_number(json.at("kl_p999"));
  record.kl_max = parse_exact_number(json.at("kl_max"));
  record.same_top = json.at("same_top");
  record.values = json.at("values");
  record.bytes = {parse_bytes(json.at("bytes").at("k")), parse_bytes(json.at("bytes").at("v"))};
  record.nominal = {json.at("nominal_bits").at("k"), json.at("nominal_bits").at("v")};
  record.positions_file = json.at("positions").at("file");
  record.positions_sha256 = json.at("positions").at("sha256");
  if (json.contains("logits")) record.logits = parse_hash(json.at("logits"));
  record.runs = parse_runs(json);
  return record;
}

}  // namespace kvx::eval
