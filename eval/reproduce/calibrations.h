// The artifacts of a recipe, made once and kept in the run folder.
#pragma once

#include <map>
#include <string>

#include "eval/options.h"
#include "eval/reproduce/recipe.h"
#include "eval/store.h"

namespace kvx::reproduce {

// Adds --calibration-data, -format, -samples and -together.
void add_calibration_options(boost::program_options::options_description& options);

// "#HASH" of every calibration that a row uses, by its name. What a file of `folder` was made for
// by the same scheme from the same model, text and settings is not made again; others are written
// there as artifact-HASH.safetensors. Up to --calibration-together schemes that follow each other
// and need the same share their passes through the model: `kvx calibrate` would make the same
// files. The model runs on the device where --backend names it. `options`: those of `kvx
// reproduce`. Throws usage, environment and not-saved Errors.
std::map<std::string, std::string> make_artifacts(const Recipe& recipe,
                                                  const eval::Options& options,
                                                  const std::string& folder,
                                                  const eval::Note& note);

}  // namespace kvx::reproduce
