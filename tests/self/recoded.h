// A cache whose sealed content is changed on the way in: what a kernel with a bug in its coder
// would store. The reference seals, its canonical tensors are changed, and all that the cache shows
// comes from a second reference that took them.
#pragma once

#include <map>

#include "sim/api/forwarding_cache.h"
#include "sim/api/tensor.h"
#include "tests/self/attention.h"

namespace kvx::self {

using Wrapper = ForwardingCache<LayerCache>;

// Canonical content of one side that a bug may change; values in little-endian binary16 patterns.
struct Content {
  Side side;
  int64_t heads, tokens, dim;   // of codes
  int64_t groups;               // along tokens, of scale and zero
  int64_t metadata;             // scales of one of these groups
  std::vector<uint8_t> codes;   // [heads][tokens][dim]
  std::vector<uint16_t> scale;  // [heads][groups][metadata]
  std::vector<uint16_t> zero;   // the same, or empty
  std::vector<uint8_t> sealed;  // [heads][tokens]
  std::vector<float> x;         // [tokens][heads][dim], as appended, rounded to binary16

  int64_t unit() const { return groups == 0 ? tokens : tokens / groups; }  // tokens of a group
  int64_t width() const { return dim / metadata; }  // channels of a group; 1 along tokens
  size_t code(int64_t head, int64_t token, int64_t channel) const {
    return static_cast<size_t>((head * tokens + token) * dim + channel);
  }
  float value(int64_t head, int64_t token, int64_t channel) const {
    return x[static_cast<size_t>((token * heads + head) * dim + channel)];
  }
};

// How the content reaches the outside.
enum class Shows : uint8_t {
  kEverywhere,  // what is stored is wrong
  kWhenRead     // what is stored is right, decoding is wrong
};

using Bug = std::function<void(Content&)>;

class Recoded final : public Wrapper {
 public:
  Recoded(std::unique_ptr<LayerCache> cache, std::unique_ptr<StoredCache> second, Bug bug,
          Shows shows)
      : Wrapper(std::move(cache)),
        second_(std::move(second)),
        bug_(std::move(bug)),
        shows_(shows) {}

  SeqId fork(SeqId seq) override;
  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override;
  void truncate(SeqId seq, int64_t length) override;
  void read(SeqId seq, Side side, RowRange range, Rows out) const override;
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override {
    self::attend(*this, q, spans, out, AttentionBug::kNone);
  }
  std::vector<std::byte> image(SeqId seq) const override;
  void export_to(SeqId seq, const Sink& sink) const override;

 private:
  // The changed content as a sequence of the second cache, kept until the next append.
  SeqId changed(SeqId seq) const;

  std::unique_ptr<StoredCache> second_;
  Bug bug_;
  Shows shows_;
  std::map<SeqId, std::array<std::vector<float>, 2>> rows_;
  mutable std::map<SeqId, SeqId> changed_;
};

}  // namespace kvx::self
