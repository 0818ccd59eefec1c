// The result of one unit of work of task `ppl`: one window of the text under one scheme in one
// cache mode.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/number.h"
#include "eval/unit.h"

namespace kvx::eval {

inline constexpr const char* kWindowSchema = "kvx-result/2";

// Rises with every change of the protocol, of the engine or of the arithmetic that can move a bit
// of a result.
inline constexpr const char* kPplTask = "ppl@1";

// What a run.json says of the text and its windows.
const Json& ppl_identity(const Json& run);

UnitKey window_key(const std::string& mode, int64_t window, const std::string& scheme);

// Scores of the scored positions of a window, in order.
struct PositionScores {
  std::vector<double> nll;       // of the next token, nats
  std::vector<double> kl;        // KL(base || scheme), nats
  std::vector<double> same_top;  // 1 where the most probable token is the base's, else 0

  explicit PositionScores(size_t targets = 0) : nll(targets), kl(targets), same_top(targets) {}
};

struct WindowRecord : UnitRecord {
  std::string protocol;
  int64_t window = 0;          // index in the text
  int64_t context = 0;         // tokens that were read exactly as computed
  int64_t first_position = 0;  // whose prediction is the first one scored
  int64_t targets = 0;
  double nll_mean = 0;
  double kl_mean = 0;
  double kl_p999 = 0;
  double kl_max = 0;
  int64_t same_top = 0;        // positions
  std::string positions_file;  // relative to the run folder
  std::string positions_sha256;

  // Fills the statistics from the scores.
  void summarise(const PositionScores& scores);
};

Json to_json(const WindowRecord& record);
// Throws std::exception where a field is missing or of the wrong type.
WindowRecord parse_window_record(const Json& json);

}  // namespace kvx::eval
