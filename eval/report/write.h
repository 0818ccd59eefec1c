// A report as files.
#pragma once

#include <string>
#include <vector>

#include "eval/report/page.h"

namespace kvx::report {

// The pages and table.csv into `folder`, which is made where it is not there. `command`: that makes
// them. Throws a not-saved Error.
void write_report(const std::string& folder, const std::vector<Section>& sections,
                  const std::string& command);

}  // namespace kvx::report
