// Subjects with one plausible bug of a kernel each. `kvx check` must catch every one.
#pragma once

#include <string>
#include <vector>

#include "eval/check/check.h"

namespace kvx::self {

struct Broken {
  std::string name;
  check::Level level;  // the lowest that differs
  std::string family;  // the registered family, by name, that is meant to find it
  check::Subject subject;
};

std::vector<Broken> broken_subjects();

// The same machinery with no bug: must be equal.
std::vector<Broken> sound_subjects();

}  // namespace kvx::self
