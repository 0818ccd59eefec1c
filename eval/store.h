// The run folder: run.json says what is measured and with what, results.jsonl holds one line per
// finished unit, and positions/ the scores of every position. A run that was stopped at any moment
// continues from what is there.
//
//   run.json        written whole, by rename
//   results.jsonl   append-only; each line is on disk before the next unit starts; a unit that
//                   another backend computed too has a line more, and its last line holds
//   differences.jsonl   append-only, for people: what backends did not agree on
//   positions/*.f64 per unit: `targets` NLLs, divergences, then agreements of the most probable
//                   token (1 or 0), little-endian binary64; on disk before the line
//   lock            held by the process that writes
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>

#include "eval/record.h"

namespace kvx::eval {

inline constexpr const char* kRunSchema = "kvx-run/1";

// For people: what was found and mended.
using Note = std::function<void(const std::string&)>;

class RunFolder {
 public:
  // Makes the folder, or continues the one that is there. `header` is the content of run.json; of
  // an existing folder's, everything under "identity" must be equal, a scheme that both name must
  // have the same version; its "modes", "schemes", "sessions" and "windows" grow to hold both, and
  // "seed" is the new one. A torn last line of results.jsonl is cut off. Throws: usage Error where
  // the folder holds another measurement (naming field and both values), or files that are no run;
  // environment Error where another process holds it, or its files are damaged; not-saved Error
  // where it cannot be written.
  RunFolder(const std::string& path, const Json& header, const Note& note);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  const Json& header() const { return header_; }
  const UnitRecord* find(const UnitKey& key) const;
  size_t size() const { return records_.size(); }

  // Adds a finished unit; names and hashes its side file. Throws a not-saved Error and leaves the
  // finished lines as they were.
  void add(UnitRecord record, const PositionScores& scores);

  // Adds the backend that gave a finished unit the same values again: its line is written again,
  // with one backend more, and the last line of a unit holds. Throws as `add` does.
  void add_run(const UnitRecord& again);

  // Adds a line to differences.jsonl: where a backend gave other values.
  void add_difference(const Json& difference);

  // The scores of a finished unit. Throws an environment Error where the side file is not what was
  // written.
  PositionScores positions(const UnitRecord& record) const;

  // Writes a derived view, whole.
  void write_view(const std::string& name, std::string_view content) const;

 private:
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  void lock();
  void merge_header(const Json& header);
  void load_results(const Note& note);
  void append_line(const UnitRecord& record);

  std::string path_;
  int lock_ = -1;
  int results_ = -1;
  Json header_;
  std::map<UnitKey, UnitRecord> records_;
};

}  // namespace kvx::eval
