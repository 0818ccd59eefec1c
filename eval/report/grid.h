// The tables of a report, for the terminal and for a page.
#pragma once

#include <string>
#include <vector>

#include "eval/report/figures.h"
#include "eval/report/score.h"

namespace kvx::report {

struct Grid {
  size_t left = 2;  // columns that are aligned left: number and scheme
  std::vector<std::string> head;
  std::vector<std::vector<std::string>> rows;
};

// "ppl, streamed"
std::string title_of(const Table& table);

// Every scheme beside every task and mode; for each mode with the mean over tasks of mean scores,
// where more than one counts.
Grid overview(const Model& model, const std::vector<Table>& tables, const Numbers& numbers);

// Everything that a task says of its schemes.
Grid details(const Table& table, const Numbers& numbers);

// Bytes that a row's cache holds, by item, as bits per value.
Grid bytes_by_item(const Row& row);

std::string grid_text(const Grid& grid);

}  // namespace kvx::report
