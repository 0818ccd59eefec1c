// What is known of a model's units beside their values: who computed them, and who agreed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "eval/report/merge.h"

namespace kvx::report {

struct Evidence {
  int64_t units = 0;
  std::map<std::string, int64_t> by_backend;  // units that each computed
  int64_t equal = 0;         // that two backends computed, with values equal to the last bit
  eval::ShadowCount shadow;  // values that the reference made again
  int64_t shadow_units = 0;  // units with such values
  int64_t differences = 0;   // lines of differences.jsonl of all runs
  int64_t repeated = 0;      // units of more than one run, equal in all of them
  std::vector<std::string> conflicts;  // units that differ between runs

  bool good() const { return differences == 0 && shadow.mismatches == 0 && conflicts.empty(); }
};

Evidence evidence_of(const Model& model);

// Sentences for people.
std::vector<std::string> evidence_text(const Evidence& evidence);

}  // namespace kvx::report
