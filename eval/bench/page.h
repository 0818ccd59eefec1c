// A benchmark as a static page.
#pragma once

#include <string>
#include <vector>

#include "eval/bench/record.h"

namespace kvx::bench {

// Whether a folder is a run of `kvx bench`.
bool is_bench_run(const std::string& path);

// Of run folders: one document. Throws an environment Error where one is damaged.
Document read_documents(const std::vector<std::string>& paths);

// index.html. `command`: that makes it.
std::string bench_page(const Document& document, const std::string& command);

// index.html, table.csv and plot.svg into `folder`, which is made where it is not there. Throws a
// not-saved Error.
void write_bench_report(const std::string& folder, const Document& document,
                        const std::string& command);
// bench.json, table.csv and plot.svg: a run folder.
void write_bench_run(const std::string& folder, const Document& document);

}  // namespace kvx::bench
