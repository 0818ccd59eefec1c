// What `kvx bench` measures and writes: bench.json, schema kvx-bench/1 (reports/schema/bench.md).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/bench/spread.h"
#include "eval/number.h"
#include "sim/api/layer_bench.h"

namespace kvx::bench {

using eval::Json;

inline constexpr const char* kBenchSchema = "kvx-bench/1";
inline constexpr const char* kBenchFile = "bench.json";
inline constexpr const char* kOwnSource = "kvx";  // other sources are peers

// "encode", "append", "seal", "attend", "step", "decode"
const char* op_name(BenchOp op);
std::optional<BenchOp> find_op(std::string_view name);

// What was asked for and could not be run.
struct Absent {
  std::string name;    // scheme or peer, and shape
  std::string reason;  // one line
};

// One process on one machine.
struct Session {
  std::string source = kOwnSource;
  std::string backend;  // "cuda", "cpu"
  std::string device;   // the processor's own name
  Spread read, copy;    // bytes per second of its memory, measured in the process
  Json made;            // how: command, program, host; not compared
  std::vector<Absent> absent;
};

// A peer's output against attention in a wider type over the values that it decodes.
struct OutputCheck {
  std::string against;
  double max_abs = 0;   // largest difference
  double relative = 0;  // over the largest output
};

struct Record {
  size_t session = 0;
  BenchOp op = BenchOp::kAttend;
  std::string name;  // versioned scheme, or a peer
  std::string arithmetic;
  std::string model;  // of kDecode: file or folder, or random:NAME
  BenchShape shape;
  int64_t length = 0;              // tokens of a sequence at the end of the call
  int64_t bytes = 0;               // that a call must move (LayerBench::bytes)
  std::optional<double> bits;      // per value, counted
  Spread seconds;                  // of one call
  int64_t calls = 0, buffers = 0;  // BenchTimes
  bool cold = false;
  double clock_mhz = 0;
  std::optional<OutputCheck> check;
};

struct Document {
  std::vector<Session> sessions;
  std::vector<Record> records;

  const Session& session_of(const Record& record) const { return sessions[record.session]; }
  bool own(const Record& record) const { return session_of(record).source == kOwnSource; }
};

// The same measurement of the same thing.
bool same_subject(const Document& a, const Record& x, const Document& b, const Record& y);

// Adds a record of one of the document's sessions; one of the same subject is replaced.
void add_record(Document& document, Record record);
// Takes the sessions and records of `more`.
void merge(Document& document, const Document& more);
// Forgets sessions of which nothing is left: neither records nor what could not be run.
void drop_idle_sessions(Document& document);

// Bytes per second over the measured read (or copy) bandwidth of its own session; none where those
// bytes are not what takes the time (append, seal, decode), copy of encode alone.
std::optional<double> of_read(const Document& document, const Record& record);
std::optional<double> of_copy(const Document& document, const Record& record);

std::string shape_text(const BenchShape& shape);  // "32/8 x 128, batch 8, 32768 tokens"
std::string label_of(const Record& record);       // without version; " fixed" behind it
std::string subject_text(const Record& record);   // "attend int:k4v4, 32/8 x 128, ..."

Json document_json(const Document& document);
// Throws an environment Error naming `file` and what is wrong.
Document parse_document(const Json& json, const std::string& file);
// A run folder, or a file. Throws an environment Error.
Document read_document(const std::string& path);

}  // namespace kvx::bench
