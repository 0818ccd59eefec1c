// One layer of a cache under load: what `kvx bench` times, with the same meaning on either side.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "sim/api/cache.h"

namespace kvx {

enum class BenchOp : uint8_t {
  kEncode,  // the whole context of every sequence, appended and settled
  kAppend,  // the next tokens of every sequence, at a length where no unit of tokens is sealed
  kSeal,    // the same at a length where one is: schemes that seal several tokens at once
  kAttend,  // attention of the appended tokens' queries
  kStep,    // append, attend and settle: a decode step of one layer
  kDecode,  // a greedy decode step of a whole model
};
inline constexpr int kBenchOps = 5;  // of a layer: all but kDecode

struct BenchShape {
  int q_heads = 0;  // a multiple of kv_heads
  int kv_heads = 0;
  int head_dim = 0;
  int64_t sequences = 0;
  int64_t tokens = 0;   // of every sequence before a step
  int64_t queries = 1;  // tokens that a step adds to every sequence
  bool operator==(const BenchShape&) const = default;
};

// What a cache is filled with: rows [rows][kv heads][head dim] that a context repeats, and queries
// [sequences * queries][q heads][head dim]; binary32, finite in binary16.
struct BenchInputs {
  int64_t rows = 0;
  std::vector<float> k, v, q;
};

struct BenchTimes {
  std::vector<double> seconds;  // of one call, by sample
  int64_t calls = 0;            // that a sample is the mean of
  int64_t buffers = 0;          // distinct caches that the calls go round
  bool cold = false;            // together larger than three times the last cache level
  double clock_mhz = 0;         // of the processors behind the samples; 0: not known
};

// Bytes that a call must move, of what comes in and what the caches hold: kEncode: a context in,
// `filled` held then; kAppend, kSeal: a step's rows in; kAttend: `held` read; kStep: both.
inline int64_t moved_bytes(BenchOp op, int64_t context_in, int64_t step_in, int64_t filled,
                           int64_t held) {
  if (op == BenchOp::kEncode) return context_in + filled;
  return (op == BenchOp::kAttend ? 0 : step_in) +
         (op == BenchOp::kAttend || op == BenchOp::kStep ? held : 0);
}

// Cannot be copied or moved by its users; not for several threads.
class LayerBench {
 public:
  virtual ~LayerBench() = default;

  // Layers that are timed and counted together: of kDecode the model's.
  virtual int64_t layers() const { return 1; }

  // Whether there is a length at which `op` is done: kSeal only of schemes that seal several tokens
  // at once.
  virtual bool has(BenchOp op) const = 0;
  // Tokens of a sequence at the end of `op`: tokens, or up to some more where the length decides
  // what is sealed.
  virtual int64_t length(BenchOp op) const = 0;
  // moved_bytes of this layer, as counted; of kDecode what the caches hold.
  virtual int64_t bytes(BenchOp op) const = 0;
  // Counted bytes of all sequences after kAppend.
  virtual ByteCount used(Side side) const = 0;

  // Times a call `samples` times.
  virtual BenchTimes time(BenchOp op, int samples) = 0;

  // Output of kAttend, [sequences * queries][q heads][head dim]: of the last call that `time` has
  // made of it (`timed`), and of a call by itself.
  virtual std::vector<float> attended(bool timed) = 0;
};

}  // namespace kvx
