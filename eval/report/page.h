// The pages of a report: static, without scripts and outer resources.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "eval/report/evidence.h"
#include "eval/report/grid.h"
#include "eval/report/score.h"

namespace kvx::report {

// A model with all that is shown of it.
struct Section {
  Model model;
  std::vector<Table> tables;
  Numbers numbers;  // of schemes but the base
  Evidence evidence;
};
Section make_section(Model model);

// Title and rows of a table of the section, for the terminal.
std::string table_text(const Section& section, const Table& table);

// "scheme-kivi-k2v2.html"; of the second model and later ones with its number.
std::string scheme_page_name(const std::vector<Section>& sections, size_t section,
                             const std::string& label);

// File names and contents: index.html and a page for each scheme of each model. `command`: that
// makes the report.
using Files = std::vector<std::pair<std::string, std::string>>;
Files report_pages(const std::vector<Section>& sections, const std::string& command);

}  // namespace kvx::report
