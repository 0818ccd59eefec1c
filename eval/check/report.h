// A report for people, programs and CI.
#pragma once

#include <string>

#include "eval/check/check.h"
#include "eval/number.h"

namespace kvx::check {

// The matrix (scheme x level: cases, mismatches; MISTRUSTED), then what failed, with a command line
// each. No more than 20 failures in words.
std::string report_text(const Report& report);

eval::Json report_json(const Report& report);

// One test suite a scheme, one test case a case.
std::string report_junit(const Report& report);

}  // namespace kvx::check
