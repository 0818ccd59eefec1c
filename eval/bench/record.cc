#include "eval/bench/record.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <utility>

namespace kvx::bench {
namespace {

constexpr std::array<const char*, kBenchOps + 1> kOps{"encode", "append", "seal",
                                                      "attend", "step",   "decode"};

}  // namespace

const char* op_name(BenchOp op) { return kOps[static_cast<size_t>(op)]; }

std::optional<BenchOp> find_op(std::string_view name) {
  const auto found = std::find(kOps.begin(), kOps.end(), name);
  if (found == kOps.end()) return std::nullopt;
  return static_cast<BenchOp>(found - kOps.begin());
}

bool same_subject(const Document& a, const Record& x, const Document& b, const Record& y) {
  const Session &s = a.session_of(x), &t = b.session_of(y);
  return s.source == t.source && s.backend == t.backend && x.op == y.op && x.name == y.name &&
         x.arithmetic == y.arithmetic && x.model == y.model && x.shape == y.shape;
}

void add_record(Document& document, Record record) {
  const auto known = std::find_if(
      document.records.begin(), document.records.end(),
      [&](const Record& old) { return same_subject(document, old, document, record); });
  if (known == document.records.end()) {
    document.records.push_back(std::move(record));
  } else {
    *known = std::move(record);
  }
}

void merge(Document& document, const Document& more) {
  const size_t first = document.sessions.size();
  document.sessions.insert(document.sessions.end(), more.sessions.begin(), more.sessions.end());
  for (Record record : more.records) {
    record.session += first;
    add_record(document, std::move(record));
  }
}

void drop_idle_sessions(Document& document) {
  std::vector<size_t> moved(document.sessions.size());
  std::vector<Session> kept;
  for (size_t i = 0; i < document.sessions.size(); ++i) {
    Session& session = document.sessions[i];
    const bool used = !session.absent.empty() ||
                      std::any_of(document.records.begin(), document.records.end(),
                                  [i](const Record& record) { return record.session == i; });
    moved[i] = kept.size();
    if (used) kept.push_back(std::move(session));
  }
  document.sessions = std::move(kept);
  for (Record& record : document.records) record.session = moved[record.session];
}

std::optional<double> of_read(const Document& document, const Record& record) {
  if (record.op == BenchOp::kAppend || record.op == BenchOp::kSeal || record.op == BenchOp::kDecode)
    return std::nullopt;
  return static_cast<double>(record.bytes) / record.seconds.median /
         document.session_of(record).read.median;
}

std::optional<double> of_copy(const Document& document, const Record& record) {
  if (record.op != BenchOp::kEncode) return std::nullopt;
  return static_cast<double>(record.bytes) / record.seconds.median /
         document.session_of(record).copy.median;
}

std::string shape_text(const BenchShape& shape) {
  return fmt::format("{}/{} x {}, batch {}, {} tokens{}", shape.q_heads, shape.kv_heads,
                     shape.head_dim, shape.sequences, shape.tokens,
                     shape.queries == 1 ? "" : fmt::format(", {} queries", shape.queries));
}

std::string label_of(const Record& record) {
  std::string label = record.name;
  if (const size_t at = label.find('@'); at != std::string::npos) {
    const size_t end = label.find_first_not_of("0123456789", at + 1);
    label.erase(at, (end == std::string::npos ? label.size() : end) - at);
  }
  return record.arithmetic == "fixed" ? label + " fixed" : label;
}

std::string subject_text(const Record& record) {
  return fmt::format("{} {}, {}{}", op_name(record.op), label_of(record),
                     record.model.empty() ? "" : record.model + ", ", shape_text(record.shape));
}

}  // namespace kvx::bench
