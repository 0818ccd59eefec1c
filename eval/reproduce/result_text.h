// A result for people: the terminal, reproduce.md, and a page beside those of the report.
#pragma once

#include <string>
#include <vector>

#include "eval/number.h"
#include "eval/report/page.h"
#include "eval/reproduce/result.h"

namespace kvx::reproduce {

// A line for each row: descriptor, bits and numbers of paper and run.
report::Grid table_grid(const ResultTable& table);
// A line for each claim, and below a ladder's one for each step.
report::Grid claims_grid(const std::vector<Judgement>& judgements);

// "12 claims: 9 held, 1 not held, 2 not distinguishable"
std::string verdicts_line(const Result& result);
// What was run, in sentences.
std::vector<std::string> protocol_lines(const Result& result);

std::string result_text(const Result& result);                              // for the terminal
std::string result_markdown(const Result& result);                          // reproduce.md
std::string result_page(const Result& result, const std::string& command);  // reproduce.html

// reproduce.json, schema kvx-reproduce/1 (reports/schema/reproduce.md).
eval::Json result_json(const Result& result);

}  // namespace kvx::reproduce
