// table.csv of a report.
#pragma once

#include <string>
#include <vector>

#include "eval/report/score.h"

namespace kvx::report {

// The names of the fields.
std::string csv_head();

// A line for each task, mode, scheme and reading: shortest decimals that read back the same; empty
// where there is no such number.
std::string csv_lines(const Model& model, const std::vector<Table>& tables);

}  // namespace kvx::report
