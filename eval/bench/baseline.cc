#include "eval/bench/baseline.h"

#include <fmt/core.h>

#include <algorithm>

#include "sim/api/error.h"

namespace kvx::bench {
namespace {

const Record* find(const Document& in, const Document& of, const Record& record) {
  const auto found = std::find_if(in.records.begin(), in.records.end(), [&](const Record& one) {
    return same_subject(in, one, of, record);
  });
  return found == in.records.end() ? nullptr : &*found;
}

std::string change_text(const Change& change) {
  const Spread &then = change.before.seconds, &now = change.after.seconds;
  return fmt::format(
      "{}: {}: {:.2f} us before (p10 {:.2f}, p90 {:.2f}), {:.2f} us now, {:+.1f} %\n",
      change.judgement == Judgement::kSlower ? "SLOWER" : "faster", subject_text(change.after),
      1e6 * then.median, 1e6 * then.p10, 1e6 * then.p90, 1e6 * now.median,
      100 * (now.median / then.median - 1));
}

}  // namespace

int64_t Comparison::slower() const {
  return std::count_if(changes.begin(), changes.end(),
                       [](const Change& change) { return change.judgement == Judgement::kSlower; });
}

void check_comparable(const Document& before, const std::string& baseline,
                      const std::string& backend, const std::string& device,
                      const std::vector<BenchShape>& shapes) {
  for (const Session& session : before.sessions)
    if (session.source == kOwnSource && (session.backend != backend || session.device != device))
      throw usage_error(fmt::format("--baseline {}: measured on {} ({}), this is {} ({})", baseline,
                                    session.device, session.backend, device, backend));
  for (const BenchShape& shape : shapes) {
    const bool known = std::any_of(
        before.records.begin(), before.records.end(),
        [&](const Record& record) { return before.own(record) && record.shape == shape; });
    if (!known)
      throw usage_error(
          fmt::format("--baseline {}: has no measurement of {}", baseline, shape_text(shape)));
  }
}

Comparison compare(const Document& after, const Document& before) {
  Comparison comparison;
  for (const Record& record : after.records) {
    if (!after.own(record)) continue;
    const Record* const then = find(before, after, record);
    if (then == nullptr) {
      comparison.only_after.push_back(subject_text(record));
    } else {
      comparison.changes.push_back({*then, record, judge(then->seconds, record.seconds)});
    }
  }
  for (const Record& record : before.records)
    if (before.own(record) && find(after, before, record) == nullptr)
      comparison.only_before.push_back(subject_text(record));
  return comparison;
}

std::string comparison_text(const Comparison& comparison) {
  std::string text;
  for (const Judgement wanted : {Judgement::kSlower, Judgement::kFaster})
    for (const Change& change : comparison.changes)
      if (change.judgement == wanted) text += change_text(change);
  for (const std::string& subject : comparison.only_after)
    text += fmt::format("not in the baseline: {}\n", subject);
  for (const std::string& subject : comparison.only_before)
    text += fmt::format("in the baseline alone: {}\n", subject);
  return text +
         fmt::format("{} compared, {} slower\n", comparison.changes.size(), comparison.slower());
}

}  // namespace kvx::bench
