// What the verbs that run tensors through a scheme have in common: its options.
#pragma once

#include <array>
#include <string>
#include <string_view>

#include "eval/artifacts.h"
#include "eval/canonical.h"
#include "eval/options.h"

namespace kvx::eval {

inline constexpr std::array<std::string_view, 2> kWindowModes{"streamed", "all"};
inline constexpr std::array<std::string_view, 2> kNonFiniteChoices{"refuse", "propagate"};

void add_artifacts_option(boost::program_options::options_description& options);

// --artifact FILE, of a verb with one scheme.
void add_artifact_option(boost::program_options::options_description& options);

// The scheme of a text with the file of --artifact, if given, as what it is calibrated with. Throws
// a usage Error where the scheme takes none or names another.
Descriptor scheme_with_artifact(const std::string& text, const Options& options,
                                ArtifactStore& store);

// Adds --mode (streamed, all), --nonfinite and --artifacts.
void add_cache_options(boost::program_options::options_description& options);

// What --mode says of exact windows.
Windows windows_of(std::string_view mode);

// The caches of a resolved scheme as the options ask for them.
CacheMaker cache_maker(const ArtifactStore& store, const Descriptor& scheme, std::string_view mode,
                       const std::string& nonfinite);

// Of the folder of --artifacts, and of another one if that is there.
ArtifactStore artifact_store(const Options& options, const std::string& other = {});

// Two different files, or a usage Error: a file is not overwritten by what is made of it.
void check_not_the_same(const std::string& in, const std::string& out);

}  // namespace kvx::eval
