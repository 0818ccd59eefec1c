// Where a scheme's content lies in device memory: one layout behind one view for every scheme, so
// that kernels which read a cache (attention, decode, fused ones later) know codes, scales and
// zeros and nothing of how sequences share memory.
//
// Memory is cut into pages of `page_tokens` tokens, a multiple of the arithmetic's segment of 256
// rows (ieee.md, 2.7) and of every group along tokens; a sequence owns a slot and, through the page
// table, pages in any order (in ascending order: a contiguous cache). The same page number serves
// all layers and both sides. In a page, per side and layer:
//
//   codes  [kv head][token][head dim / 8][bits] bytes: code i of a token's row is the little-endian
//          bit field [bits * i, bits * (i + 1)) of its row; values of `fp` are codes of 16, 32 bits
//   scale  along channels [kv head][token][head dim / group], along tokens
//          [kv head][token / group][head dim], scale_bytes each
//   zero   the same, zero_bytes each
//   marks  of sparse formats [kv head][token][head dim / 8] bytes: bit i of a row is set where
//   channel
//          i is an outlier
//   outliers  [kv head][token][head dim] binary16, written where a mark is: room for the worst
//   case,
//          so that every place is known up front and few of its sectors are ever touched
//
// This is private: export_to gives the scheme's canonical tensors. Exact rows that the rule keeps
// lie apart, in a ring of each slot: row t of [slot][kv head][ring rows][head dim] binary16 is
// t mod ring rows. The rows of an attention sink lie there too, for good.
#pragma once

#include <cstddef>
#include <cstdint>

#ifdef __CUDACC__
#define KVX_HD __host__ __device__
#else
#define KVX_HD
#endif

namespace kvx::gpu {

inline constexpr int kSegment = 256;

// What is sealed when, for schemes that seal whole units in order and keep the newest tokens exact.
struct SealRule {
  int32_t unit = 1;    // tokens sealed at once
  int32_t window = 0;  // newest tokens never sealed
  int32_t lag = 0;     // 1: a query reads what was sealed before its own token was appended
  // First tokens that stay exact, in the ring (then window is 0 and unit 1). For kernels they are
  // sealed like the others, in a way of their own: the codec reads them from there.
  int32_t sink = 0;

  // Tokens sealed once `length` tokens were appended, those of the sink included.
  KVX_HD int32_t sealed(int32_t length) const {
    return length <= window ? 0 : (length - window) / unit * unit;
  }
  // Tokens that the query at `position` reads sealed in mode `streamed`; the others, its own
  // included, exact.
  KVX_HD int32_t read_sealed(int32_t position) const { return sealed(position + 1 - lag); }
  // Exact rows that a ring must hold between passes.
  KVX_HD int32_t ring_rows() const {
    if (sink > 0) return sink;
    return unit == 1 && window == 0 ? 0 : window + unit;
  }
};

// One side (K or V) of a scheme.
struct SideFormat {
  int32_t bits = 0;   // of a code
  int32_t group = 1;  // values that share scale and zero; divides the head dim along channels
  bool along_tokens = false;  // a group is consecutive tokens of one channel; divides rule.unit
  int32_t scale_bytes = 0;    // 0: none
  int32_t zero_bytes = 0;
  bool sparse = false;  // outliers are marked and lie beside the codes
  SealRule rule;

  KVX_HD int64_t row_bytes(int head_dim) const { return int64_t{head_dim} / 8 * bits; }
  KVX_HD int64_t mark_bytes(int head_dim) const { return sparse ? head_dim / 8 : 0; }
  KVX_HD int64_t outlier_bytes(int head_dim) const { return sparse ? 2 * int64_t{head_dim} : 0; }
};

// The shape all layers share.
struct CacheShape {
  int32_t kv_heads = 0;
  int32_t head_dim = 0;     // a multiple of 8, at most 256
  int32_t page_tokens = 0;  // a multiple of kSegment and of groups along tokens
};

// Elements of `scale` (and `zero`) of one head in one page.
KVX_HD inline int64_t page_groups(const SideFormat& f, const CacheShape& s) {
  return f.along_tokens ? int64_t{s.page_tokens} / f.group * s.head_dim
                        : int64_t{s.page_tokens} * (s.head_dim / f.group);
}

// One side of one layer, all sequences; in device memory.
struct SideView {
  SideFormat format;
  CacheShape shape;
  std::byte* codes = nullptr;  // [page][kv head][...] as above
  std::byte* scale = nullptr;
  std::byte* zero = nullptr;
  uint8_t* marks = nullptr;
  uint16_t* outliers = nullptr;
  uint16_t* ring = nullptr;        // [slot][kv head][ring rows][head dim] binary16
  const int32_t* pages = nullptr;  // [slot][pages_per_slot] page numbers
  int32_t pages_per_slot = 0;

  KVX_HD int64_t page_of(int slot, int32_t token) const {
    return pages[int64_t{slot} * pages_per_slot + token / shape.page_tokens];
  }
  // Number of a token's row among the rows of all pages.
  KVX_HD int64_t row_of(int slot, int head, int32_t token) const {
    const int64_t at = page_of(slot, token) * shape.kv_heads + head;
    return at * shape.page_tokens + token % shape.page_tokens;
  }
  // First byte of the codes of a token's row.
  KVX_HD std::byte* row(int slot, int head, int32_t token) const {
    return codes + row_of(slot, head, token) * format.row_bytes(shape.head_dim);
  }
  // Index of the scale and zero of one value, in elements of `scale` and `zero`.
  KVX_HD int64_t group_of(int slot, int head, int32_t token, int channel) const {
    const int64_t at = (page_of(slot, token) * shape.kv_heads + head) * page_groups(format, shape);
    const int32_t in = token % shape.page_tokens;
    return format.along_tokens ? at + in / format.group * shape.head_dim + channel
                               : at + in * (shape.head_dim / format.group) + channel / format.group;
  }
  // An exact row that the ring holds.
  KVX_HD uint16_t* exact_row(int slot, int head, int32_t token) const {
    const int32_t rows = format.rule.ring_rows();
    return ring + ((int64_t{slot} * shape.kv_heads + head) * rows + token % rows) * shape.head_dim;
  }
};

// Consecutive tokens of one sequence in a pass; device memory, so that a captured graph can be
// replayed over other lengths.
struct PassSpan {
  int32_t first = 0;  // tokens of the sequence before the pass
  int32_t slot = 0;
  int32_t count = 0;
  int32_t row = 0;  // of its first token in the pass
  int32_t exact =
      0;  // 1: its queries read the K and V of this pass exactly as computed; first is 0
};

// What the queries of a pass read: `streamed` as of their own position, `all` as of the pass's end.
enum class Reads : uint8_t { kStreamed, kAll };

// A pass as kernels see it. The bounds decide launch geometry only.
struct Pass {
  const PassSpan* spans = nullptr;  // device, [span_count]
  int32_t span_count = 0;
  int32_t rows = 0;        // tokens of all spans
  int32_t max_count = 0;   // at least the longest span
  int32_t max_length = 0;  // at least the longest sequence after the pass
  Reads reads = Reads::kStreamed;
  bool exact_spans = false;  // a bound too: whether some span may be exact
};

// K or V of a pass: rows [pass row][kv head][head dim], dense.
enum class ScalarType : uint8_t { kF32, kF16 };
struct PassRows {
  const void* data = nullptr;
  ScalarType type = ScalarType::kF32;
};

}  // namespace kvx::gpu
