#include "eval/report/write.h"

#include <fmt/core.h>

#include <filesystem>

#include "eval/files.h"
#include "eval/report/table_csv.h"

namespace kvx::report {

void write_report(const std::string& folder, const std::vector<Section>& sections,
                  const std::string& command) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw not_saved_error(fmt::format("{}: {}", folder, error.message()));
  for (const auto& [name, content] : report_pages(sections, command))
    eval::write_file(folder + "/" + name, content);
  std::string csv = csv_head();
  for (const Section& section : sections) csv += csv_lines(section.model, section.tables);
  eval::write_file(folder + "/table.csv", csv);
}

}  // namespace kvx::report
