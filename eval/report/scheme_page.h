// The page of one scheme: what it is, where its bytes lie, and what was measured of it.
#pragma once

#include <string>

#include "eval/report/page.h"

namespace kvx::report {

std::string scheme_page(const Section& section, const std::string& scheme);

}  // namespace kvx::report
