#include "eval/error_record.h"

namespace kvx::eval {

UnitKey error_key(const std::string& mode, int64_t window, const std::string& scheme) {
  return {kErrorTask, mode, std::to_string(window), scheme};
}

Json to_json(const ErrorRecord& record) {
  Json json;
  json["schema"] = kErrorSchema;
  add_unit(record, json);
  json["window"] = record.window;
  json["layers"] = Json::array();
  for (const LayerErrors& layer : record.layers)
    json["layers"].push_back({{"k", exact_number(layer.k)},
                              {"v", exact_number(layer.v)},
                              {"weights", exact_number(layer.weights)},
                              {"out", exact_number(layer.out)}});
  return json;
}

ErrorRecord parse_error_record(const Json& json) {
  ErrorRecord record;
  read_unit(json, record);
  record.window = json.at("window");
  record.key.item = std::to_string(record.window);
  for (const Json& layer : json.at("layers"))
    record.layers.push_back({parse_exact_number(layer.at("k")), parse_exact_number(layer.at("v")),
                             parse_exact_number(layer.at("weights")),
                             parse_exact_number(layer.at("out"))});
  return record;
}

}  // namespace kvx::eval
