#include "eval/report/compare.h"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <set>

#include "eval/report/pairs.h"

namespace kvx::report {
namespace {

constexpr double kSignificant = 0.05;

// The machines on which a backend ran, as the sessions say.
std::set<std::string> machines(const Model& model, const std::string& backend) {
  std::set<std::string> found;
  for (const auto& run : model.runs)
    for (const Json& session : run->header.at("sessions")) {
      if (!session.is_object() || !session.contains("host")) continue;
      // Sessions of earlier programs say nothing of backends: there was one.
      const Json used = session.value("backends", Json::array({"cpu"}));
      if (std::find(used.begin(), used.end(), Json(backend)) == used.end()) continue;
      std::string machine = session.at("host").dump();
      if (backend != "cpu") machine += session.value("device", Json()).dump();
      found.insert(machine);
    }
  return found;
}

struct Sums {
  double tokens = 0, before = 0, after = 0;  // seconds
};

void add_speed(const Unit& after, const Unit& before, std::map<std::string, Sums>& sums) {
  for (const eval::BackendRun& run : after.runs)
    for (const eval::BackendRun& other : before.runs)
      if (run.backend == other.backend) {
        Sums& sum = sums[run.backend];
        sum.tokens += static_cast<double>(after.tokens);
        sum.after += run.seconds;
        sum.before += other.seconds;
      }
}

// Equality, counted bits and speed over the common units.
void compare_units(const Series& after, const Series& before, const Model& model,
                   const Model& base_model, Change& change) {
  std::map<std::string, Sums> sums;
  double bytes = 0, base_bytes = 0, values = 0, base_values = 0;
  const auto total = [](const Unit& unit) {
    return static_cast<double>(unit.bytes[0].total() + unit.bytes[1].total());
  };
  for (const auto& [name, unit] : after.units) {
    const auto other = before.units.find(name);
    if (other == before.units.end()) continue;
    ++change.units;
    change.equal += same_content(*unit, *other->second) ? 1 : 0;
    bytes += total(*unit);
    base_bytes += total(*other->second);
    values += static_cast<double>(unit->values);
    base_values += static_cast<double>(other->second->values);
    add_speed(*unit, *other->second, sums);
  }
  change.bits_after = 4 * bytes / values;
  change.bits_before = 4 * base_bytes / base_values;
  for (const auto& [backend, sum] : sums) {
    const auto here = machines(model, backend), there = machines(base_model, backend);
    change.speeds.push_back({backend, sum.tokens / sum.before, sum.tokens / sum.after,
                             here.size() == 1 && here == there});
  }
}

void compare_values(const Series& after, const Series& before, uint64_t seed, Change& change) {
  if (change.kind == Kind::kSamples) {
    const Pairs pairs = pair_values(after, before, sample_score);
    const SampleDifference difference = compare_samples(pairs, seed);
    change.before = eval::mean(pairs.base);
    change.after = eval::mean(pairs.subject);
    change.interval = difference.interval;
    change.p = difference.p;
    return;
  }
  const bool windows = change.kind == Kind::kWindows;
  const Pairs pairs = pair_values(after, before, windows ? window_nll : mean_output_error);
  change.before = eval::mean(pairs.base);
  change.after = eval::mean(pairs.subject);
  if (windows) {
    change.before = std::exp(change.before);
    change.after = std::exp(change.after);
    change.interval =
        eval::paired_bootstrap(pairs.subject, pairs.base, seed, perplexity_difference);
  } else {
    change.interval = eval::paired_bootstrap(pairs.subject, pairs.base, seed, std::minus<double>());
  }
}

bool significant(const Change& change) {
  if (change.equal == change.units) return false;
  if (change.p) return *change.p < kSignificant;
  return change.interval && (change.interval->low > 0 || change.interval->high < 0);
}

const char* value_name(Kind kind) {
  return kind == Kind::kWindows   ? "perplexity"
         : kind == Kind::kSamples ? "mean score"
                                  : "error of attention";
}

// Says which changes are certain, and which of them are for the worse.
void judge(Change& change) {
  if (significant(change)) {
    const bool more = change.after > change.before;
    const bool worse = more != (change.kind == Kind::kSamples);
    (worse ? change.regressions : change.others)
        .push_back(fmt::format("{} {:.6g} -> {:.6g}", value_name(change.kind), change.before,
                               change.after));
  }
  if (std::isfinite(change.before) && !std::isfinite(change.after))
    change.regressions.push_back(
        fmt::format("{} {:.6g} -> {}", value_name(change.kind), change.before, change.after));
  if (change.bits_after != change.bits_before)
    (change.bits_after > change.bits_before ? change.regressions : change.others)
        .push_back(
            fmt::format("bits per value {:.6g} -> {:.6g}", change.bits_before, change.bits_after));
  for (const Speed& speed : change.speeds) {
    const double ratio = speed.after / speed.before;
    if (std::abs(ratio - 1) <= kSpeedTolerance) continue;
    const bool worse = ratio < 1 && speed.same_machine;
    (worse ? change.regressions : change.others)
        .push_back(fmt::format("{} {:.3g} times as fast{}", speed.backend, ratio,
                               speed.same_machine ? "" : " (not known to be the same machine)"));
  }
}

nlohmann::json without_version(nlohmann::json identity) {
  identity.erase("task");
  return identity;
}

const Task* find_task(const Model& model, const Task& like) {
  for (const Task& task : model.tasks)
    if (task.name == like.name && without_version(task.identity) == without_version(like.identity))
      return &task;
  return nullptr;
}

const Series* find_series(const Task* task, const std::string& mode, const Series& like) {
  if (task == nullptr || !task->modes.contains(mode)) return nullptr;
  for (const Series& series : task->modes.at(mode))
    if (eval::scheme_label(series.scheme) == eval::scheme_label(like.scheme)) return &series;
  return nullptr;
}

bool common_units(const Series& a, const Series& b) {
  return std::any_of(a.units.begin(), a.units.end(),
                     [&](const auto& unit) { return b.units.contains(unit.first); });
}

// Calls `use` with every series of the first and its counterpart, nullptr where there is none.
void each_series(
    const std::vector<Model>& models, const std::vector<Model>& others,
    const std::function<void(const Model&, const Model*, const Task&, const std::string& mode,
                             const Series&, const Series*)>& use) {
  for (const Model& model : models) {
    const auto at = std::find_if(others.begin(), others.end(), [&](const Model& other) {
      return other.identity == model.identity;
    });
    const Model* other = at == others.end() ? nullptr : &*at;
    for (const Task& task : model.tasks)
      for (const auto& [mode, all] : task.modes)
        for (const Series& series : all) {
          const Task* its = other == nullptr ? nullptr : find_task(*other, task);
          const Series* counterpart = find_series(its, mode, series);
          if (counterpart != nullptr && !common_units(series, *counterpart)) counterpart = nullptr;
          use(model, other, task, mode, series, counterpart);
        }
  }
}

std::string place(const Model& model, const Task& task, const std::string& mode,
                  const Series& series) {
  return fmt::format("{}: {}, {}: {}", model_name(model), task.name, mode,
                     eval::scheme_label(series.scheme));
}

}  // namespace

int64_t Comparison::regressions() const {
  return std::count_if(changes.begin(), changes.end(),
                       [](const Change& change) { return !change.regressions.empty(); });
}

Comparison compare(const std::vector<Model>& after, const std::vector<Model>& before) {
  Comparison out;
  each_series(after, before,
              [&](const Model& model, const Model* base, const Task& task, const std::string& mode,
                  const Series& series, const Series* counterpart) {
                if (counterpart == nullptr) {
                  out.only_after.push_back(place(model, task, mode, series));
                  return;
                }
                Change change;
                change.task = task.name;
                change.mode = mode;
                change.scheme = eval::scheme_label(series.scheme);
                change.kind = static_cast<Kind>(series.units.begin()->second->scores.index());
                compare_units(series, *counterpart, model, *base, change);
                compare_values(series, *counterpart, model.runs.front()->seed, change);
                judge(change);
                out.changes.push_back(std::move(change));
              });
  each_series(before, after,
              [&](const Model& model, const Model*, const Task& task, const std::string& mode,
                  const Series& series, const Series* counterpart) {
                if (counterpart == nullptr)
                  out.only_before.push_back(place(model, task, mode, series));
              });
  return out;
}

}  // namespace kvx::report
