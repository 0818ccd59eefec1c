// The kernels of one scheme for one layer, behind one interface: what the engine and the cache
// adapter know of gpu/X.cu. Every call enqueues work on a stream and nothing else; what is sealed
// follows from lengths in device memory alone, so all of it can be captured in a CUDA graph.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gpu/cache/layout.h"
#include "sim/api/cache.h"
#include "sim/api/descriptor.h"

namespace kvx::gpu {

// The first value of an append that is not finite after rounding to the input type, K before V, as
// (row * kv heads + head) * head dim + channel, + kKeyOfV; least of all. kAllFinite: none.
using NonFiniteKey = unsigned long long;
inline constexpr int64_t kKeyOfV = int64_t{1} << 62;
inline constexpr NonFiniteKey kAllFinite = ~0ull;
// As AppendArgs::scale_note of a LayerCache: K, and behind it V.
inline constexpr NonFiniteKey kScaleOfK = kAllFinite - 2;

struct AppendArgs {
  PassRows k, v;
  Pass pass;
  SideView view[2];                    // by Side
  NonFiniteKey* non_finite = nullptr;  // device; nullptr: not looked for (propagate)
  // Device. A scale that is not finite, which attention in `fixed` could not read, puts the note of
  // its side here, if that is less. nullptr: not looked for.
  NonFiniteKey* scale_key = nullptr;
  NonFiniteKey scale_note[2] = {};  // by Side
};

struct AttendArgs {
  const float* q = nullptr;  // device, [pass row][q heads][head dim] dense, rotated
  float* out = nullptr;      // the same shape
  int32_t q_heads = 0;       // a multiple of kv_heads
  PassRows k, v;             // of the same pass: its own exact rows, and of exact spans all rows
  Pass pass;
  SideView view[2];
  float* scratch = nullptr;  // device, attend_scratch_floats of the bounds
};

struct DecodeArgs {
  SideView view;
  Side side = Side::kK;
  int32_t slot = 0;
  int64_t first = 0;  // sealed tokens [first, first + count)
  int64_t count = 0;
  float* out = nullptr;    // device, [count][kv heads][head dim]
  bool unrounded = false;  // before the last rounding (SchemeKernels::exports_unrounded)
};

// Content of `tokens` sealed tokens of one KV head as it lies in a page's order: codes one a byte
// or element, metadata by group. Host memory.
struct SealedHead {
  int64_t tokens = 0;
  int dim = 0;
  std::vector<uint32_t> codes;  // [tokens][dim]
  std::vector<uint32_t> scale;  // stored patterns: [tokens][dim / group] or [tokens / group][dim]
  std::vector<uint32_t> zero;
  // Of sparse formats: [tokens][dim], 1 where a value is an outlier, and its binary16 pattern.
  std::vector<uint8_t> marks;
  std::vector<uint16_t> outliers;
};

class SchemeKernels {
 public:
  virtual ~SchemeKernels() = default;

  virtual const Traits& traits() const = 0;
  virtual const SideFormat& format(Side side) const = 0;
  virtual double nominal_bits(Side side) const = 0;

  // Seals what the rule says: tokens [sealed(first), sealed(first + count)) of every span, from the
  // ring where the token is older than the pass, else from the pass. Looks for values that are not
  // finite in all rows of the pass.
  virtual void append(const AppendArgs& args, cudaStream_t stream) const = 0;

  // Keeps the newest rows of the pass in the rings: after the pass's attention.
  virtual void settle(const AppendArgs& args, cudaStream_t stream) const = 0;

  // ieee.md 2.7 over what each query reads; fixed.md where the config says so, but of exact spans.
  virtual int64_t attend_scratch_floats(const Pass& bounds, const CacheShape& shape,
                                        int q_heads) const = 0;
  virtual void attend(const AttendArgs& args, cudaStream_t stream) const = 0;

  virtual void decode(const DecodeArgs& args, cudaStream_t stream) const = 0;

  // Exact bytes by item of a sequence of `length` tokens with so many outliers on this side, as the
  // page counts them.
  virtual ByteCount used(Side side, int64_t length, int64_t outliers) const = 0;

  // Tables that all sequences of the layer share (calibrated scales), in the page's order; empty if
  // none.
  virtual std::vector<std::byte> table(Side) const { return {}; }

  // The bytes of the page's image for sealed content, `heads` by KV head: what lies between tables
  // and exact rows.
  virtual void append_image(Side side, const std::vector<SealedHead>& heads,
                            std::vector<std::byte>& image) const = 0;

  // Whether canonical tensors show what decoding gives before its last rounding, too.
  virtual bool exports_unrounded() const { return false; }

  // Gives the canonical tensors of one side but `decoded` and `sealed` to the sink; `heads` by KV
  // head, of `sealed` tokens each, `length` tokens in the sequence.
  virtual void export_side(Side side, const std::vector<SealedHead>& heads, int64_t length,
                           const Sink& sink) const = 0;
};

// The kernels of a descriptor's scheme for one layer; nullptr where the scheme has none. Throws a
// usage Error where descriptor and shape do not fit, as the reference does.
std::unique_ptr<SchemeKernels> make_kernels(const Descriptor& descriptor,
                                            const CacheConfig& config);

}  // namespace kvx::gpu
