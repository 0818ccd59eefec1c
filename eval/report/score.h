// What the units of a task in one cache mode say of each scheme: accuracy with its interval,
// counted bits, and how it stands beside the unquantised base on the same units.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "eval/report/cells.h"
#include "eval/report/merge.h"
#include "eval/stats.h"

namespace kvx::report {

using eval::Interval;

enum class Kind { kWindows, kSamples, kErrors };

// Mean score of one way of reading the outputs, over the kept cells.
struct ReadingScore {
  std::string filter;
  double value = 0;
  std::optional<Interval> interval;
};

struct Row {
  std::string scheme;  // versioned
  std::string label;
  bool base = false;
  bool whole = true;  // has every unit that the base has, without a base: that any scheme has
  int64_t units = 0;
  std::array<ByteCount, 2> bytes;  // sums over units, by side
  int64_t values = 0;
  std::array<double, 2> nominal{};
  // Perplexity, exp of the mean of window means; or mean score of the first reading over kept
  // cells; or mean over windows and layers of the error of the attention output.
  double value = 0;
  std::optional<Interval> interval;        // 95 %
  std::optional<double> delta;             // minus the base's on the units that both have
  std::optional<Interval> delta_interval;  // 95 %, paired
  // kWindows
  double kl_mean = 0, same_top = 0;
  std::optional<Interval> kl_interval;
  // kSamples
  std::vector<ReadingScore> readings;
  std::vector<std::optional<double>> cells;  // mean scores, in the order of Table::cells
  int64_t lost = 0, gained = 0;  // samples that only the base, only the scheme has right
  std::optional<double> p;       // McNemar's exact test, of 0/1 scores
  // kErrors: means over windows
  std::vector<LayerError> layers;
  std::map<std::string, double> tokens_per_second;  // by backend

  double bits(size_t side) const;  // counted, per value
  double bits() const;             // of both sides
};

// A task in one cache mode.
struct Table {
  std::string task, mode;
  nlohmann::json identity;  // of the task
  std::string suffix;       // tells tasks of one name apart: ", length 512"
  Kind kind = Kind::kWindows;
  int64_t units = 0;                 // that a whole row has
  const Row* base() const;           // nullptr: nothing to compare with
  bool kept() const;                 // some cell counts
  std::vector<Row> rows;             // the base first
  std::vector<Cell> cells;           // kSamples; a single one where the task has no finer ones
  std::vector<std::string> missing;  // labels of schemes without a unit here
  std::vector<std::string> holes;    // "kivi:k2v2: 5 of 8 units"
};

// `seed`: of the bootstraps.
Table score(const Model& model, const Task& task, const std::string& mode, uint64_t seed);

// All tasks and modes of a model, in order.
std::vector<Table> score_all(const Model& model);

}  // namespace kvx::report
