// How a model's runs were made: hashes, commands, machines.
#pragma once

#include <string>

#include "eval/report/merge.h"

namespace kvx::report {

std::string made_html(const Model& model);

}  // namespace kvx::report
