// The layer cache: the policy of a scheme for one layer. What is sealed when, what stays exact, and
// what each query reads. Both sides (ref, gpu) implement it; the engine and the driver know nothing
// else of a scheme.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "sim/api/artifact.h"
#include "sim/api/coder.h"
#include "sim/api/tensor.h"

namespace kvx {

enum class Side : uint8_t { kK, kV };
inline const char* side_name(Side side) { return side == Side::kK ? "k" : "v"; }

enum class KeySpace : uint8_t { kRotated, kPreRope };

// K and V reach `append` in binary32 and are rounded once (RNE) to this type before anything else.
enum class InputType : uint8_t { kF32, kF16, kBf16 };

// Laws a scheme may claim; each is tested for every scheme that claims it.
enum class Law : uint8_t {
  kChunk = 1,     // any splitting of the same rows into appends gives the same bytes
  kBatch = 2,     // other sequences in the cache change nothing
  kPrefix = 4,    // sealed bytes never change
  kMetadata = 8,  // codes are computed with the metadata that decode will read
  kBytes = 16     // the image is as long as the count says
};
using LawSet = uint8_t;
inline constexpr LawSet kAllLaws = 31;
inline bool claims(LawSet laws, Law law) { return (laws & static_cast<LawSet>(law)) != 0; }

struct Traits {
  KeySpace keys = KeySpace::kRotated;
  InputType input = InputType::kF16;
  bool fixed_size = true;             // bytes follow from the length alone
  bool query_dependent_read = false;  // reads depend on q: only `attend` can tell
  LawSet laws = kAllLaws;
};

struct LayerShape {
  int layer = 0;
  int kv_heads = 0;
  int head_dim = 0;
};

// Exact windows: kept as the scheme says, or counted as 0 (cache mode `all`: whatever can be sealed
// is sealed, only an incomplete group along tokens stays exact).
enum class Windows : uint8_t { kKept, kNone };

enum class NonFinite : uint8_t { kRefuse, kPropagate };

// What `attend` computes with: IEEE operations in a written order (ieee.md, 2.7), or exact integer
// sums over codes (fixed.md). Only schemes of affine codes have `fixed`, and with
// NonFinite::kRefuse alone; making another's cache throws a usage Error that names the descriptor
// and why. Under `fixed` an append whose codes would get a scale that is not finite throws an
// environment Error.
enum class Arithmetic : uint8_t { kIeee, kFixed };
inline const char* arithmetic_name(Arithmetic arithmetic) {
  return arithmetic == Arithmetic::kIeee ? "ieee" : "fixed";
}

struct CacheConfig {
  LayerShape shape;
  Windows windows = Windows::kKept;
  NonFinite nonfinite = NonFinite::kRefuse;
  Arithmetic arithmetic = Arithmetic::kIeee;
  Artifacts artifacts = nullptr;  // must be set for a descriptor that names one
  // [head dim / 2], one per rotary pair (2^64 per turn; num::rope_steps). `attend` of a cache with
  // keys before rotation needs them.
  std::vector<uint64_t> rope_steps = {};
};

using SeqId = int32_t;

// Sealed rows of one side and KV head in the form that arithmetic `fixed` reads (fixed.md, 2), from
// row 0 on: x^ = code * scale + zero.
struct AffineRows {
  const uint8_t* codes = nullptr;  // [rows][head dim]
  // Groups along tokens: [rows / group][head dim]; along channels: [rows][head dim / group].
  const float* scale = nullptr;
  const float* zero = nullptr;
  bool along_tokens = false;
  int group = 0;
};

// Consecutive tokens of one sequence inside a batch of rows.
struct Span {
  SeqId seq = 0;
  int64_t first = 0;        // position of the first token in its sequence
  int64_t count = 0;        // tokens
  bool prompt_end = false;  // the prompt ends with this span
};

enum class Held : uint8_t { kSealed, kExact };

// Tokens [first, first + count) and how they are read.
struct RowRange {
  int64_t first = 0;
  int64_t count = 0;
  Held held = Held::kSealed;
  bool operator==(const RowRange&) const = default;
};

// Ascending, disjoint, no empty ranges. Tokens in no range are not read at all.
using ReadMap = std::vector<RowRange>;

// Exact bytes by item.
struct ByteCount {
  std::array<int64_t, kItems> bytes{};
  int64_t& operator[](Item item) { return bytes[static_cast<size_t>(item)]; }
  int64_t operator[](Item item) const { return bytes[static_cast<size_t>(item)]; }
  int64_t total() const;
  ByteCount& operator+=(const ByteCount& other);
};

// One run of bytes of the serialised image at some length.
struct LayoutEntry {
  std::string name;  // e.g. "k.head0.block3.scale"
  std::string dtype;
  std::string shape;
  int64_t offset = 0;
  int64_t bytes = 0;
  Item item = Item::kCodes;
};

// Receives canonical logical tensors, e.g. ("k.codes", "U8", {kv_heads, tokens, head_dim}, bytes).
using Sink =
    std::function<void(const std::string& name, const std::string& dtype,
                       const std::vector<int64_t>& shape, std::span<const std::byte> bytes)>;

// The canonical tensor of that name, nullptr if there is none; valid until the next call. Its bytes
// are as long as shape and dtype ask for.
using TensorSource = std::function<const ArtifactTensor*(const std::string& name)>;

// Const members may run on several threads at once. Calls against the rules below (a span that does
// not start at its sequence's length, a closed sequence, rows that are not held) throw
// std::logic_error.
class LayerCache {
 public:
  virtual ~LayerCache() = default;

  virtual const Traits& traits() const = 0;
  virtual const CacheConfig& config() const = 0;

  // Sequences are independent. `fork` shares what is stored up to now.
  virtual SeqId open() = 0;
  virtual SeqId fork(SeqId seq) = 0;
  virtual void close(SeqId seq) = 0;
  virtual int64_t length(SeqId seq) const = 0;

  // Adds the rows of k and v, [tokens][kv heads][head dim] binary32, in the key space of the
  // traits. Rows of `spans` follow each other in k and v; each span must start at its sequence's
  // length. Any chunking gives the same bytes. Non-finite values (after rounding to the input type)
  // throw an Error naming layer, side, head, token and channel unless the config lets them through.
  virtual void append(ConstRows k, ConstRows v, std::span<const Span> spans) = 0;

  // What is sealed and exact now.
  virtual ReadMap held(SeqId seq, Side side) const = 0;

  // What the query at position `query` reads in mode `streamed`; query must be of the last append,
  // and `settle` ends its time. Without windows: what is sealed once its own token is appended.
  virtual ReadMap reads(SeqId seq, Side side, int64_t query) const = 0;

  // Values of tokens [range.first, +count) as a read returns them, keys in the key space of the
  // traits, to out [count][kv heads][head dim]: sealed rows decoded, exact rows in the input type,
  // both widened. Exact rows are those `held` says are exact, and, until the next append, also
  // those that a query of the last append may read so.
  virtual void read(SeqId seq, Side side, RowRange range, Rows out) const = 0;

  // Attention output of the queries q [tokens][q heads][head dim], rotated, of the last append's
  // spans, in the config's arithmetic, mode `streamed`. Query head h reads KV head
  // h / (q heads / kv heads). Keys before rotation are rotated, as `read` returns them, at their
  // positions (ieee.md, 1.8). Under `fixed` a q that is not finite or beyond 2^64 throws an
  // environment Error that names it.
  virtual void attend(ConstRows q, std::span<const Span> spans, Rows out) const = 0;

  // All sealed rows, until the next call that is not const. Of caches in host memory under `fixed`;
  // others throw a std::logic_error.
  virtual AffineRows affine(SeqId seq, Side side, int kv_head) const;

  // Drops the exact rows that only the last append's queries could still read.
  virtual void settle(SeqId seq) = 0;

  // Shortens the sequence. Throws a usage Error where rows that would be exact at that length are
  // already sealed.
  virtual void truncate(SeqId seq, int64_t length) = 0;

  virtual ByteCount used(SeqId seq, Side side) const = 0;
  virtual double nominal_bits(Side side) const = 0;

  // The stored bytes in the order of the scheme's page, K then V; as long as `used` says.
  virtual std::vector<std::byte> image(SeqId seq) const = 0;

  virtual void export_to(SeqId seq, const Sink& sink) const = 0;
};

// A cache that also explains its bytes and takes them back: the reference.
class StoredCache : public LayerCache {
 public:
  // A fresh cache restored from an image decodes and attends to the same bits. Throws an
  // environment Error if the bytes' length is not what the token count asks for.
  virtual SeqId restore(int64_t length, std::span<const std::byte> image) = 0;

  // Where each run of bytes of an image of `length` tokens lies (traits().fixed_size only), or of
  // the image of a sequence; and one sentence on what is sealed when.
  virtual std::vector<LayoutEntry> layout(int64_t length) const = 0;
  virtual std::vector<LayoutEntry> layout_of(SeqId seq) const { return layout(length(seq)); }
  virtual std::string policy(Side side) const = 0;

  // The way back of `export_to`: a sequence of `length` tokens with this content. Sealed tokens
  // come from codes and metadata, not from `decoded`; exact ones from `decoded`. Throws an
  // environment Error naming tensor, place and value where one is missing, has another dtype or
  // shape, or holds what this scheme cannot after `length` tokens.
  virtual SeqId import_from(int64_t length, const TensorSource& source) = 0;
};

// Makes the cache of one layer; the engine gets schemes only through this.
using CacheFactory = std::function<std::unique_ptr<LayerCache>(const CacheConfig&)>;
using StoredCacheFactory = std::function<std::unique_ptr<StoredCache>(const CacheConfig&)>;

}  // namespace kvx
