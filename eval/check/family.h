// Families of cases: grids in files (tests/inputs/SCHEME/*.json), made into cases in an order that
// depends on the files alone. check.md describes the format.
#pragma once

#include <string>
#include <vector>

#include "eval/check/case.h"
#include "eval/check/events.h"

namespace kvx::check {

struct Family {
  std::string name;                           // "kivi/borders"
  std::string scheme;                         // "kivi"
  Arithmetic arithmetic = Arithmetic::kIeee;  // of all its cases
  Events any;                                 // a case must hit one of these ...
  Events all;  // ... and each of these must be hit by one of the family's cases
  std::vector<Case> cases;
  size_t size = 0;            // cases before any selection
  std::vector<size_t> smoke;  // indices of those in the smoke set
};

// The families of all registered schemes under `folder`, by scheme in the registry's order, then by
// file and place; of those the ones whose cases attend in this arithmetic. Throws an environment
// Error naming file and field.
std::vector<Family> read_families(const std::string& folder,
                                  Arithmetic arithmetic = Arithmetic::kIeee);

// Those of one document; `where` names it in errors.
std::vector<Family> parse_families(const std::string& text, const std::string& where);

}  // namespace kvx::check
