#include <fmt/core.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

#include "eval/check/check.h"
#include "eval/check/fuzz.h"
#include "eval/check/report.h"
#include "eval/cli.h"
#include "eval/files.h"
#include "eval/interrupt.h"
#include "eval/options.h"
#include "eval/progress.h"
#include "eval/streams.h"
#include "gpu/registry.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr const char* kHelp =
    R"(usage: kvx check [--backend cuda|cpu] [--arithmetic ieee|fixed] [--set full|smoke] [--filter X] [options]
       kvx check --case FILE|'scheme=... steps=...' [options]
       kvx check --seconds N [--seed S] [options]

Proves a backend equal to the reference, bit for bit: stored content (E0), decoded values (E1) and
attention (E2), on the cases of tests/inputs or on random ones. The backend cpu is the reference
itself in other chunks, in arithmetic fixed by its vectorised loops. Whole models (E3): kvx eval --backend cpu,cuda. eval/check/check.md says
what is compared.

Exit codes: 0 equal everywhere; 1 a difference, a case or family that shows none of the events it is
for (MISTRUSTED), or nothing selected; 2 usage; 3 no such backend here, or inputs missing.

)";

constexpr std::string_view kBackends[] = {"cuda", "cpu"};
constexpr std::string_view kSets[] = {"full", "smoke"};
constexpr std::string_view kArithmetics[] = {"ieee", "fixed"};

po::options_description describe() {
  const auto text = [](const char* name) { return po::value<std::string>()->value_name(name); };
  po::options_description options("options", 100);
  auto add = options.add_options();
  add("backend", text("X")->default_value("cuda"), "cuda, or cpu: the reference in other chunks");
  add("set", text("X")->default_value("full"), "full, or smoke: a few of every family");
  add("filter", text("X")->default_value(""),
      "only cases whose name or scheme matches a glob, or contains a text");
  add("arithmetic", text("X"),
      "of attention: ieee (default), or fixed: cases of the schemes that have it");
  add("case", text("X"), "one case: a saved file, or its text");
  add("seconds", text("N"), "random cases for so long");
  add("seed", text("N"), "of the random cases");
  add("inputs", text("DIR")->default_value("tests/inputs"), "families of cases");
  add("out", text("DIR")->default_value("check-failures"), "where smaller failing cases are saved");
  add("shrink", text("N")->default_value("5"),
      "seconds to look for a smaller case, of three failures of a scheme; 0: save them as they "
      "are");
  add("threads", text("N")->default_value("0"), "0: all processors");
  add("json", po::bool_switch(), "print JSON");
  add("junit", text("FILE"), "also write JUnit XML");
  add("list", po::bool_switch(), "print the cases and judge none");
  add("dry-run", po::bool_switch(), "print how many cases there are and judge none");
  add("quiet", po::bool_switch(), "no progress");
  add("help", po::bool_switch(), "this text");
  return options;
}

check::Subject cuda_subject() {
  const std::string reason = gpu::unavailable();
  if (!reason.empty()) throw environment_error(fmt::format("backend cuda: {}", reason));
  return {"cuda", gpu::has_kernel, gpu::make_cache};
}

// One case as a family of its own.
check::Family single(check::Case one) {
  check::Family family;
  family.scheme = std::string(Descriptor::parse(one.scheme).name());
  if (one.name.empty()) one.name = "case";
  family.name = one.name;
  family.cases = {std::move(one)};
  return family;
}

Arithmetic arithmetic_of(const Options& options) {
  if (!options.has("arithmetic")) return Arithmetic::kIeee;
  return check::parse_arithmetic(options.choice("arithmetic", kArithmetics));
}

// Registered schemes that have no case in the arithmetic.
std::vector<std::string> without_arithmetic(const Options& options) {
  std::vector<std::string> names;
  const auto families = check::read_families(options.text("inputs"), arithmetic_of(options));
  for (const SchemeSchema& scheme : schemes())
    if (std::ranges::find(families, scheme.name, &check::Family::scheme) == families.end())
      names.emplace_back(scheme.name);
  return names;
}

std::vector<check::Family> chosen_families(const Options& options) {
  if (options.has("case")) {
    const std::string given = options.required("case");
    const bool is_text = given.find('=') != std::string::npos && !std::filesystem::exists(given);
    return {single(is_text ? check::parse_case(given) : check::read_case(given))};
  }
  const auto families =
      check::select(check::read_families(options.text("inputs"), arithmetic_of(options)),
                    {options.choice("set", kSets) == "smoke", options.text("filter")});
  if (families.empty() && arithmetic_of(options) == Arithmetic::kFixed)
    throw usage_error(
        fmt::format("--arithmetic fixed: no case matches --filter {}; without it are {}",
                    options.text("filter"), fmt::join(without_arithmetic(options), ", ")));
  return families;
}

void list(const std::vector<check::Family>& families) {
  for (const check::Family& family : families)
    for (const check::Case& one : family.cases)
      print(fmt::format("{}  {}\n", one.name, check::case_text(one)));
}

void count(const std::vector<check::Family>& families) {
  size_t all = 0;
  for (const check::Family& family : families) {
    print(fmt::format("{:6}  {}\n", family.cases.size(), family.name));
    all += family.cases.size();
  }
  print(fmt::format("{:6}  cases\n", all));
}

class Reporter {
 public:
  Reporter(const Options& options, check::Subject subject)
      : options_(options), subject_(std::move(subject)) {
    const auto threads = static_cast<int>(options.integer("threads", 0, 4096));
    settings_.threads =
        threads > 0 ? threads : static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
    settings_.shrink_seconds = static_cast<double>(options.integer("shrink", 0, 86400));
    settings_.out = options.text("out");
    settings_.stop = interrupted;
    watch_interrupts();
  }

  check::Report families(const std::vector<check::Family>& families) {
    int64_t total = 0;
    for (const check::Family& family : families) total += static_cast<int64_t>(family.cases.size());
    Progress progress(total, options_.flag("quiet"));
    settings_.done = [&](const check::Case& one) {
      progress.start(one.name);
      progress.finish();
    };
    return check::run_check(families, subject_, settings_);
  }

  // Random cases until the time is up.
  check::Report fuzz(int64_t seconds, uint64_t seed) {
    using Clock = std::chrono::steady_clock;
    tell(fmt::format("kvx: seed {}\n", seed));
    const std::string filter = options_.text("filter");
    const auto wanted = [&](std::string_view scheme) {
      return subject_.has(scheme) && scheme.find(filter) != std::string_view::npos;
    };
    const Clock::time_point begin = Clock::now();
    const auto over = [&] { return Clock::now() - begin >= std::chrono::seconds(seconds); };
    settings_.stop = [&] { return interrupted() || over(); };
    check::Report report;
    report.subject = subject_.name;
    Progress progress(seconds, options_.flag("quiet"));
    int64_t told = 0;
    settings_.done = [&](const check::Case& one) {
      progress.start(one.name);
      for (; told < seconds && Clock::now() - begin >= std::chrono::seconds(told + 1); ++told)
        progress.finish();
    };
    for (uint64_t index = 0; !settings_.stop();) {
      check::Family family;
      family.name = "fuzz";
      for (int i = 0; i < 16 * settings_.threads; ++i)
        family.cases.push_back(check::fuzz_case(seed, index++, wanted, arithmetic_of(options_)));
      // All schemes drawn are the subject's.
      check::Subject subject = subject_;
      subject.has = [](std::string_view) { return true; };
      check::Report part = check::run_check({family}, subject, settings_);
      for (check::CaseResult& result : part.cases) report.cases.push_back(std::move(result));
    }
    report.stopped = interrupted();
    report.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
    return report;
  }

  int finish(const check::Report& report) const {
    if (options_.has("junit")) write_file(options_.required("junit"), check::report_junit(report));
    print(options_.flag("json") ? json_text(check::report_json(report), 2) + "\n"
                                : check::report_text(report));
    int64_t judged = 0;
    for (const check::CaseResult& result : report.cases) judged += result.judged ? 1 : 0;
    tell(fmt::format("kvx: {}: {} cases in {:.1f} s, {} differ, {} MISTRUSTED\n",
                     report.stopped  ? "stopped"
                     : report.good() ? "equal"
                     : judged == 0   ? "nothing selected"
                                     : "NOT EQUAL",
                     judged, report.seconds, report.mismatches(),
                     report.mistrusted() + static_cast<int64_t>(report.lacking.size())));
    if (report.stopped && report.mismatches() == 0) return static_cast<int>(Exit::kInterrupted);
    return static_cast<int>(report.good() ? Exit::kGood : Exit::kVerdict);
  }

 private:
  const Options& options_;
  check::Subject subject_;
  check::CheckOptions settings_;
};

}  // namespace

int cmd_check(const std::vector<std::string>& words) {
  const po::options_description visible = describe();
  const Options options(visible, words);
  if (options.flag("help")) {
    print_help(kHelp, visible);
    return 0;
  }
  const std::string backend = options.choice("backend", kBackends);
  const bool random = options.has("seconds");
  if (options.has("seed") && !random) throw usage_error("--seed is of --seconds");
  if (options.has("arithmetic") && options.has("case"))
    throw usage_error("--arithmetic: a case names its own");
  if (random && options.has("case")) throw usage_error("--seconds and --case do not go together");
  std::vector<check::Family> families;
  if (!random) families = chosen_families(options);
  if (options.flag("list") || options.flag("dry-run")) {
    options.flag("list") ? list(families) : count(families);
    return static_cast<int>(families.empty() ? Exit::kVerdict : Exit::kGood);
  }
  Reporter reporter(options, backend == "cpu" ? check::cpu_subject() : cuda_subject());
  if (!random) {
    check::Report report = reporter.families(families);
    if (!options.has("case") && options.text("filter").empty())
      report.other_arithmetic = without_arithmetic(options);
    return reporter.finish(report);
  }
  const int64_t seed = options.has("seed")
                           ? options.integer("seed", 0, INT64_MAX)
                           : std::chrono::duration_cast<std::chrono::seconds>(
                                 std::chrono::system_clock::now().time_since_epoch())
                                 .count();
  return reporter.finish(
      reporter.fuzz(options.integer("seconds", 1, 1000000), static_cast<uint64_t>(seed)));
}

}  // namespace kvx::eval
