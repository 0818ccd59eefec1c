// The command line of `kvx bench`, checked before anything is measured.
#pragma once

#include <string>
#include <vector>

#include "eval/artifacts.h"
#include "eval/options.h"
#include "eval/store.h"
#include "sim/api/descriptor.h"
#include "sim/api/layer_bench.h"
#include "sim/model/checkpoint.h"

namespace kvx::bench {

using BenchMaker =
    std::function<std::unique_ptr<LayerBench>(const Descriptor& scheme, const CacheConfig& config,
                                              const BenchShape& shape, const BenchInputs& inputs)>;

inline constexpr int kLeastSamples = 30;

// A scheme whose caches attend in an arithmetic.
struct Subject {
  Descriptor scheme;
  Arithmetic arithmetic = Arithmetic::kIeee;
};

struct Plan {
  std::vector<Subject> subjects;
  eval::ArtifactStore artifacts;
  std::string backend;
  std::string model;  // whose decode steps are timed; empty: operations of a layer
  std::shared_ptr<const model::Checkpoint> checkpoint;  // of the model
  std::vector<BenchOp> ops;  // in the order of BenchOp; kSeal goes with kAppend
  std::vector<BenchShape> shapes;
  int samples = kLeastSamples;
};

void add_plan_options(boost::program_options::options_description& options);

// Throws usage and environment Errors; schemes that do not fit a shape are refused. Of several
// arithmetics a scheme takes those that it has, and `note` hears of the others.
Plan read_plan(const eval::Options& options, const eval::Note& note);

// The config of a scheme's caches on a shape.
CacheConfig config_of(const Plan& plan, const BenchShape& shape, Arithmetic arithmetic);

}  // namespace kvx::bench
