// The result of one unit of work of task `ppl`: one window of the text under one scheme in one
// cache mode.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/number.h"
#include "sim/api/cache.h"

namespace kvx::eval {

inline constexpr const char* kRecordSchema = "kvx-result/2";

// Rises with every change of the protocol, of the engine or of the arithmetic that can move a bit
// of a result.
inline constexpr const char* kPplTask = "ppl@1";

struct UnitKey {
  std::string mode;    // cache mode
  int64_t window = 0;  // index in the text
  std::string scheme;  // versioned descriptor
  auto operator<=>(const UnitKey&) const = default;
  std::string str() const;  // "ppl@1/streamed/3/kivi@1:k2v2"
};

// "kivi@1:k2v2" -> "kivi:k2v2"
std::string scheme_label(const std::string& versioned);

// Scores of the scored positions of a window, in order.
struct PositionScores {
  std::vector<double> nll;       // of the next token, nats
  std::vector<double> kl;        // KL(base || scheme), nats
  std::vector<double> same_top;  // 1 where the most probable token is the base's, else 0

  explicit PositionScores(size_t targets = 0) : nll(targets), kl(targets), same_top(targets) {}
};

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

// One backend's pass over the unit. None of it is part of the values.
struct BackendRun {
  std::string backend;
  double seconds = 0;  // wall clock of the pass
  std::optional<ShadowCount> shadow;
};

struct UnitRecord {
  UnitKey key;
  std::string protocol;
  int64_t tokens = 0;
  int64_t context = 0;         // tokens that were read exactly as computed
  int64_t first_position = 0;  // whose prediction is the first one scored
  int64_t targets = 0;
  double nll_mean = 0;
  double kl_mean = 0;
  double kl_p999 = 0;
  double kl_max = 0;
  int64_t same_top = 0;             // positions
  std::array<ByteCount, 2> bytes;   // of all layers at the end of the window, by side
  int64_t values = 0;               // K values held by all layers; as many V values
  std::array<double, 2> nominal{};  // bits per value, mean over layers, by side
  // logits_hash of the rows of the scored positions; absent in records of earlier programs.
  std::optional<uint64_t> logits;
  std::string positions_file;  // relative to the run folder
  std::string positions_sha256;
  std::vector<BackendRun> runs;  // that computed these values, each backend once

  double seconds() const { return runs.front().seconds; }
  bool has_run(std::string_view backend) const;
  // Fills the statistics from the scores.
  void summarise(const PositionScores& scores);
};

Json to_json(const UnitRecord& record);
// Throws std::exception where a field is missing or of the wrong type.
UnitRecord parse_record(const Json& json);

}  // namespace kvx::eval
