#include "eval/summary.h"

#include <fmt/core.h>

#include <cmath>
#include <functional>

#include "eval/ppl.h"

namespace kvx::eval {
namespace {

double exp_difference(double nll, double base_nll) { return std::exp(nll) - std::exp(base_nll); }

// The row's records, empty if a window is missing.
std::vector<const WindowRecord*> find_all(const RunFolder& folder, const std::string& mode,
                                          const std::string& scheme, int64_t windows) {
  std::vector<const WindowRecord*> records;
  for (int64_t window = 0; window < windows; ++window)
    if (const WindowRecord* record = folder.find_window(window_key(mode, window, scheme)))
      records.push_back(record);
  return records;
}

std::vector<double> window_means(const std::vector<const WindowRecord*>& records) {
  std::vector<double> means;
  for (const WindowRecord* record : records) means.push_back(record->nll_mean);
  return means;
}

// Of all windows, one after the other.
PositionScores pool(const RunFolder& folder, const std::vector<const WindowRecord*>& records) {
  PositionScores all;
  for (const WindowRecord* record : records) {
    const PositionScores one = folder.positions(*record);
    all.nll.insert(all.nll.end(), one.nll.begin(), one.nll.end());
    all.kl.insert(all.kl.end(), one.kl.begin(), one.kl.end());
    all.same_top.insert(all.same_top.end(), one.same_top.begin(), one.same_top.end());
  }
  return all;
}

SchemeRow summarise_scheme(const std::vector<const WindowRecord*>& records,
                           const PositionScores& scores, Protocol protocol) {
  SchemeRow row;
  row.scheme = records.front()->key.scheme;
  row.label = scheme_label(row.scheme);
  int64_t bytes_k = 0, bytes_v = 0, values = 0, tokens = 0, same_top = 0;
  double seconds = 0;
  std::vector<double> kl_means;
  for (const WindowRecord* record : records) {
    row.targets += record->targets;
    bytes_k += record->bytes[0].total();
    bytes_v += record->bytes[1].total();
    values += record->values;
    tokens += record->tokens;
    same_top += record->same_top;
    seconds += record->seconds();
    kl_means.push_back(record->kl_mean);
  }
  row.bits_k = 8.0 * static_cast<double>(bytes_k) / static_cast<double>(values);
  row.bits_v = 8.0 * static_cast<double>(bytes_v) / static_cast<double>(values);
  row.bits = 4.0 * static_cast<double>(bytes_k + bytes_v) / static_cast<double>(values);
  row.nominal_k = records.front()->nominal[0];
  row.nominal_v = records.front()->nominal[1];
  const bool pooled = protocol == Protocol::kLlamaCpp;
  row.nll = mean(pooled ? scores.nll : window_means(records));
  row.ppl = std::exp(row.nll);
  row.ppl_error = perplexity(scores.nll).error;
  row.kl_mean = mean(pooled ? scores.kl : kl_means);
  row.kl_p999 = percentile(scores.kl, 0.999);
  row.kl_max = percentile(scores.kl, 1.0);
  row.same_top = static_cast<double>(same_top) / static_cast<double>(row.targets);
  row.tokens_per_second = static_cast<double>(tokens) / seconds;
  return row;
}

void add_backends(const std::vector<const WindowRecord*>& records, Backends& backends) {
  for (const WindowRecord* record : records) {
    ++backends.units;
    if (record->runs.size() > 1) ++backends.equal;
    for (const BackendRun& run : record->runs) {
      ++backends.by_name[run.backend];
      if (run.shadow) backends.shadow += *run.shadow;
    }
  }
}

// The scores of the positions from `first` on, of windows with `per_window` scores each.
std::vector<double> from_position(const std::vector<double>& scores, int64_t first,
                                  int64_t per_window) {
  std::vector<double> kept;
  for (size_t i = 0; i < scores.size(); ++i)
    if (static_cast<int64_t>(i) % per_window >= first) kept.push_back(scores[i]);
  return kept;
}

std::vector<Scope> scopes_of(const PositionScores& scores, const PositionScores& base,
                             const WindowRecord& record) {
  std::vector<Scope> scopes;
  const int64_t first = record.tokens / 2 - record.first_position, n = record.targets;
  if (first > 0)
    scopes.push_back({"scored", divergence(scores.nll, base.nll, scores.kl, scores.same_top)});
  if (first < n)
    scopes.push_back(
        {"half",
         divergence(from_position(scores.nll, first, n), from_position(base.nll, first, n),
                    from_position(scores.kl, first, n), from_position(scores.same_top, first, n))});
  return scopes;
}

}  // namespace

Summary summarise(const RunFolder& folder, const Cut& cut, int64_t windows, int64_t bins,
                  const Note& note) {
  Summary summary{folder.header(), cut.protocol, windows, {}};
  const uint64_t seed = summary.run.at("seed");
  const std::string base_scheme = Descriptor::parse(kBaseScheme).versioned();
  std::vector<std::string> schemes{base_scheme};
  for (const std::string scheme : summary.run.at("schemes"))
    if (scheme != base_scheme) schemes.push_back(scheme);
  const std::string task = task_name(kPplTask);
  for (const std::string mode : summary.run.at("measured").at(task).at("modes")) {
    ModeSummary out{mode, {}, {}};
    std::vector<double> base_means;
    PositionScores base;
    for (const std::string& scheme : schemes) {
      const auto records = find_all(folder, mode, scheme, windows);
      if (static_cast<int64_t>(records.size()) != windows) {
        note(fmt::format("{} in mode {} has {} of {} windows: left out of the table", scheme, mode,
                         records.size(), windows));
        if (scheme == base_scheme) break;
        continue;
      }
      const WindowRecord& first = *records.front();
      const PositionScores scores = pool(folder, records);
      SchemeRow row = summarise_scheme(records, scores, cut.protocol);
      row.base = scheme == base_scheme;
      const std::vector<double> means = window_means(records);
      if (row.base) {
        base_means = means;
        base = scores;
      } else {
        row.delta_ppl = row.ppl - out.rows.front().ppl;
        row.delta_ppl_interval = paired_bootstrap(means, base_means, seed, exp_difference);
        row.delta_nll_interval = paired_bootstrap(means, base_means, seed, std::minus<double>());
        row.scopes = scopes_of(scores, base, first);
      }
      row.bins = position_bins(scores, base, first.first_position, first.targets, cut.length, bins);
      out.rows.push_back(std::move(row));
      add_backends(records, out.backends);
    }
    if (!out.rows.empty()) summary.modes.push_back(std::move(out));
  }
  return summary;
}

}  // namespace kvx::eval
