// The loop over schemes, shapes and operations.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "eval/bench/plan.h"
#include "eval/bench/record.h"

namespace kvx::bench {

// What is measured on: its name, the rates of its memory, and layers to time.
struct Machine {
  std::string device;
  Spread read, copy;
  BenchMaker make;
};

// Of a plan's backend; measures the rates. Throws an environment Error.
Machine open_machine(const Plan& plan);

// Name of the device of a plan's backend.
std::string device_name(const Plan& plan);

// Ordinary K, V and Q of sim/gen for a shape: keys after rotation with heavy channels, values with
// heavy channels, queries small enough that no single token takes all the weight. Contexts repeat
// some hundred to thousand rows, an odd number, so that groups of tokens hold other rows each time.
BenchInputs bench_inputs(const BenchShape& shape);

struct Watch {
  std::function<void(const std::string& subject)> start;
  std::function<void()> done;  // with a measurement, added to the document
  std::function<bool()> stop;  // before the next one
};

// Adds a record for every measurement to `document`, under its last session. A scheme and shape for
// which memory does not suffice are added to that session's absent; where nothing else could be
// measured either, the Error is thrown.
void measure(const Plan& plan, const Machine& machine, Document& document, const Watch& watch);

}  // namespace kvx::bench
