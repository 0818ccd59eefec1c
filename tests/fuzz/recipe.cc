// The input is a recipe of `kvx reproduce`.
#include "eval/reproduce/recipe.h"

#include <stdexcept>

#include "tests/fuzz/folder.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  kvx::fuzz::feed(data, size, "recipe.json", [&](const std::string& path) {
    const auto recipe = kvx::reproduce::parse_recipe(kvx::fuzz::text(data, size), path);
    for (const auto& claim : recipe.claims)
      if (claim.rows.size() < 2) throw std::logic_error("a claim of one row");
    for (const auto& one : recipe.calibrations) recipe.uses(one);
  });
  return 0;
}
