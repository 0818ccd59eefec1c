#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <stdexcept>

#include "eval/bench/record.h"
#include "eval/files.h"
#include "sim/api/error.h"

namespace kvx::bench {
namespace {

Json spread_json(const Spread& spread) {
  return {{"median", spread.median},
          {"p10", spread.p10},
          {"p90", spread.p90},
          {"samples", spread.samples}};
}

Json shape_json(const BenchShape& shape) {
  return {{"q_heads", shape.q_heads},   {"kv_heads", shape.kv_heads},
          {"head_dim", shape.head_dim}, {"sequences", shape.sequences},
          {"tokens", shape.tokens},     {"queries", shape.queries}};
}

Json session_json(const Session& session) {
  Json absent = Json::array();
  for (const Absent& one : session.absent)
    absent.push_back({{"name", one.name}, {"reason", one.reason}});
  return {{"source", session.source},
          {"backend", session.backend},
          {"device", session.device},
          {"read", spread_json(session.read)},
          {"copy", spread_json(session.copy)},
          {"made", session.made},
          {"absent", absent}};
}

Json record_json(const Document& document, const Record& record) {
  Json json{{"session", record.session},
            {"op", op_name(record.op)},
            {"name", record.name},
            {"arithmetic", record.arithmetic},
            {"shape", shape_json(record.shape)},
            {"length", record.length},
            {"bytes", record.bytes},
            {"seconds", spread_json(record.seconds)},
            {"calls", record.calls},
            {"buffers", record.buffers},
            {"cold", record.cold},
            {"clock_mhz", record.clock_mhz}};
  if (!record.model.empty()) json["model"] = record.model;
  json["bits_per_value"] = record.bits ? Json(*record.bits) : Json();
  const auto share = of_read(document, record);
  json["of_read"] = share ? Json(*share) : Json();
  if (record.check)
    json["check"] = {{"against", record.check->against},
                     {"max_abs", record.check->max_abs},
                     {"relative", record.check->relative}};
  return json;
}

// Fields of a document of somebody else's; what is missing, or not what it must be, is named.
class Fields {
 public:
  Fields(const Json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object())
      throw std::runtime_error((where_.empty() ? "it" : where_) + " is no object");
  }
  const Json& at(const char* name) const {
    const auto found = json_.find(name);
    if (found == json_.end()) throw std::runtime_error(path(name) + " is missing");
    return *found;
  }
  Fields object(const char* name) const { return Fields(at(name), path(name)); }
  std::string text(const char* name) const {
    const Json& value = at(name);
    if (!value.is_string()) throw std::runtime_error(path(name) + " is no text");
    const std::string text = value.get<std::string>();
    if (std::any_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20; }))
      throw std::runtime_error(path(name) + " is not one line");
    return text;
  }
  // At most 2^53, so that every reader of JSON agrees on it.
  int64_t integer(const char* name, int64_t least, int64_t most = int64_t{1} << 53) const {
    const Json& value = at(name);
    if (!value.is_number_integer() || value.get<double>() < static_cast<double>(least) ||
        value.get<double>() > static_cast<double>(most))
      throw std::runtime_error(
          fmt::format("{} is {}, no integer from {} to {}", path(name), value.dump(), least, most));
    return value.get<int64_t>();
  }
  double number(const char* name) const {
    const Json& value = at(name);
    if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() < 0)
      throw std::runtime_error(
          fmt::format("{} is {}, no number of at least 0", path(name), value.dump()));
    return value.get<double>();
  }
  const Json& list(const char* name) const {
    const Json& value = at(name);
    if (!value.is_array()) throw std::runtime_error(path(name) + " is no list");
    return value;
  }
  bool has(const char* name) const { return json_.contains(name) && !json_.at(name).is_null(); }
  std::string path(const char* name) const { return where_.empty() ? name : where_ + "." + name; }

 private:
  const Json& json_;
  std::string where_;
};

// Of seconds and of bytes per second.
constexpr double kLeastMeasure = 1e-15, kMostMeasure = 1e18;

Spread parse_spread(const Fields& fields, const char* name) {
  const Fields of = fields.object(name);
  const Spread spread{.median = of.number("median"),
                      .p10 = of.number("p10"),
                      .p90 = of.number("p90"),
                      .samples = of.integer("samples", 1)};
  if (!(spread.p10 >= kLeastMeasure && spread.p10 <= spread.median && spread.median <= spread.p90 &&
        spread.p90 <= kMostMeasure))
    throw std::runtime_error(fmt::format("{}: not {:g} <= p10 <= median <= p90 <= {:g}",
                                         fields.path(name), kLeastMeasure, kMostMeasure));
  return spread;
}

BenchShape parse_shape(const Fields& fields) {
  constexpr int64_t kMost = int64_t{1} << 31;
  const auto small = [&](const char* name) {
    return static_cast<int>(fields.integer(name, 1, 65536));
  };
  return {.q_heads = small("q_heads"),
          .kv_heads = small("kv_heads"),
          .head_dim = small("head_dim"),
          .sequences = fields.integer("sequences", 1, kMost),
          .tokens = fields.integer("tokens", 1, kMost),
          .queries = fields.integer("queries", 1, kMost)};
}

Session parse_session(const Fields& fields) {
  Session session{.source = fields.text("source"),
                  .backend = fields.text("backend"),
                  .device = fields.text("device"),
                  .read = parse_spread(fields, "read"),
                  .copy = parse_spread(fields, "copy"),
                  .made = fields.at("made"),
                  .absent = {}};
  for (const Json& one : fields.list("absent")) {
    const Fields of(one, fields.path("absent"));
    session.absent.push_back({of.text("name"), of.text("reason")});
  }
  return session;
}

Record parse_record(const Fields& fields, size_t sessions) {
  Record record;
  record.session = static_cast<size_t>(fields.integer("session", 0));
  if (record.session >= sessions)
    throw std::runtime_error(
        fmt::format("{} is {}, there are {}", fields.path("session"), record.session, sessions));
  const auto op = find_op(fields.text("op"));
  if (!op) throw std::runtime_error(fmt::format("{} is {}", fields.path("op"), fields.text("op")));
  record.op = *op;
  record.name = fields.text("name");
  record.arithmetic = fields.text("arithmetic");
  if (record.op == BenchOp::kDecode) record.model = fields.text("model");
  record.shape = parse_shape(fields.object("shape"));
  record.length = fields.integer("length", 1);
  record.bytes = fields.integer("bytes", 1);
  if (fields.has("bits_per_value")) record.bits = fields.number("bits_per_value");
  record.seconds = parse_spread(fields, "seconds");
  record.calls = fields.integer("calls", 1);
  record.buffers = fields.integer("buffers", 1);
  if (!fields.at("cold").is_boolean())
    throw std::runtime_error(fields.path("cold") + " is no true or false");
  record.cold = fields.at("cold").get<bool>();
  record.clock_mhz = fields.number("clock_mhz");
  if (fields.has("check")) {
    const Fields of = fields.object("check");
    record.check = {of.text("against"), of.number("max_abs"), of.number("relative")};
  }
  return record;
}

}  // namespace

Json document_json(const Document& document) {
  Json json{{"schema", kBenchSchema}, {"sessions", Json::array()}, {"records", Json::array()}};
  for (const Session& session : document.sessions)
    json["sessions"].push_back(session_json(session));
  for (const Record& record : document.records)
    json["records"].push_back(record_json(document, record));
  return json;
}

Document parse_document(const Json& json, const std::string& file) {
  try {
    const Fields fields(json, "");
    if (fields.text("schema") != kBenchSchema)
      throw std::runtime_error("schema is " + fields.text("schema"));
    Document document;
    for (const Json& one : fields.list("sessions"))
      document.sessions.push_back(
          parse_session(Fields(one, fmt::format("sessions[{}]", document.sessions.size()))));
    for (const Json& one : fields.list("records"))
      document.records.push_back(
          parse_record(Fields(one, fmt::format("records[{}]", document.records.size())),
                       document.sessions.size()));
    return document;
  } catch (const std::exception& error) {
    throw environment_error(fmt::format("{}: {}", file, error.what()));
  }
}

Document read_document(const std::string& path) {
  std::error_code ignored;
  const std::string file =
      std::filesystem::is_directory(path, ignored) ? path + "/" + kBenchFile : path;
  const std::string text = eval::read_file(file);
  Json json;
  try {
    json = Json::parse(text);
  } catch (const std::exception& error) {
    throw environment_error(fmt::format("{}: {}", file, error.what()));
  }
  return parse_document(json, file);
}

}  // namespace kvx::bench
