// Attention of steps of generation: chunks of one token, which read the same sealed rows step after
// step. Private to the engine.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/api/cache.h"
#include "sim/model/attention_rows.h"
#include "sim/model/buffer.h"
#include "sim/model/decoded_rows.h"

namespace kvx::model {

// Queries of a tile at most, for any instruction set (num::attention_tile_rows).
inline constexpr size_t kMaxTileRows = 16;

class StepAttention {
 public:
  explicit StepAttention(int threads);

  // One token of a sequence in a pass.
  struct Step {
    Span span;
    int64_t row = 0;  // in the pass
    ReadForm k, v;
    DecodedRows* decoded = nullptr;
  };

  // The chunk as a step; none where its reads have another form, the scheme's sealed rows may
  // change, or their memory would be too much.
  std::optional<Step> plan(const LayerCache& cache, const Span& span, int64_t row);

  // q [rows of the pass][heads][d], rotated; out alike. Only the steps' rows are written.
  void run(const LayerCache& cache, std::span<const Step> steps, ConstRows q, Rows out);

  // The sequence is closed.
  void forget(SeqId seq);

 private:
  struct Room {
    Buffer keys, panels, values, scratch;
  };
  void attend(const LayerCache& cache, const Step& step, ConstRows q, Rows out, Room& room) const;

  int threads_;
  int64_t bytes_left_;
  std::map<std::pair<SeqId, int>, std::pair<DecodedRows, int64_t>> decoded_;  // by layer; bytes
  std::vector<Room> rooms_;                                                   // one a thread
};

}  // namespace kvx::model
