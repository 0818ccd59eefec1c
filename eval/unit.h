// What every unit of a run records, whatever its task: what it is, what its cache held, and what
// computed it.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "eval/number.h"
#include "sim/api/cache.h"

namespace kvx::eval {

struct UnitKey {
  std::string task;    // with its version: "ppl@1"
  std::string mode;    // cache mode
  std::string item;    // of the task: a window's index, a sample's name; without slashes
  std::string scheme;  // versioned descriptor
  auto operator<=>(const UnitKey&) const = default;
  std::string str() const;  // "ppl@1/streamed/3/kivi@1:k2v2"
};

// "kivi@1:k2v2" -> "kivi:k2v2"
std::string scheme_label(const std::string& versioned);

// "ppl@1" -> "ppl"
std::string task_name(const std::string& versioned);

// Values of a pass that the CPU reference computed again, and how many came out otherwise.
struct ShadowCount {
  int64_t cache = 0;      // E0: codes, scales, zeros, which tokens are sealed, bytes by item
  int64_t decoded = 0;    // E1
  int64_t attention = 0;  // E2: of sampled queries
  int64_t mismatches = 0;

  ShadowCount& operator+=(const ShadowCount& other);
  bool operator==(const ShadowCount&) const = default;
};

// {"E0": .., "E1": .., "E2": .., "mismatches": ..}
Json shadow_json(const ShadowCount& count);

// One backend's work on the unit. None of it is part of the values.
struct BackendRun {
  std::string backend;
  double seconds = 0;  // wall clock
  std::optional<ShadowCount> shadow;
};

struct UnitRecord {
  UnitKey key;
  int64_t tokens = 0;               // that passed through the model, for the speed
  std::array<ByteCount, 2> bytes;   // of all layers, by side
  int64_t values = 0;               // K values held by all layers; as many V values
  std::array<double, 2> nominal{};  // bits per value, mean over layers, by side
  // A hash of every logit that decided a value; absent in records of earlier programs.
  std::optional<uint64_t> logits;
  std::vector<BackendRun> runs;  // that computed these values, each backend once

  double seconds() const { return runs.front().seconds; }
  bool has_run(std::string_view backend) const;
};

// Adds the fields above to a line of results.jsonl.
void add_unit(const UnitRecord& record, Json& json);
// Reads them. Throws std::exception where a field is missing or of the wrong type.
void read_unit(const Json& json, UnitRecord& record);

}  // namespace kvx::eval
