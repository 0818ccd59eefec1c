#include "eval/reproduce/shipped.h"

#include <fmt/core.h>

#include <array>

#include "eval/files.h"
#include "eval/options.h"
#include "sim/model/checkpoint/file.h"

namespace kvx::reproduce {
namespace {

constexpr size_t kLargestRecipe = size_t{1} << 20;

constexpr std::array<ShippedRecipe, 2> kShipped{{{
                                                     "kivi",
#include "eval/recipes/kivi.inc"
                                                 },
                                                 {
                                                     "kvquant",
#include "eval/recipes/kvquant.inc"
                                                 }}};

}  // namespace

std::span<const ShippedRecipe> shipped_recipes() { return kShipped; }

Recipe open_recipe(const std::string& name) {
  if (name.find('/') != std::string::npos || name.ends_with(".json")) {
    const model::MappedFile file(name);
    if (file.text().size() > kLargestRecipe)
      throw environment_error(fmt::format("{}: has {} bytes, more than the {} of a recipe", name,
                                          file.text().size(), kLargestRecipe));
    return parse_recipe(file.text(), name);
  }
  std::vector<std::string_view> names;
  for (const ShippedRecipe& recipe : kShipped) {
    if (recipe.name == name) return parse_recipe(recipe.text, fmt::format("recipe {}", name));
    names.push_back(recipe.name);
  }
  eval::check_choice("recipe", name, names);
  throw std::logic_error("an unknown recipe is refused");
}

}  // namespace kvx::reproduce
