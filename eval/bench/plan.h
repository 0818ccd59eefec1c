// The command line of `kvx bench`, checked before anything is measured.
#pragma once

#include <string>
#include <vector>

#include "eval/artifacts.h"
#include "eval/options.h"
#include "eval/store.h"
#include "sim/api/descriptor.h"
#include "sim/api/layer_bench.h"

namespace kvx::bench {

inline constexpr int kLeastSamples = 30;

struct Plan {
  std::vector<Descriptor> schemes;
  eval::ArtifactStore artifacts;
  std::vector<Arithmetic> arithmetics;
  std::string backend;
  std::vector<BenchOp> ops;  // in the order of BenchOp; kSeal goes with kAppend
  std::vector<BenchShape> shapes;
  int samples = kLeastSamples;
};

void add_plan_options(boost::program_options::options_description& options);

// Throws usage and environment Errors; schemes that do not fit a shape are refused.
Plan read_plan(const eval::Options& options, const eval::Note& note);

// The config of a scheme's caches on a shape.
CacheConfig config_of(const Plan& plan, const BenchShape& shape, Arithmetic arithmetic);

}  // namespace kvx::bench
