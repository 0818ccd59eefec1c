#include "eval/check/check.h"

#include <fmt/core.h>

#include <chrono>
#include <filesystem>
#include <mutex>
#include <numeric>

#include "eval/check/play.h"
#include "eval/check/rechunked.h"
#include "eval/check/scales.h"
#include "eval/check/shrink.h"
#include "eval/files.h"
#include "ref/registry.h"
#include "sim/api/error.h"

namespace kvx::check {
namespace {

using Clock = std::chrono::steady_clock;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Shows the same to two.
class Both final : public Recorder {
 public:
  Both(Recorder& a, Recorder& b) : a_(a), b_(b) {}
  void see(Level level, const std::string& name, const std::string& dtype,
           const std::vector<int64_t>& shape, std::span<const std::byte> bytes,
           const char* axes) override {
    a_.see(level, name, dtype, shape, bytes, axes);
    b_.see(level, name, dtype, shape, bytes, axes);
  }

 private:
  Recorder& a_;
  Recorder& b_;
};

// Values of K that a case holds at its end, all sequences.
int64_t values(const Case& one) { return one.tokens() * one.kv_heads * one.dim * one.batch; }
constexpr int64_t kLarge = 8 << 20;
constexpr int kLargeAtOnce = 4;

// 0 .. count - 1 so that neighbours lie far apart: families take very different times, and the time
// left is told from what is done.
std::vector<size_t> spread(size_t count) {
  size_t step = count * 5 / 8 + 1;
  while (std::gcd(step, count) > 1) ++step;
  std::vector<size_t> order(count);
  for (size_t i = 0; i < count; ++i) order[i] = i * step % count;
  return order;
}

bool matches(std::string_view pattern, std::string_view text) {
  if (pattern.empty()) return text.empty();
  if (pattern[0] == '*') {
    for (size_t i = 0; i <= text.size(); ++i)
      if (matches(pattern.substr(1), text.substr(i))) return true;
    return false;
  }
  return !text.empty() && (pattern[0] == '?' || pattern[0] == text[0]) &&
         matches(pattern.substr(1), text.substr(1));
}

bool selected(const Case& one, const std::string& filter) {
  if (filter.find_first_of("*?") != std::string::npos)
    return matches(filter, one.name) || matches(filter, one.scheme);
  return one.name.find(filter) != std::string::npos || one.scheme.find(filter) != std::string::npos;
}

// Which level fails first: what a shrunk case must fail at too.
int failing_level(const Judgement& judgement) {
  for (int level = 0; level < kLevels; ++level)
    if (judgement.levels[static_cast<size_t>(level)].mismatches > 0) return level;
  return -1;
}

std::string file_name(const std::string& name) {
  std::string text = name;
  for (char& c : text)
    if (c == '/') c = '-';
  return text + ".json";
}

void shrink_failures(Report& report, const Subject& subject, const CheckOptions& options) {
  std::map<std::string, int> shrunk;
  for (CaseResult& result : report.cases) {
    if (!result.judged || result.judgement.good()) continue;
    Case smallest = result.one;
    if (shrunk[result.one.scheme.substr(0, result.one.scheme.find(':'))]++ < options.shrink_most &&
        !options.stop()) {
      const int level = failing_level(result.judgement);
      smallest = shrink(
          result.one,
          [&](const Case& one) {
            return failing_level(judge(one, subject, options.threads)) == level;
          },
          options.shrink_seconds);
      smallest.name = result.one.name + "/shrunk";
      result.shrunk = smallest;
    }
    result.repro =
        fmt::format("kvx check --backend {} --case '{}'", subject.name, case_text(smallest));
    if (options.out.empty() || !result.shrunk) continue;
    std::error_code ignored;  // a folder that cannot be made shows when the file is written
    std::filesystem::create_directories(options.out, ignored);
    result.file = options.out + "/" + file_name(result.one.name);
    write_case(result.file, smallest, result.judgement.first());
    result.repro = fmt::format("kvx check --backend {} --case {}", subject.name, result.file);
  }
}

// Events that a family must show and none of its cases does.
void find_lacking(const std::vector<Family>& families, Report& report) {
  std::map<std::string, Events> shown;
  std::map<std::string, size_t> judged;
  for (const CaseResult& result : report.cases) {
    if (!result.judged) continue;
    shown[result.family] |= result.judgement.events;
    ++judged[result.family];
  }
  for (const Family& family : families) {
    if (judged[family.name] == 0 || judged[family.name] < family.size) continue;
    const Events lacking = family.all & ~shown[family.name];
    if (lacking.any()) report.lacking.push_back(family.name + ": " + events_text(lacking));
  }
}

}  // namespace

Subject cpu_subject() {
  return {"cpu", [](std::string_view) { return true; },
          [](const Descriptor& descriptor, const CacheConfig& config) {
            return rechunked(ref::make_cache(descriptor, config));
          }};
}

bool Judgement::good() const { return failing_level(*this) < 0; }

std::string Judgement::first() const {
  const int level = failing_level(*this);
  if (level < 0) return "";
  return fmt::format("{} {}", level_name(static_cast<Level>(level)),
                     levels[static_cast<size_t>(level)].first);
}

Judgement judge(const Case& one, const Subject& subject, int threads) {
  const Clock::time_point begin = Clock::now();
  const Descriptor descriptor = Descriptor::parse(one.scheme);
  const CacheConfig config = case_config(one);
  const std::unique_ptr<LayerCache> reference = ref::make_cache(descriptor, config);
  const Inputs inputs(one, threads);
  Record record;
  try {
    const std::unique_ptr<LayerCache> cache = subject.make(descriptor, config);
    play(*cache, one, inputs, record);
  } catch (const std::exception& error) {
    record.see_text(Level::kE0, "making the cache", exception_text(error));
  }
  Comparison comparison(std::move(record));
  EventWatch watch(one, inputs);
  Both both(comparison, watch);
  play(*reference, one, inputs, both);
  return {comparison.finish(), watch.finish(), since(begin)};
}

std::vector<Family> select(const std::vector<Family>& families, const Selection& selection) {
  std::vector<Family> all;
  for (const Family& family : families) {
    Family chosen = family;
    chosen.cases.clear();
    for (size_t i = 0; i < family.cases.size(); ++i) {
      if (selection.smoke &&
          std::find(family.smoke.begin(), family.smoke.end(), i) == family.smoke.end())
        continue;
      if (selected(family.cases[i], selection.filter)) chosen.cases.push_back(family.cases[i]);
    }
    if (!chosen.cases.empty()) all.push_back(std::move(chosen));
  }
  return all;
}

Report run_check(const std::vector<Family>& families, const Subject& subject,
                 const CheckOptions& options) {
  const Clock::time_point begin = Clock::now();
  Report report;
  report.subject = subject.name;
  std::vector<const Family*> family_of;
  for (const Family& family : families) {
    if (!subject.has(family.scheme)) {
      if (report.without.empty() || report.without.back() != family.scheme)
        report.without.push_back(family.scheme);
      continue;
    }
    for (const Case& one : family.cases) {
      report.cases.emplace_back();
      report.cases.back().one = one;
      report.cases.back().family = family.name;
      family_of.push_back(&family);
    }
  }
  std::vector<size_t> order = spread(report.cases.size());
  std::mutex telling;
  const auto run = [&](size_t index, int threads) {
    if (options.stop()) return;
    CaseResult& result = report.cases[index];
    result.judgement = judge(result.one, subject, threads);
    result.judged = true;
    const Events wanted = family_of[index]->any;
    result.mistrusted = wanted.any() && (result.judgement.events & wanted).none();
    const std::lock_guard lock(telling);
    options.done(result.one);
  };
  // Large cases take a gigabyte or two each: few at a time, before the others.
  const auto small = std::stable_partition(order.begin(), order.end(), [&](size_t index) {
    return values(report.cases[index].one) > kLarge;
  });
  const int64_t large = small - order.begin();
  const int at_once = std::min(options.threads, kLargeAtOnce);
  parallel(at_once, large,
           [&](int64_t i) { run(order[static_cast<size_t>(i)], options.threads / at_once); });
  parallel(options.threads, static_cast<int64_t>(order.size()) - large,
           [&](int64_t i) { run(order[static_cast<size_t>(large + i)], 1); });
  report.stopped = options.stop();
  find_lacking(families, report);
  shrink_failures(report, subject, options);
  report.seconds = since(begin);
  return report;
}

int64_t Report::mismatches() const {
  return std::count_if(cases.begin(), cases.end(), [](const CaseResult& result) {
    return result.judged && !result.judgement.good();
  });
}

int64_t Report::mistrusted() const {
  return std::count_if(cases.begin(), cases.end(),
                       [](const CaseResult& result) { return result.mistrusted; });
}

bool Report::good() const {
  const bool any = std::any_of(cases.begin(), cases.end(),
                               [](const CaseResult& result) { return result.judged; });
  return any && mismatches() == 0 && mistrusted() == 0 && lacking.empty();
}

}  // namespace kvx::check
