// Attention of one layer over what a cache lets each query read: the engine's, and that of task
// `error` (eval/error.md).
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "sim/api/cache.h"
#include "sim/model/attention_rows.h"
#include "sim/model/buffer.h"
#include "sim/model/pass_chunk.h"
#include "sim/model/step_attention.h"
#include "sim/model/transformer.h"

namespace kvx::model {

class AttentionPass {
 public:
  AttentionPass(CacheMode mode, NonFinite nonfinite, int threads)
      : mode_(mode), nonfinite_(nonfinite), threads_(threads), steps_(threads) {}

  // q [rows][heads][d] and k, v [rows][kv heads][d] of the pass, keys and queries rotated; k (in
  // the cache's key space) and v have been appended to `cache`. out [rows][heads][d].
  void run(const LayerCache& cache, std::span<const PassChunk> chunks, ConstRows q, ConstRows k,
           ConstRows v, Rows out);

  // The sequence is closed.
  void forget(SeqId seq) { steps_.forget(seq); }

 private:
  // One side of the cache as the queries of a chunk read it.
  struct SideReads {
    std::vector<ReadMap> maps;           // per query
    std::vector<int64_t> sealed_prefix;  // per query: rows below are those of `sealed`, the rest
                                         // exact; empty where a map has another form
    int64_t lead = 0;                    // rows of `sealed` that are exact (ReadForm)
    Buffer sealed, exact;                // [kv heads][rows][stride]
    int heads = 0;                       // KV heads
    int64_t rows = 0;
    int64_t stride = 0;
    std::vector<RowRange> needed;  // runs of rows of `sealed` and `exact` that some query reads

    float* row(Held held, int64_t t, int head) const {
      return (held == Held::kSealed ? sealed.get() : exact.get()) + (head * rows + t) * stride;
    }
  };

  void plan(const LayerCache& cache, const PassChunk& chunk, Side side, SideReads& reads) const;
  void fetch(const LayerCache& cache, const PassChunk& chunk, Side side, ConstRows fresh,
             SideReads& reads) const;
  bool tiles(const LayerCache& cache) const;
  void attend_tiles(const PassChunk& chunk, ConstRows q, Rows out);
  void attend_plain(const PassChunk& chunk, ConstRows q, Rows out) const;

  CacheMode mode_;
  NonFinite nonfinite_;
  int threads_;
  StepAttention steps_;
  SideReads k_, v_;
  Buffer panels_;   // keys for the tiles: sealed, then exact, [kv heads][panels][d][32] each
  Buffer scratch_;  // of the tiles, one part a thread
};

}  // namespace kvx::model
