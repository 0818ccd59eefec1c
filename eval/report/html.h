// Pieces of a page that several of its parts are made of.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "eval/report/grid.h"
#include "eval/template.h"

namespace kvx::report {

// A table; the cells of its second column that `links` has are links.
std::string grid_html(const Grid& grid, const std::map<std::string, std::string>& links = {});

// A picture with a line below it.
std::string figure_html(const std::string& svg, const std::string& caption);

// Errors by layer, under a title.
std::string strip_html(const std::string& title, const ErrorLines& lines);

// A list of short lines; empty of none.
std::string list_html(const std::vector<std::string>& lines);

// A whole page.
std::string page_html(const std::string& title, const std::string& content);

// Words as a shell reads them back.
std::string shell_line(const std::vector<std::string>& words);

}  // namespace kvx::report
