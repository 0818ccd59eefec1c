#include "eval/report/merge.h"
#include "eval/reproduce/result_text.h"

namespace kvx::reproduce {
namespace {

using eval::exact_number;
using eval::Json;

Json interval_json(const std::optional<eval::Interval>& interval) {
  if (!interval) return nullptr;
  return {{"low", exact_number(interval->low)}, {"high", exact_number(interval->high)}};
}

Json row_json(const ResultTable& table, const ResultRow& row) {
  Json paper = Json::object(), values = Json::object();
  for (const auto& [column, one] : row.row.paper)
    paper[column] = {{"value", one.value}, {"reference", one.reference}};
  for (size_t i = 0; i < row.values.size(); ++i) {
    const Measured& measured = row.values[i];
    values[table.table.metrics[i].str()] = {
        {"value", exact_number(measured.value)},
        {"delta", measured.delta ? exact_number(*measured.delta) : Json()},
        {"delta_interval", interval_json(measured.interval)}};
  }
  return {{"id", row.row.id},
          {"label", row.row.label},
          {"scheme", row.scheme},
          {"bits_per_value", {{"k", row.sides[0]}, {"v", row.sides[1]}, {"kv", row.bits}}},
          {"paper_bits", row.row.bits},
          {"paper", paper},
          {"measured", values}};
}

Json table_json(const ResultTable& table) {
  Json columns = Json::array(), rows = Json::array();
  for (const PaperColumn& column : table.table.columns)
    columns.push_back(
        {{"id", column.id}, {"title", column.title}, {"reference", column.reference}});
  for (const ResultRow& row : table.rows) rows.push_back(row_json(table, row));
  return {{"title", table.table.title},
          {"note", table.table.note},
          {"columns", columns},
          {"rows", rows}};
}

Json claim_json(const Judgement& judgement) {
  static constexpr const char* kKinds[] = {"ordering", "bound", "ladder"};
  const Claim& claim = judgement.claim;
  Json steps = Json::array();
  for (const Step& step : judgement.steps)
    steps.push_back({{"subject", step.subject},
                     {"base", step.base},
                     {"windows", step.units},
                     {"larger_by", exact_number(step.value)},
                     {"interval", interval_json(step.interval)},
                     {"allowed", step.limit},
                     {"verdict", verdict_name(step.verdict)}});
  return {{"claim", kKinds[static_cast<size_t>(claim.kind)]},
          {"text", claim.text},
          {"reference", claim.reference},
          {"metric", claim.metric.str()},
          {"relative", claim.relative},
          {"verdict", verdict_name(judgement.verdict)},
          {"steps", steps}};
}

}  // namespace

Json result_json(const Result& result) {
  const Recipe& recipe = result.recipe;
  const RecipeProtocol& protocol = result.protocol;
  const report::Model& model = result.section().model;
  Json tables = Json::array(), claims = Json::array();
  for (const ResultTable& table : result.tables) tables.push_back(table_json(table));
  for (const Judgement& judgement : result.judgements) claims.push_back(claim_json(judgement));
  return {{"schema", "kvx-reproduce/1"},
          {"recipe", {{"name", recipe.name}, {"title", recipe.title}, {"sha256", recipe.sha256}}},
          {"paper",
           {{"citation", recipe.citation}, {"arxiv", recipe.arxiv}, {"sections", recipe.sections}}},
          {"notes", recipe.notes},
          {"protocol",
           {{"tasks", protocol.tasks},
            {"modes", protocol.modes},
            {"length", protocol.length},
            {"windows", protocol.windows},
            {"error_windows", protocol.error_windows}}},
          {"model", model.header.at("model")},
          {"identity", model.identity},
          {"seed", result.seed},
          {"verdicts",
           {{"held", result.count(Verdict::kHeld)},
            {"not_held", result.count(Verdict::kNotHeld)},
            {"not_distinguishable", result.count(Verdict::kNotDistinguishable)}}},
          {"tables", tables},
          {"claims", claims}};
}

}  // namespace kvx::reproduce
