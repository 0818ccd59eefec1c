#include "eval/reproduce/calibrations.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>
#include <utility>

#include "eval/artifacts.h"
#include "eval/backend.h"
#include "eval/calibrate_file.h"
#include "eval/reproduce/calibrator_group.h"
#include "eval/text.h"
#include "ref/registry.h"
#include "sim/api/error.h"

namespace kvx::reproduce {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

std::vector<std::string> calibrate_words(const Calibration& one, const eval::Options& options) {
  std::vector<std::string> words{"--scheme",
                                 one.scheme,
                                 "--model",
                                 options.required("model"),
                                 "--format",
                                 options.text("calibration-format"),
                                 "--threads",
                                 options.text("threads"),
                                 "--backend",
                                 eval::parse_backends(options.text("backend")).back(),
                                 "--length",
                                 fmt::format("{}", one.length),
                                 "--samples",
                                 options.has("calibration-samples")
                                     ? options.required("calibration-samples")
                                     : fmt::format("{}", one.samples)};
  for (const std::string& path : options.list("calibration-data")) {
    words.push_back("--data");
    words.push_back(path);
  }
  return words;
}

// The hash of the file of `folder` that was made by equal inputs; empty where there is none.
std::string find_made(const std::string& folder, const eval::Metadata& metadata) {
  std::error_code error;
  std::vector<std::string> paths;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".safetensors") paths.push_back(it->path().string());
  std::ranges::sort(paths);
  for (const std::string& path : paths)
    if (const eval::TensorFile file(path); file.metadata() == metadata) return file.sha256();
  return {};
}

struct Job {
  std::string name;  // of the calibration
  eval::CalibrationInputs in;
};

bool same_windows(const Job& a, const Job& b) {
  const auto needs = [](const Job& job) { return ref::make_calibrator(job.in.scheme)->needs(); };
  eval::Metadata of_a = a.in.metadata, of_b = b.in.metadata;
  of_a.erase("scheme");
  of_b.erase("scheme");
  return of_a == of_b && same_needs(needs(a), needs(b));
}

// The file under its hash, in one step; the hash.
std::string keep(const Calibrator& calibrator, const eval::Metadata& metadata,
                 const std::string& folder) {
  const std::string made = folder + "/calibration.made";
  const std::string hash = eval::write_calibration(calibrator, metadata, made).sha256;
  const std::string path = eval::artifact_path(folder, hash);
  std::error_code error;
  fs::rename(made, path, error);
  if (error) throw not_saved_error(fmt::format("{}: {}", path, error.message()));
  return hash;
}

// Their hashes, by name.
std::map<std::string, std::string> run_jobs(const std::vector<Job>& jobs, size_t first, size_t last,
                                            const std::string& folder, const eval::Note& note) {
  std::vector<std::unique_ptr<Calibrator>> members;
  for (size_t i = first; i < last; ++i) {
    note(fmt::format("calibrating {}", jobs[i].in.scheme.str()));
    members.push_back(ref::make_calibrator(jobs[i].in.scheme));
  }
  CalibratorGroup group(std::move(members));
  eval::calibrate(*jobs[first].in.text, jobs[first].in.length, jobs[first].in.backend, group);
  std::map<std::string, std::string> hashes;
  for (size_t i = first; i < last; ++i)
    hashes[jobs[i].name] = keep(*group.members()[i - first], jobs[i].in.metadata, folder);
  return hashes;
}

}  // namespace

void add_calibration_options(po::options_description& options) {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  auto add = options.add_options();
  add("calibration-data", po::value<std::vector<std::string>>()->value_name("X"),
      "text file, or folder of them, that schemes are calibrated on; may be repeated");
  add("calibration-format", text()->default_value("text"), eval::kTextFormatsHelp);
  add("calibration-samples", text(), "windows that are calibrated on (default: the recipe's)");
  add("calibration-together", text()->default_value("3"),
      "schemes that are calibrated at once, at most: faster, and each takes its memory");
}

std::map<std::string, std::string> make_artifacts(const Recipe& recipe,
                                                  const eval::Options& options,
                                                  const std::string& folder,
                                                  const eval::Note& note) {
  const auto together = static_cast<size_t>(options.integer("calibration-together", 1, 64));
  std::map<std::string, std::string> hashes;
  std::vector<Job> jobs;
  std::map<std::pair<int64_t, int64_t>, eval::CalibrationInputs> read;  // by samples and length
  for (const Calibration& one : recipe.calibrations) {
    if (!recipe.uses(one)) continue;
    if (options.list("calibration-data").empty())
      throw usage_error(fmt::format(
          "--calibration-data: recipe {} calibrates {}; name a text, another than the one that is "
          "measured",
          recipe.name, one.scheme));
    const std::pair windows(one.samples, one.length);
    if (!read.contains(windows))
      read[windows] = eval::read_calibration(
          eval::Options(eval::calibrate_options(), calibrate_words(one, options)));
    Job job{one.name, for_scheme(read[windows], Descriptor::parse(one.scheme))};
    if (const std::string hash = find_made(folder, job.in.metadata); !hash.empty()) {
      note(fmt::format("calibrated before: {}", calibrated_descriptor(job.in, hash)));
      hashes[one.name] = hash;
    } else {
      jobs.push_back(std::move(job));
    }
  }
  std::error_code error;
  if (!jobs.empty()) fs::create_directories(folder, error);
  if (error) throw not_saved_error(fmt::format("{}: {}", folder, error.message()));
  for (size_t first = 0, last = 0; first < jobs.size(); first = last) {
    while (last < jobs.size() && last - first < together && same_windows(jobs[first], jobs[last]))
      ++last;
    hashes.merge(run_jobs(jobs, first, last, folder, note));
  }
  std::map<std::string, std::string> artifacts;
  for (const auto& [name, hash] : hashes) artifacts[name] = eval::artifact_reference(hash);
  return artifacts;
}

}  // namespace kvx::reproduce
