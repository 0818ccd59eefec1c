#include "eval/error_table.h"

#include <fmt/core.h>

#include <vector>

#include "eval/backend.h"
#include "eval/stats.h"
#include "eval/text_table.h"
#include "sim/api/descriptor.h"

namespace kvx::eval {
namespace {

const Json& part(const Json& run, const char* name) {
  return run.at(name).at(task_name(kErrorTask));
}

// The base first.
std::vector<std::string> schemes_of(const Json& run) {
  std::vector<std::string> schemes{Descriptor::parse(kBaseScheme).versioned()};
  for (const std::string scheme : run.at("schemes"))
    if (scheme != schemes.front()) schemes.push_back(scheme);
  return schemes;
}

std::vector<const ErrorRecord*> find_all(const RunFolder& folder, const std::string& mode,
                                         const std::string& scheme, int64_t windows) {
  std::vector<const ErrorRecord*> records;
  for (int64_t window = 0; window < windows; ++window)
    if (const ErrorRecord* record = folder.find_error(error_key(mode, window, scheme)))
      records.push_back(record);
  return records;
}

std::string mean_text(const std::vector<const ErrorRecord*>& records, double LayerErrors::*value) {
  std::vector<double> values;
  for (const ErrorRecord* record : records)
    for (const LayerErrors& layer : record->layers) values.push_back(layer.*value);
  const double all = mean(values);
  return all == 0 ? "0" : fmt::format("{:#.3g}", all);
}

std::vector<std::string> table_row(const std::vector<const ErrorRecord*>& records) {
  int64_t bytes = 0, values = 0;
  double worst = 0;
  size_t worst_layer = 0;
  for (const ErrorRecord* record : records) {
    bytes += record->bytes[0].total() + record->bytes[1].total();
    values += 2 * record->values;
    for (size_t layer = 0; layer < record->layers.size(); ++layer)
      if (record->layers[layer].out > worst) {
        worst = record->layers[layer].out;
        worst_layer = layer;
      }
  }
  const ErrorRecord& first = *records.front();
  return {scheme_label(first.key.scheme),
          fmt::format("{:.3f}", 8.0 * static_cast<double>(bytes) / static_cast<double>(values)),
          fmt::format("{:g}/{:g}", first.nominal[0], first.nominal[1]),
          mean_text(records, &LayerErrors::k),
          mean_text(records, &LayerErrors::v),
          mean_text(records, &LayerErrors::weights),
          mean_text(records, &LayerErrors::out),
          worst > 0 ? fmt::format("{:#.3g}", worst) : "-",
          worst > 0 ? fmt::format("{}", worst_layer) : "-"};
}

}  // namespace

std::string error_table(const RunFolder& folder, int64_t windows, const Note& note) {
  const Json& run = folder.header();
  std::string text;
  for (const std::string mode : part(run, "measured").at("modes")) {
    std::vector<std::vector<std::string>> rows{
        {"scheme", "bits/value", "nominal", "K", "V", "weights", "output", "worst", "layer"}};
    for (const std::string& scheme : schemes_of(run)) {
      const std::vector<const ErrorRecord*> records = find_all(folder, mode, scheme, windows);
      if (std::ssize(records) == windows) {
        rows.push_back(table_row(records));
      } else {
        note(fmt::format("error: {} in mode {} has {} of {} windows: left out of the table", scheme,
                         mode, records.size(), windows));
      }
    }
    text += fmt::format(
        "{}model   {}\nmode    {}, L {}, {} {}; relative errors by layer, their means\n\n",
        text.empty() ? "" : "\n", run.at("model").at("path").get<std::string>(), mode,
        part(run, "tasks").at("length").get<int64_t>(), windows,
        windows == 1 ? "window" : "windows");
    text += align_columns(rows, 1);
  }
  return text;
}

std::string error_csv(const RunFolder& folder) {
  const Json& measured = part(folder.header(), "measured");
  std::string text = "mode,scheme,window,layer,k,v,weights,out\n";
  for (const std::string mode : measured.at("modes"))
    for (const std::string& scheme : schemes_of(folder.header()))
      for (const ErrorRecord* record : find_all(folder, mode, scheme, measured.at("windows")))
        for (size_t layer = 0; layer < record->layers.size(); ++layer) {
          const LayerErrors& errors = record->layers[layer];
          text += fmt::format("{},{},{},{},{},{},{},{}\n", mode, csv_quoted(scheme), record->window,
                              layer, errors.k, errors.v, errors.weights, errors.out);
        }
  return text;
}

}  // namespace kvx::eval
