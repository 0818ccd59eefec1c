// The summary as a table for people, as CSV and as JSON.
#include <fmt/core.h>

#include <cmath>
#include <filesystem>

#include "eval/backend.h"
#include "eval/summary.h"
#include "eval/text_table.h"

namespace kvx::eval {
namespace {

std::string interval_text(const std::optional<Interval>& interval) {
  return interval ? fmt::format("[{:+.4f}, {:+.4f}]", interval->low, interval->high) : "-";
}

std::vector<std::string> table_row(const SchemeRow& row, Protocol protocol) {
  std::vector<std::string> cells{row.label, fmt::format("{:.3f}", row.bits),
                                 fmt::format("{:g}/{:g}", row.nominal_k, row.nominal_v),
                                 fmt::format("{:.4f}", row.ppl)};
  if (protocol == Protocol::kLlamaCpp) cells.back() += fmt::format(" ± {:.5f}", row.ppl_error);
  if (row.base) {
    cells.insert(cells.end(), {"base", "", "", "", "", ""});
  } else {
    cells.insert(cells.end(),
                 {fmt::format("{:+.4f}", row.delta_ppl), interval_text(row.delta_ppl_interval),
                  fmt::format("{:#.3g}", row.kl_mean), fmt::format("{:#.3g}", row.kl_p999),
                  fmt::format("{:#.3g}", row.kl_max), fmt::format("{:.2f}", 100 * row.same_top)});
  }
  cells.push_back(fmt::format("{:.0f}", row.tokens_per_second));
  return cells;
}

std::string context_text(const std::string& mode, const Json& identity) {
  const bool has_context = mode == "prefill-exact" || mode == "context-exact";
  return has_context ? fmt::format(" after {}", identity.at("context").get<int64_t>()) : "";
}

std::string bos_text(const Summary& summary) {
  if (!ppl_identity(summary.run).at("bos").get<bool>()) return "not added";
  return summary.protocol == Protocol::kGptq ? "at the start of the text"
                                             : "at the start of every window";
}

// Empty where the CPU alone computed everything.
std::string backends_text(const Backends& backends) {
  if (backends.by_name.size() == 1 && backends.by_name.begin()->first == kCpu) return "";
  std::string text = "\n";
  for (const auto& [name, units] : backends.by_name)
    text += fmt::format("{}: {} of {} units{}", name, units, backends.units,
                        name == backends.by_name.rbegin()->first ? "\n" : ", ");
  if (backends.equal > 0)
    text += fmt::format(
        "equality: {} units on both, every logit and every likelihood equal to the last bit\n",
        backends.equal);
  const ShadowCount& shadow = backends.shadow;
  if (shadow.cache > 0)
    text += fmt::format(
        "shadow: recomputed by the reference E0 {}, E1 {}, E2 {} values, {} mismatches\n",
        thousands(shadow.cache), thousands(shadow.decoded), thousands(shadow.attention),
        thousands(shadow.mismatches));
  return text;
}

Json backends_json(const Backends& backends) {
  Json json{{"units", backends.units}, {"by_name", backends.by_name}, {"equal", backends.equal}};
  json["shadow"] = shadow_json(backends.shadow);
  return json;
}

Json interval_json(const std::optional<Interval>& interval) {
  if (!interval) return nullptr;
  return {{"low", exact_number(interval->low)}, {"high", exact_number(interval->high)}};
}

}  // namespace

std::string summary_table(const Summary& summary) {
  const Json& run = summary.run;
  const Json& identity = ppl_identity(run);
  std::string text;
  for (const ModeSummary& mode : summary.modes) {
    text += fmt::format("{}model   {}\n", text.empty() ? "" : "\n",
                        run.at("model").at("path").get<std::string>());
    text += fmt::format("text    {}\n", run.at("data").at("path").get<std::string>());
    text += fmt::format("mode    {}{}, L {}, {} windows, {} targets, BOS {}\n\n", mode.mode,
                        context_text(mode.mode, identity), identity.at("length").get<int64_t>(),
                        summary.windows, thousands(mode.rows.front().targets), bos_text(summary));
    std::vector<std::vector<std::string>> rows{{"scheme", "bits/value", "nominal", "ppl", "delta",
                                                "95 %", "KL mean", "99.9 %", "max", "top-1 %",
                                                "tok/s"}};
    for (const SchemeRow& row : mode.rows) rows.push_back(table_row(row, summary.protocol));
    text += align_columns(rows, 1);
    text += backends_text(mode.backends);
  }
  return text;
}

std::string summary_csv(const Summary& summary) {
  std::string text =
      "mode,scheme,windows,targets,bits,bits_k,bits_v,nominal_k,nominal_v,nll,ppl,"
      "ppl_error,delta_ppl,"
      "delta_ppl_low,delta_ppl_high,kl_mean,kl_p999,kl_max,same_top,tokens_per_second\n";
  for (const ModeSummary& mode : summary.modes) {
    for (const SchemeRow& row : mode.rows) {
      const auto bounds = row.delta_ppl_interval ? fmt::format("{},{}", row.delta_ppl_interval->low,
                                                               row.delta_ppl_interval->high)
                                                 : std::string(",");
      text += fmt::format("{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n", mode.mode,
                          csv_quoted(row.scheme), summary.windows, row.targets, row.bits,
                          row.bits_k, row.bits_v, row.nominal_k, row.nominal_v, row.nll, row.ppl,
                          row.ppl_error, row.delta_ppl, bounds, row.kl_mean, row.kl_p999,
                          row.kl_max, row.same_top, row.tokens_per_second);
    }
  }
  return text;
}

Json summary_json(const Summary& summary) {
  Json json;
  json["schema"] = "kvx-summary/2";
  json["run"] = summary.run;
  json["windows"] = summary.windows;
  json["modes"] = Json::array();
  for (const ModeSummary& mode : summary.modes) {
    Json rows = Json::array();
    for (const SchemeRow& row : mode.rows) {
      Json item;
      item["scheme"] = row.scheme;
      item["label"] = row.label;
      item["base"] = row.base;
      item["targets"] = row.targets;
      item["bits_per_value"] = {{"k", row.bits_k}, {"v", row.bits_v}, {"kv", row.bits}};
      item["nominal_bits"] = {{"k", row.nominal_k}, {"v", row.nominal_v}};
      item["nll"] = exact_number(row.nll);
      item["ppl"] = exact_number(row.ppl);
      item["ppl_error"] = exact_number(row.ppl_error);
      item["delta_ppl"] = exact_number(row.delta_ppl);
      item["delta_ppl_interval"] = interval_json(row.delta_ppl_interval);
      item["delta_nll_interval"] = interval_json(row.delta_nll_interval);
      item["kl_mean"] = exact_number(row.kl_mean);
      item["kl_p999"] = exact_number(row.kl_p999);
      item["kl_max"] = exact_number(row.kl_max);
      item["same_top"] = exact_number(row.same_top);
      item["divergence"] = Json::object();
      for (const Scope& scope : row.scopes)
        item["divergence"][scope.name] = divergence_json(scope.divergence);
      item["bins"] = bins_json(row.bins);
      item["timing"] = {{"tokens_per_second", row.tokens_per_second}};
      rows.push_back(std::move(item));
    }
    json["modes"].push_back({{"mode", mode.mode},
                             {"rows", std::move(rows)},
                             {"backends", backends_json(mode.backends)}});
  }
  return json;
}

}  // namespace kvx::eval
