// What a case must show to be worth trusting: the odd things a kernel can get wrong. Found by small
// predicates of their own from the inputs and from the reference's canonical content.
#pragma once

#include <bitset>
#include <map>
#include <string>
#include <vector>

#include "eval/check/case.h"
#include "eval/check/inputs.h"
#include "eval/check/record.h"

namespace kvx::check {

enum class Event : uint8_t {
  // Of the arithmetic.
  kTie,             // a quotient exactly half way between two codes
  kConstantGroup,   // all values of a group equal
  kZeroGroup,       // all of them zeros
  kMixedZeros,      // a group with both +0 and -0
  kNegativeZero,    // an input that is -0 in the input type
  kClamp,           // a rounded quotient outside the codes
  kFlush,           // a non-zero value, or a non-zero spread, whose code or scale is zero
  kSubnormalInput,  // subnormal in the input type
  kSubnormalScale,  // a scale that is subnormal, or the least there may be
  kSubnormalCode,   // a code that is subnormal (fp8)
  kOverflow,        // a scale or a decoded value that is infinite, though the inputs are finite
  kInputTie,        // an input half way between two numbers of the stored or input type
  kInputOverflow,   // a finite input that rounds to infinity
  kNonFiniteInput,  // NaN or infinity
  kPaddedGroup,     // a group that does not fill its words
  kFused,           // a code that a fused product and sum would change (ggml)
  kOutlier,         // a value stored beside the codes
  kAtThreshold,     // a value equal to an end of its channel's calibrated range
  kTiedOutliers,    // of equal values of a token some are outliers by their channel alone
  // Of the policy.
  kDecodeSeals,     // a step of one token seals some
  kPrefillSeals,    // a longer step seals some but not all
  kExactRows,       // rows still exact at the end
  kSink,            // exact rows before sealed ones
  kLateSeal,        // a query reads exactly what its own token sealed
  kEarlySeal,       // a query reads decoded what its own token sealed
  kEmptyGroupSide,  // nothing sealed on one side while the other has some
  // Of the order of sums and of bookkeeping.
  kSegments,      // attention over more than 256 rows
  kGroupedHeads,  // more query heads than KV heads
  kWideScores,    // queries large enough to leave one row with all the weight
  kBatch,
  kFork,
  kCut,
  kCutRefused,
  kRefused,  // an append refused for a value, or under `fixed` a scale, that is not finite
  // Of attention in arithmetic `fixed` (fixed.md), of the last append's last token.
  kTiles,         // over more than 128 rows: several tiles
  kTileSegments,  // over more than 1024
  kSpans,         // over more than 8192
  kScoreClamp,    // a score beyond 2^20
  kLaterMaximum,  // a maximum in a tile behind the first
  kFarWeight,     // a weight, of a row in its tile or of a tile in the fold, below 2^-100
  kKeyFloor,      // q * s of a K group all below 2^-64
  kValueFloor,    // scales or zeros of V of a tile all below 2^-64
  kExactTile,     // a tile without a sealed row of V
  kExactKeys,     // a row read exactly of K and sealed of V
  kExactValues,   // the other way round
};
inline constexpr int kEvents = static_cast<int>(Event::kExactValues) + 1;
using Events = std::bitset<kEvents>;

const char* event_name(Event event);
// Throws a usage Error that lists the names.
Events parse_events(const std::vector<std::string>& names);
std::vector<std::string> event_names(const Events& events);
std::string events_text(const Events& events);  // "tie, clamp"

// Sees what the reference shows of a case, sequence 0, and finds the events in it.
class EventWatch final : public Recorder {
 public:
  EventWatch(const Case& one, const Inputs& inputs) : one_(one), inputs_(inputs) {}

  void see(Level level, const std::string& name, const std::string& dtype,
           const std::vector<int64_t>& shape, std::span<const std::byte> bytes,
           const char* axes) override;

  // After the last thing.
  Events finish();

 private:
  void set(Event event) { events_.set(static_cast<size_t>(event)); }

  const Case& one_;
  const Inputs& inputs_;
  Events events_;
  std::map<std::string, Thing> content_;  // canonical tensors of sequence 0, the last seen
  std::map<std::string, int64_t> sealed_, read_sealed_;  // by side, after the last step seen
  size_t step_ = SIZE_MAX;
};

// The events of the arithmetic in sequence 0's K and V; `content` holds its canonical tensors.
Events value_events(const Case& one, const Inputs& inputs,
                    const std::map<std::string, Thing>& content);

// The events of arithmetic `fixed`; the last query read rows of K below `k_sealed` sealed, of V
// below `v_sealed`, and the others exactly.
Events fixed_events(const Case& one, const Inputs& inputs,
                    const std::map<std::string, Thing>& content, int64_t k_sealed,
                    int64_t v_sealed);

}  // namespace kvx::check
