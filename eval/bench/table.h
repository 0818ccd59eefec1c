// Measurements as tables.
#pragma once

#include <string>
#include <vector>

#include "eval/bench/record.h"
#include "eval/report/grid.h"

namespace kvx::bench {

// Operations that were measured, attention first.
std::vector<BenchOp> ops_of(const Document& document);
// "Attention", ...; and a sentence on what is timed.
std::string op_title(BenchOp op);
std::string op_text(BenchOp op);

// Records of an operation, those of one shape together: the rows of its table, numbered from 1.
std::vector<Record> records_of(const Document& document, BenchOp op);
report::Grid op_grid(const Document& document, BenchOp op);

// Whose numbers they are: device and bandwidths, a line for each session.
std::vector<std::string> session_lines(const Document& document);
// What could not be run, and what is not as one would expect.
std::vector<std::string> note_lines(const Document& document);

std::string document_text(const Document& document);  // for the terminal
std::string document_csv(const Document& document);

}  // namespace kvx::bench
