#include "eval/window_record.h"

#include <algorithm>
#include <stdexcept>

#include "eval/stats.h"

namespace kvx::eval {

const Json& ppl_identity(const Json& run) { return run.at("tasks").at(task_name(kPplTask)); }

UnitKey window_key(const std::string& mode, int64_t window, const std::string& scheme) {
  return {kPplTask, mode, std::to_string(window), scheme};
}

void WindowRecord::summarise(const PositionScores& scores) {
  targets = static_cast<int64_t>(scores.nll.size());
  nll_mean = mean(scores.nll);
  kl_mean = mean(scores.kl);
  kl_p999 = percentile(scores.kl, 0.999);
  kl_max = percentile(scores.kl, 1.0);
  same_top = std::count(scores.same_top.begin(), scores.same_top.end(), 1.0);
}

Json to_json(const WindowRecord& record) {
  Json json;
  json["schema"] = kWindowSchema;
  add_unit(record, json);
  json["protocol"] = record.protocol;
  json["window"] = record.window;
  json["context"] = record.context;
  json["first_position"] = record.first_position;
  json["targets"] = record.targets;
  json["nll_mean"] = exact_number(record.nll_mean);
  json["kl_mean"] = exact_number(record.kl_mean);
  json["kl_p999"] = exact_number(record.kl_p999);
  json["kl_max"] = exact_number(record.kl_max);
  json["same_top"] = record.same_top;
  json["positions"] = {{"file", record.positions_file}, {"sha256", record.positions_sha256}};
  return json;
}

WindowRecord parse_window_record(const Json& json) {
  WindowRecord record;
  read_unit(json, record);
  record.window = json.at("window");
  record.key.item = std::to_string(record.window);
  record.protocol = json.at("protocol");
  record.context = json.at("context");
  record.first_position = json.at("first_position");
  record.targets = json.at("targets");
  record.nll_mean = parse_exact_number(json.at("nll_mean"));
  record.kl_mean = parse_exact_number(json.at("kl_mean"));
  record.kl_p999 = parse_exact_number(json.at("kl_p999"));
  record.kl_max = parse_exact_number(json.at("kl_max"));
  record.same_top = json.at("same_top");
  record.positions_file = json.at("positions").at("file");
  record.positions_sha256 = json.at("positions").at("sha256");
  return record;
}

}  // namespace kvx::eval
