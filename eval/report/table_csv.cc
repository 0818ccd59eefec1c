#include "eval/report/table_csv.h"

#include <fmt/core.h>

#include "eval/text_table.h"

namespace kvx::report {
namespace {

std::string bounds(const std::optional<Interval>& interval) {
  return interval ? fmt::format("{},{}", interval->low, interval->high) : ",";
}

std::string optional_text(const std::optional<double>& value) {
  return value ? fmt::format("{}", *value) : "";
}

const char* metric_of(Kind kind) {
  return kind == Kind::kWindows ? "ppl" : kind == Kind::kSamples ? "score" : "out_error";
}

// A reading; of tasks without any an unnamed one.
std::string line(const Model& model, const Table& table, const Row& row,
                 const ReadingScore& reading, bool first) {
  const bool windows = table.kind == Kind::kWindows, paired = first && row.delta && !row.base;
  const bool tested = paired && table.kind == Kind::kSamples;
  return fmt::format(
      "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
      model.identity.at("model_sha256").get<std::string>(), table.task, table.mode,
      eval::csv_quoted(row.scheme), row.units, table.units, table.kept() ? 1 : 0, row.bits(),
      row.bits(0), row.bits(1), row.nominal[0], row.nominal[1], metric_of(table.kind),
      reading.filter, reading.value, bounds(reading.interval),
      paired ? optional_text(row.delta) : "", paired ? bounds(row.delta_interval) : ",",
      tested ? fmt::format("{}", row.lost) : "", tested ? fmt::format("{}", row.gained) : "",
      tested ? optional_text(row.p) : "", windows ? fmt::format("{}", row.kl_mean) : "",
      windows ? bounds(row.kl_interval) : ",", windows ? fmt::format("{}", row.same_top) : "",
      row.tokens_per_second.empty() ? ""
                                    : fmt::format("{}", row.tokens_per_second.begin()->second));
}

}  // namespace

std::string csv_head() {
  return "model_sha256,task,mode,scheme,units,of,kept,bits,bits_k,bits_v,nominal_k,nominal_v,"
         "metric,reading,value,low,high,delta,delta_low,delta_high,lost,gained,p,kl_mean,kl_low,"
         "kl_high,same_top,tokens_per_second\n";
}

std::string csv_lines(const Model& model, const std::vector<Table>& tables) {
  std::string text;
  for (const Table& table : tables)
    for (const Row& row : table.rows) {
      if (row.readings.empty())
        text += line(model, table, row, {"", row.value, row.interval}, true);
      for (size_t i = 0; i < row.readings.size(); ++i)
        text += line(model, table, row, row.readings[i], i == 0);
    }
  return text;
}

}  // namespace kvx::report
