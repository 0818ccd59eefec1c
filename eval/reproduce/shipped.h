// The recipes of data/recipes, compiled in, and recipes of files.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "eval/reproduce/recipe.h"

namespace kvx::reproduce {

struct ShippedRecipe {
  std::string_view name, text;
};

std::span<const ShippedRecipe> shipped_recipes();

// The shipped recipe of that name; with a slash in it, or ending in ".json", the file. Throws a
// usage Error for an unknown name, and as parse_recipe.
Recipe open_recipe(const std::string& name);

}  // namespace kvx::reproduce
