#include <fmt/core.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>

#include "eval/cli.h"
#include "eval/files.h"
#include "eval/golden.h"
#include "eval/options.h"
#include "eval/streams.h"
#include "eval/verdict.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

constexpr const char* kHelp =
    R"(usage: kvx verify --golden FOLDER [--in FILE --case NAME | --in FOLDER] [options]

Judges tensors against golden vectors (kvx gen), bit for bit; a NaN equals a NaN.

Without --in, this program is judged: inputs are made and encoded again. With --in, somebody else's
safetensors: FILE for the case of that name, or FOLDER with a file per case, of the same name. Any
of a case's tensors may be in it; those that are missing, and those that the case does not have, are
named and decide nothing.

Exit codes: 0 everything judged is the same; 1 something differs, or nothing was judged (nothing in
common, a tensor of --tensors or a case's file missing); 3 the goldens are not what their manifest
says, or a file cannot be read.

)";

po::options_description describe() {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  const auto list = [] { return po::value<std::vector<std::string>>()->value_name("X"); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("golden", text(), "folder with a manifest.json, or of such folders");
  add("in", text(), "somebody else's file, or folder of files");
  add("case", list(), "only these cases, by name; repeated or separated by commas");
  add("tensors", list(), "only these tensors, such as k.codes; repeated or separated by commas");
  add("json", po::bool_switch(), "print JSON");
  add("help", po::bool_switch(), "this text");
  return options;
}

std::string quoted(const std::string& path) {
  const auto plain = [](unsigned char c) { return std::isalnum(c) || std::strchr("/._-+=:,@", c); };
  if (!path.empty() && std::all_of(path.begin(), path.end(), plain)) return path;
  std::string text = "'";
  for (const char c : path) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

struct Job {
  std::vector<std::string> chosen;  // tensors
  std::string theirs;               // file or folder; empty: this program
};

Descriptor scheme_of(const Golden& golden, const GoldenCase& one, ArtifactStore& store) {
  try {
    return store.parse(one.scheme);
  } catch (const Error& error) {
    throw environment_error(
        fmt::format("{}: case '{}': {}", golden.path("manifest.json"), one.name, error.what()));
  }
}

// The golden file of a case, as the manifest describes it.
TensorFile open_expected(const Golden& golden, const GoldenCase& one) {
  TensorFile file = open_golden_file(golden, one.file(), one.sha256);
  for (const auto& [name, tensor] : one.tensors) {
    const ArtifactTensor* found = file.find(name);
    if (found == nullptr || found->dtype != tensor.dtype || found->shape != tensor.shape ||
        sha256_hex(found->bytes) != tensor.sha256)
      throw environment_error(
          fmt::format("{}: tensor '{}' is not the manifest's", file.source(), name));
  }
  if (file.tensors().size() != one.tensors.size())
    throw environment_error(fmt::format("{}: has {} tensors, the manifest names {}", file.source(),
                                        file.tensors().size(), one.tensors.size()));
  return file;
}

template <class Map>
std::vector<std::string> names_of(const Map& tensors) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : tensors) names.push_back(name);
  return names;
}

Finder finder(const TensorMap& tensors, ArtifactTensor& slot) {
  return [&tensors, &slot](const std::string& name) -> const ArtifactTensor* {
    const auto found = tensors.find(name);
    if (found == tensors.end()) return nullptr;
    slot = {found->second.dtype, found->second.shape, found->second.bytes};
    return &slot;
  };
}

// The inputs, made again.
CaseVerdict judge_input(const Golden& golden, const GoldenInput& input) {
  const TensorFile expected = open_golden_file(golden, input.file(), input.sha256);
  const TensorMap made = make_input(input);
  ArtifactTensor slot;
  return {"input-" + input.stem(), "this program", judge(expected, finder(made, slot), {}, {}), {}};
}

CaseVerdict judge_program(const Golden& golden, const GoldenCase& one, const Job& job,
                          ArtifactStore& store) {
  const TensorFile expected = open_expected(golden, one);
  const GoldenInput& input = golden.inputs[one.input];
  const TensorFile in = open_golden_file(golden, input.file(), input.sha256);
  const Descriptor scheme = scheme_of(golden, one, store);
  const TensorMap made = make_case(one, in, scheme, store);
  ArtifactTensor slot;
  CaseVerdict verdict{one.name,
                      "this program",
                      judge(expected, finder(made, slot), names_of(made), job.chosen),
                      {}};
  if (verdict.count(Match::kDifferent) > 0) {
    const std::string out = one.name + ".found.safetensors";
    verdict.repro = {
        fmt::format(
            "kvx encode --scheme {} --mode {} --nonfinite {} --artifacts {} --in {} --out {}",
            quoted(scheme.str()), one.mode, one.nonfinite, quoted(golden.folder),
            quoted(in.source()), quoted(out)),
        fmt::format("kvx verify --golden {} --case {} --in {}", quoted(golden.folder),
                    quoted(one.name), quoted(out))};
  }
  return verdict;
}

CaseVerdict judge_theirs(const Golden& golden, const GoldenCase& one, const Job& job) {
  const TensorFile expected = open_expected(golden, one);
  const std::string path =
      fs::is_directory(job.theirs) ? job.theirs + "/" + one.file() : job.theirs;
  CaseVerdict verdict{one.name, path, {}, {}};
  if (!fs::exists(path) && path != job.theirs) {
    verdict.tensors = judge(
        expected, [](const std::string&) { return nullptr; }, {}, job.chosen);
    return verdict;
  }
  const TensorFile theirs(path);
  verdict.tensors = judge(
      expected, [&](const std::string& name) { return theirs.find(name); },
      names_of(theirs.tensors()), job.chosen);
  if (verdict.count(Match::kDifferent) > 0) {
    std::string line = fmt::format("kvx verify --golden {} --case {} --in {}",
                                   quoted(golden.folder), quoted(one.name), quoted(path));
    for (const std::string& tensor : job.chosen) line += " --tensors " + quoted(tensor);
    verdict.repro = {line};
  }
  return verdict;
}

void check_names(const char* option, const std::vector<std::string>& names,
                 const std::vector<std::string>& known) {
  const std::vector<std::string_view> views(known.begin(), known.end());
  for (const std::string& name : names) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    const std::string_view near = nearest(name, views);
    throw usage_error(fmt::format("{} '{}': the goldens have none of that name{}", option, name,
                                  near.empty() ? "" : fmt::format("; did you mean '{}'?", near)));
  }
}

// The goldens, with the cases chosen by --case only.
std::vector<Golden> read_goldens(const Options& options, const std::vector<std::string>& tensors) {
  std::vector<Golden> goldens;
  std::vector<std::string> case_names, tensor_names;
  for (const std::string& folder : golden_folders(options.required("golden"))) {
    goldens.push_back(read_golden(folder));
    for (const GoldenCase& one : goldens.back().cases) {
      case_names.push_back(one.name);
      for (const auto& [name, tensor] : one.tensors) tensor_names.push_back(name);
    }
  }
  const std::vector<std::string> chosen = split_commas(options.list("case"));
  check_names("--case", chosen, case_names);
  check_names("--tensors", tensors, tensor_names);
  if (chosen.empty()) return goldens;
  for (Golden& golden : goldens) {
    std::erase_if(golden.cases, [&](const GoldenCase& one) {
      return std::find(chosen.begin(), chosen.end(), one.name) == chosen.end();
    });
  }
  return goldens;
}

bool good(const std::vector<CaseVerdict>& verdicts, const Job& job) {
  if (verdicts.empty()) return false;
  return std::all_of(verdicts.begin(), verdicts.end(), [&](const CaseVerdict& verdict) {
    const bool complete = job.chosen.empty() && !job.theirs.empty();
    return verdict.count(Match::kDifferent) == 0 && verdict.count(Match::kSame) > 0 &&
           (complete || verdict.count(Match::kMissing) == 0);
  });
}

}  // namespace

int cmd_verify(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const Job job{split_commas(options.list("tensors")),
                options.has("in") ? options.required("in") : ""};
  const std::vector<Golden> goldens = read_goldens(options, job.chosen);
  size_t cases = 0;
  for (const Golden& golden : goldens) cases += golden.cases.size();
  if (!job.theirs.empty() && !fs::is_directory(job.theirs) && cases != 1)
    throw usage_error(
        fmt::format("--in {}: a file is judged against one case of {}; name it with "
                    "--case",
                    job.theirs, cases));

  std::vector<CaseVerdict> verdicts;
  for (const Golden& golden : goldens) {
    ArtifactStore store({golden.folder});
    if (job.theirs.empty() && !options.has("case") && job.chosen.empty())
      for (const GoldenInput& input : golden.inputs) verdicts.push_back(judge_input(golden, input));
    for (const GoldenCase& one : golden.cases)
      verdicts.push_back(job.theirs.empty() ? judge_program(golden, one, job, store)
                                            : judge_theirs(golden, one, job));
  }
  size_t same = 0, different = 0;
  Json json = Json::array();
  for (const CaseVerdict& verdict : verdicts) {
    same += verdict.count(Match::kSame);
    different += verdict.count(Match::kDifferent);
    if (options.flag("json")) {
      json.push_back(verdict_json(verdict));
    } else {
      print(verdict_text(verdict));
    }
  }
  const bool passed = good(verdicts, job);
  if (options.flag("json")) print(json_text({{"good", passed}, {"verdicts", json}}, 2) + "\n");
  tell(fmt::format("kvx: {}: {} tensors are the same, {} differ\n", passed ? "good" : "not good",
                   same, different));
  return static_cast<int>(passed ? Exit::kGood : Exit::kVerdict);
}

}  // namespace kvx::eval
