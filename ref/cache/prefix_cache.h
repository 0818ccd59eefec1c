// The policy shared by schemes that seal tokens in order: on each side (K, V) a sealed prefix of
// whole blocks, then exact rows in the input type. A scheme adds two block coders and two rules.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "ref/cache/affine.h"
#include "sim/api/cache.h"

namespace kvx::ref {

// What is sealed when. Both counts are multiples of the coder's block, never fall, and for a query
// at position t: sealed_for_query(t) <= t + 1 and <= sealed_after(t + 1).
struct SealRule {
  // Tokens sealed once `length` tokens were appended.
  std::function<int64_t(int64_t length)> sealed_after;
  // Tokens that the query at `position` reads decoded; it reads the rest, up to its own, exact.
  std::function<int64_t(int64_t position)> sealed_for_query;
  // The same for a reader.
  std::string sentence;
};

// Blocks of one token: a query reads every token, its own included, decoded.
SealRule seal_every_token();

// What all blocks of a side share: calibrated scales, codebooks. The same for every sequence, but
// counted and stored with each: the bytes that a sequence needs to be read on its own.
struct Table {
  std::string name;   // "scale", "codebook", ...
  std::string dtype;  // as safetensors spells it
  std::vector<int64_t> shape;
  std::vector<std::byte> bytes;
};

struct SideScheme {
  std::unique_ptr<BlockCoder> coder;  // of every KV head, or of head 0
  SealRule rule;
  // Coders of KV heads 1, 2, ... where heads differ; of one size, with one list of fields.
  std::vector<std::unique_ptr<BlockCoder>> other_heads = {};
  std::vector<Table> tables = {};
  std::optional<AffineForm> affine = {};  // set where the scheme has arithmetic `fixed`

  const BlockCoder& coder_of(int head) const {
    return head == 0 || other_heads.empty() ? *coder : *other_heads[static_cast<size_t>(head - 1)];
  }
};

// Image, per side (K, then V): tables, sealed blocks [kv head][block], then exact rows
// [kv head][token][dim] in the input type, little-endian. No header: descriptor, shape and length
// are given from outside.
class PrefixCache final : public StoredCache {
 public:
  PrefixCache(const Traits& traits, const CacheConfig& config, SideScheme k, SideScheme v);

  const Traits& traits() const override { return traits_; }
  const CacheConfig& config() const override { return config_; }

  SeqId open() override;
  SeqId fork(SeqId seq) override;
  void close(SeqId seq) override;
  int64_t length(SeqId seq) const override;

  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override;
  ReadMap held(SeqId seq, Side side) const override;
  ReadMap reads(SeqId seq, Side side, int64_t query) const override;
  void read(SeqId seq, Side side, RowRange range, Rows out) const override;
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override;
  AffineRows affine(SeqId seq, Side side, int kv_head) const override;
  void settle(SeqId seq) override;
  void truncate(SeqId seq, int64_t length) override;

  ByteCount used(SeqId seq, Side side) const override;
  double nominal_bits(Side side) const override { return scheme(side).coder->nominal_bits(); }
  std::vector<std::byte> image(SeqId seq) const override;
  SeqId restore(int64_t length, std::span<const std::byte> image) override;
  std::vector<LayoutEntry> layout(int64_t length) const override;
  std::string policy(Side side) const override { return scheme(side).rule.sentence; }
  void export_to(SeqId seq, const Sink& sink) const override;
  SeqId import_from(int64_t length, const TensorSource& source) override;

 private:
  static constexpr std::array kSides = {Side::kK, Side::kV};

  // One side of one sequence.
  struct Store {
    std::vector<std::byte> sealed;  // [block][kv head][block bytes]
    // Tokens first_row .. length - 1, [token][kv head][dim] in the input type.
    std::vector<std::byte> rows;
    int64_t first_row = 0;  // at most the number of sealed tokens
    AffineContent affine;   // of all of `sealed`, under arithmetic `fixed`
  };
  struct Sequence {
    int64_t length = 0;
    int64_t last_append = 0;  // first position of the last append; length where no query may follow
    std::array<Store, 2> sides;
  };

  static void require(bool condition, const char* what) {
    if (!condition) throw std::logic_error(what);
  }
  const SideScheme& scheme(Side side) const { return sides_[static_cast<size_t>(side)]; }
  const Sequence& find(SeqId seq) const;
  Sequence& find(SeqId seq);
  // Rounds rows to the input type and adds them to the sequences' exact rows; throws where one is
  // not finite.
  void add_rows(Side side, ConstRows rows, std::span<const Span> spans);
  void seal(Side side, Store& store, int64_t from, int64_t to) const;
  // Adds sealed blocks from `block` on to the store's affine content, under arithmetic `fixed`.
  void unpack(Side side, Store& store, int64_t block) const;
  // Drops what lies behind the first `tokens` sealed tokens.
  void cut_sealed(Side side, Store& store, int64_t tokens) const;
  void attend_ieee(ConstRows q, std::span<const Span> spans, Rows out) const;
  void drop_rows(Side side, Sequence& sequence) const;

  int64_t sealed(Side side, const Sequence& s) const {
    return scheme(side).rule.sealed_after(s.length);
  }
  // Of one token, in the input type: one head, all heads.
  int64_t row_bytes() const { return config_.shape.head_dim * element_bytes_; }
  int64_t token_bytes() const { return config_.shape.kv_heads * row_bytes(); }
  ByteCount count(Side side, int64_t length) const;

  // Of import_from: the bytes of sealed blocks, of exact rows.
  std::vector<std::byte> import_blocks(Side side, int64_t length, const TensorSource& source) const;
  std::vector<std::byte> import_rows(Side side, int64_t length, const TensorSource& source) const;

  Traits traits_;
  CacheConfig config_;
  std::array<SideScheme, 2> sides_;
  int64_t element_bytes_;
  std::map<SeqId, Sequence> sequences_;
  SeqId next_ = 0;
};

}  // namespace kvx::ref
