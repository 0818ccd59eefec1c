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
#include <variant>
#include <vector>

#include "eval/record.h"

namespace kvx::eval {

inline constexpr const char* kRunSchema = "kvx-run/2";

// For people: what was found and mended.
using Note = std::function<void(const std::string&)>;

class RunFolder {
 public:
  // Makes the folder, or continues the one that is there. `header` is the content of run.json; of
  // an existing folder's, everything under "identity", and under "tasks" of a task that both name,
  // must be equal, and a scheme that both name must have the same version; its "tasks", "measured",
  // "schemes" and "sessions" grow to hold both, and "seed" is the new one. A torn last line of
  // results.jsonl is cut off. Throws: usage Error where the folder holds another measurement
  // (naming field and both values), or files that are no run; environment Error where another
  // process holds it, or its files are damaged; not-saved Error where it cannot be written.
  RunFolder(const std::string& path, const Json& header, const Note& note);
  ~RunFolder();
  RunFolder(const RunFolder&) = delete;
  RunFolder& operator=(const RunFolder&) = delete;

  const std::string& path() const { return path_; }
  const Json& header() const { return header_; }
  // nullptr: not measured yet.
  const UnitRecord* find(const UnitKey& key) const;
  const WindowRecord* find_window(const UnitKey& key) const { return find_as<WindowRecord>(key); }
  const SampleRecord* find_sample(const UnitKey& key) const { return find_as<SampleRecord>(key); }
  const ErrorRecord* find_error(const UnitKey& key) const { return find_as<ErrorRecord>(key); }
  size_t size() const { return records_.size(); }

  // Adds a finished window; names and hashes its side file. Throws a not-saved Error and leaves the
  // finished lines as they were.
  void add(WindowRecord record, const PositionScores& scores);
  // Adds finished samples, all of them on disk when it returns. Throws as above.
  void add(std::vector<SampleRecord> records);
  // Adds a finished unit of task `error`. Throws as above.
  void add(ErrorRecord record);

  // Adds the backend that gave a finished unit the same values again: its line is written again,
  // with one backend more, and the last line of a unit holds. Throws as `add` does.
  void add_run(const UnitRecord& again);

  // Adds a line to differences.jsonl: where a backend gave other values.
  void add_difference(const Json& difference);

  // The scores of a finished unit. Throws an environment Error where the side file is not what was
  // written.
  PositionScores positions(const WindowRecord& record) const;

  // Writes a derived view, whole.
  void write_view(const std::string& name, std::string_view content) const;

 private:
  std::string file(const std::string& name) const { return path_ + "/" + name; }
  void lock();
  void merge_header(const Json& header);
  void load_results(const Note& note);
  void append(const std::string& lines);
  template <class T>
  const T* find_as(const UnitKey& key) const {
    const auto found = records_.find(key);
    return found == records_.end() ? nullptr : std::get_if<T>(&found->second);
  }

  std::string path_;
  int lock_ = -1;
  int results_ = -1;
  Json header_;
  std::map<UnitKey, Record> records_;
};

}  // namespace kvx::eval
