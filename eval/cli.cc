#include "eval/cli.h"

#include <fmt/core.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <new>

#include "eval/build_info.h"
#include "eval/streams.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

struct Verb {
  std::string_view name;
  std::string_view summary;
  int (*run)(const std::vector<std::string>& words);
};

constexpr Verb kVerbs[] = {
    {"eval", "measure schemes on a model: accuracy versus bits, and a run folder", cmd_eval},
    {"report", "run folders as one static page; a comparison with a baseline run", cmd_report},
    {"reproduce", "a paper's tables and claims from its recipe, our numbers beside the paper's",
     cmd_reproduce},
    {"encode", "K and V of a safetensors file to a scheme's canonical tensors", cmd_encode},
    {"decode", "canonical tensors to decoded K and V", cmd_decode},
    {"capture", "real Q, K and V of chosen layers of a model on a text", cmd_capture},
    {"gen", "golden vectors: inputs, their canonical tensors, a manifest of hashes", cmd_gen},
    {"check", "a backend against the reference, bit for bit, on thousands of cases", cmd_check},
    {"bench", "how long a layer's caches take: encode, append, attention, decode step", cmd_bench},
    {"verify", "this program, or somebody else's tensors, against golden vectors", cmd_verify},
    {"calibrate", "scales of a calibrated scheme from a model and a text", cmd_calibrate},
    {"list", "schemes with their keys, aliases, cache modes and tasks", cmd_list},
    {"explain", "one scheme: policy, nominal and exact bits, byte layout", cmd_explain},
    {"doctor", "this machine, this build, and whether a model can be opened", cmd_doctor},
};

std::string usage() {
  std::string text = "usage: kvx VERB [options]\n\n";
  for (const Verb& verb : kVerbs) text += fmt::format("  {:9} {}\n", verb.name, verb.summary);
  return text +
         "\nkvx VERB --help lists the options of a verb; kvx --version prints the version.\n"
         "Exit codes: 0 good, 1 a verdict against the subject, 2 usage, 3 environment,\n"
         "4 results not saved, 130 interrupted (the run folder can be continued).\n";
}

int dispatch(const std::vector<std::string>& words) {
  if (words.empty()) {
    tell(usage());
    return static_cast<int>(Exit::kUsage);
  }
  const std::string& word = words.front();
  const std::vector<std::string> rest(words.begin() + 1, words.end());
  if (word == "--version") {
    fmt::print("kvx {}\n", build_info().version);
    return 0;
  }
  if (word == "--help" || word == "-h" || (word == "help" && rest.empty())) {
    fmt::print("{}", usage());
    return 0;
  }
  if (word == "help") return dispatch({rest.front(), "--help"});
  std::vector<std::string_view> names;
  for (const Verb& verb : kVerbs) {
    if (verb.name == word) return verb.run(rest);
    names.push_back(verb.name);
  }
  const std::string_view near = nearest(word, names);
  throw usage_error(fmt::format("unknown verb '{}'{}", word,
                                near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
}

}  // namespace

int run_program(const std::vector<std::string>& words) {
  Exit exit = Exit::kEnvironment;
  std::string message;
  try {
    const int code = dispatch(words);
    if (std::fflush(stdout) != 0)
      throw not_saved_error(fmt::format("standard output: {}", std::strerror(errno)));
    return code;
  } catch (const Error& error) {
    exit = error.exit();
    message = error.what();
  } catch (const std::bad_alloc&) {
    message = "out of memory";
  } catch (const std::exception& error) {
    message = fmt::format("internal error: {}", error.what());
  }
  tell(fmt::format("kvx: {}\n", message));
  return static_cast<int>(exit);
}

}  // namespace kvx::eval
