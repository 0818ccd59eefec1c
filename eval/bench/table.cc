#include "eval/bench/table.h"

#include <fmt/core.h>

#include <algorithm>
#include <optional>
#include <utility>

#include "eval/text_table.h"

namespace kvx::bench {
namespace {

std::string optional_text(const char* format, std::optional<double> value) {
  return value ? fmt::format(fmt::runtime(format), *value) : "";
}

// Seconds of the fastest peer with 16 bits a value on the same shape.
std::optional<double> best_peer(const Document& document, const Record& record) {
  std::optional<double> best;
  for (const Record& other : document.records)
    if (!document.own(other) && other.op == record.op && other.shape == record.shape &&
        other.bits == 16 && (!best || other.seconds.median < *best))
      best = other.seconds.median;
  return best;
}

}  // namespace

std::vector<BenchOp> ops_of(const Document& document) {
  std::vector<BenchOp> ops;
  for (const BenchOp op : {BenchOp::kDecode, BenchOp::kAttend, BenchOp::kStep, BenchOp::kEncode,
                           BenchOp::kAppend, BenchOp::kSeal})
    if (!records_of(document, op).empty()) ops.push_back(op);
  return ops;
}

std::string op_title(BenchOp op) {
  switch (op) {
    case BenchOp::kEncode:
      return "Encode";
    case BenchOp::kAppend:
      return "Append";
    case BenchOp::kSeal:
      return "Append that seals a unit";
    case BenchOp::kAttend:
      return "Attention";
    case BenchOp::kStep:
      return "Decode step of a layer";
    case BenchOp::kDecode:
      return "Decode step of a model";
  }
  return "";
}

std::string op_text(BenchOp op) {
  switch (op) {
    case BenchOp::kEncode:
      return "The whole context of every sequence into the cache. Bytes: rows in, and what the "
             "cache "
             "then holds.";
    case BenchOp::kAppend:
      return "The next tokens of every sequence, where no unit of several tokens is full. Bytes: "
             "rows "
             "in; launches take the time.";
    case BenchOp::kSeal:
      return "The same where a unit is full and is sealed: once in so many tokens.";
    case BenchOp::kAttend:
      return "The queries of the newest tokens over the whole cache. Bytes: what the cache holds, "
             "as "
             "counted.";
    case BenchOp::kStep:
      return "Append, attention, and keeping the newest rows. Bytes: of append and of attention.";
    case BenchOp::kDecode:
      return "One more token for every sequence, through all layers, logits and choice included. "
             "Bytes: what the caches hold; weights are read besides.";
  }
  return "";
}

std::vector<Record> records_of(const Document& document, BenchOp op) {
  std::vector<Record> records;
  std::vector<BenchShape> shapes;
  for (const Record& record : document.records) {
    if (record.op != op) continue;
    records.push_back(record);
    if (std::find(shapes.begin(), shapes.end(), record.shape) == shapes.end())
      shapes.push_back(record.shape);
  }
  std::stable_sort(records.begin(), records.end(), [&](const Record& a, const Record& b) {
    return std::find(shapes.begin(), shapes.end(), a.shape) <
           std::find(shapes.begin(), shapes.end(), b.shape);
  });
  return records;
}

report::Grid op_grid(const Document& document, BenchOp op) {
  const std::vector<Record> records = records_of(document, op);
  const auto any = [&](const auto& has) {
    return std::any_of(records.begin(), records.end(), has);
  };
  const bool rate =
      any([&](const Record& record) { return of_read(document, record).has_value(); });
  const bool copy =
      any([&](const Record& record) { return of_copy(document, record).has_value(); });
  const bool peers =
      any([&](const Record& record) { return best_peer(document, record).has_value(); });
  report::Grid grid;
  grid.left = 3;
  grid.head = {"#", "scheme", "shape", "bits/value", "MB", "us", "p10", "p90"};
  if (rate) grid.head.insert(grid.head.end(), {"GB/s", "of read"});
  if (copy) grid.head.push_back("of copy");
  if (op == BenchOp::kDecode)
    grid.head.insert(grid.head.end(), {"tokens/s", "sequences/GB", "model"});
  if (peers) grid.head.push_back("over best fp16 peer");
  for (const Record& record : records) {
    const auto bytes = static_cast<double>(record.bytes);
    const Spread& s = record.seconds;
    const auto us = [](double seconds) { return fmt::format("{:.2f}", 1e6 * seconds); };
    std::vector<std::string> cells{fmt::format("{}", grid.rows.size() + 1),
                                   label_of(record),
                                   shape_text(record.shape),
                                   optional_text("{:.3f}", record.bits),
                                   fmt::format("{:.3f}", 1e-6 * bytes),
                                   us(s.median) + (record.cold ? "" : " *"),
                                   us(s.p10),
                                   us(s.p90)};
    if (rate) {
      cells.push_back(fmt::format("{:.1f}", 1e-9 * bytes / s.median));
      cells.push_back(optional_text("{:.3f}", of_read(document, record)));
    }
    if (copy) cells.push_back(optional_text("{:.3f}", of_copy(document, record)));
    if (op == BenchOp::kDecode) {
      const auto sequences = static_cast<double>(record.shape.sequences);
      cells.push_back(fmt::format("{:.1f}", sequences / s.median));
      cells.push_back(fmt::format("{:.2f}", 1e9 * sequences / bytes));
      cells.push_back(record.model);
    }
    if (peers) {
      const auto peer = best_peer(document, record);
      cells.push_back(peer ? fmt::format("{:.2f}", *peer / s.median) : "");
    }
    grid.rows.push_back(std::move(cells));
  }
  return grid;
}

std::vector<std::string> session_lines(const Document& document) {
  std::vector<std::string> lines;
  for (const Session& session : document.sessions)
    lines.push_back(fmt::format(
        "{} on {} ({}): reads {:.1f} GB/s (p10 {:.1f}, p90 {:.1f}), copies {:.1f} GB/s, read and "
        "write counted",
        session.source, session.device, session.backend, 1e-9 * session.read.median,
        1e-9 * session.read.p10, 1e-9 * session.read.p90, 1e-9 * session.copy.median));
  return lines;
}

std::vector<std::string> note_lines(const Document& document) {
  std::vector<std::string> lines;
  for (const Session& session : document.sessions)
    for (const Absent& one : session.absent)
      lines.push_back(fmt::format("not run: {}: {}", one.name, one.reason));
  for (const Record& record : document.records)
    if (record.check)
      lines.push_back(fmt::format("{}: output within {:.2g} ({:.2g} of the largest) of {}",
                                  subject_text(record), record.check->max_abs,
                                  record.check->relative, record.check->against));
  const bool warm = std::any_of(document.records.begin(), document.records.end(),
                                [](const Record& record) { return !record.cold; });
  if (warm) lines.push_back("*: the buffers together fit into three times the last cache level");
  return lines;
}

std::string document_text(const Document& document) {
  std::string text;
  for (const std::string& line : session_lines(document)) text += line + "\n";
  for (const BenchOp op : ops_of(document))
    text += fmt::format("\n{}\n\n{}", op_title(op), grid_text(op_grid(document, op)));
  const std::vector<std::string> notes = note_lines(document);
  if (!notes.empty()) text += "\n";
  for (const std::string& line : notes) text += line + "\n";
  return text;
}

std::string document_csv(const Document& document) {
  std::string text =
      "source,backend,device,op,model,name,arithmetic,q_heads,kv_heads,head_dim,sequences,tokens,"
      "queries,"
      "length,bytes,bits_per_value,seconds,p10,p90,samples,calls,buffers,cold,clock_mhz,"
      "read_bytes_per_second,of_read,of_copy,check_max_abs,check_relative\n";
  for (const Record& r : document.records) {
    const Session& session = document.session_of(r);
    const auto [q_heads, kv_heads, head_dim, sequences, tokens, queries] = r.shape;
    text += fmt::format(
        "{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}\n",
        eval::csv_quoted(session.source), eval::csv_quoted(session.backend),
        eval::csv_quoted(session.device), op_name(r.op), eval::csv_quoted(r.model),
        eval::csv_quoted(r.name), eval::csv_quoted(r.arithmetic), q_heads, kv_heads, head_dim,
        sequences, tokens, queries, r.length, r.bytes, optional_text("{}", r.bits),
        r.seconds.median, r.seconds.p10, r.seconds.p90, r.seconds.samples, r.calls, r.buffers,
        r.cold ? 1 : 0, r.clock_mhz, session.read.median, optional_text("{}", of_read(document, r)),
        optional_text("{}", of_copy(document, r)),
        r.check ? fmt::format("{}", r.check->max_abs) : "",
        r.check ? fmt::format("{}", r.check->relative) : "");
  }
  return text;
}

}  // namespace kvx::bench
