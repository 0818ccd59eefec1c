// The layer cache of `kvquant`: the first tokens (sink) exact, every other token coded when it is
// appended, before the read. Bytes depend on the data where key outliers, or ties, do.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "ref/kvquant/row_coder.h"
#include "sim/api/cache.h"
#include "sim/api/error.h"

namespace kvx::ref::kvquant {

// Image, per side (K, then V): tables (codebook, qnorm, ranges of channels), codes [kv head][coded
// token], ranges of tokens, outliers, exact rows [kv head][token][dim]. No header: descriptor,
// shape and length are given from outside. ref/kvquant.md, "Image".
class Cache final : public StoredCache {
 public:
  Cache(const Settings& settings, const CacheConfig& config, RowCoder k, RowCoder v);

  const Traits& traits() const override { return traits_; }
  const CacheConfig& config() const override { return config_; }

  SeqId open() override;
  SeqId fork(SeqId seq) override;
  void close(SeqId seq) override;
  int64_t length(SeqId seq) const override { return find(seq).length; }

  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override;
  ReadMap held(SeqId seq, Side side) const override;
  ReadMap reads(SeqId seq, Side side, int64_t query) const override;
  void read(SeqId seq, Side side, RowRange range, Rows out) const override;
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override;
  void settle(SeqId seq) override;
  void truncate(SeqId seq, int64_t length) override;

  ByteCount used(SeqId seq, Side side) const override;
  double nominal_bits(Side side) const override;
  std::vector<std::byte> image(SeqId seq) const override;
  SeqId restore(int64_t length, std::span<const std::byte> image) override;
  std::vector<LayoutEntry> layout(int64_t length) const override;
  std::vector<LayoutEntry> layout_of(SeqId seq) const override;
  std::string policy(Side side) const override;
  void export_to(SeqId seq, const Sink& sink) const override;
  SeqId import_from(int64_t length, const TensorSource& source) override;

 private:
  static constexpr std::array kSides = {Side::kK, Side::kV};

  // One side of one sequence.
  struct Store {
    std::vector<float> sink;          // [sink tokens][d], fp16 numbers
    std::vector<uint8_t> codes;       // [coded tokens][d]
    std::vector<uint16_t> lo, hi;     // [coded tokens], Axis::kToken alone
    std::vector<uint32_t> starts{0};  // [coded tokens + 1], into outliers
    std::vector<Outlier> outliers;
  };
  struct Sequence {
    int64_t length = 0;
    int64_t last_append = 0;  // first position of the last append; length where no query may follow
    std::array<Store, 2> sides;
  };

  static void require(bool condition, const char* what) {
    if (!condition) throw std::logic_error(what);
  }
  const RowCoder& coder(Side side) const { return coders_[static_cast<size_t>(side)]; }
  const Sequence& find(SeqId seq) const;
  Sequence& find(SeqId seq);
  SeqId add(Sequence sequence);
  int64_t channels() const { return coders_[0].channels(); }
  int64_t sink_tokens(int64_t length) const { return std::min(length, settings_.sink); }
  int64_t coded_tokens(int64_t length) const { return length - sink_tokens(length); }
  bool per_token(Side side) const { return settings_.axis(side) == Axis::kToken; }
  // Outliers are counted per token: by `starts`, or 2m each.
  bool has_starts(Side side) const {
    return settings_.sparse() && !(settings_.paper && per_token(side));
  }
  int64_t outlier_bytes() const { return settings_.paper ? 4 : 8; }
  int64_t row_words() const;  // of the codes of one token and head

  void check_spans(ConstRows rows, std::span<const Span> spans, const char* name) const;
  // Tokens of all spans, [token][d], rounded to fp16; throws where one is not finite.
  std::vector<float> rounded(Side side, ConstRows rows, std::span<const Span> spans) const;
  void store(Side side, std::span<const float> rows, Store& to) const;
  void decode(Side side, const Store& store, int64_t coded_token, std::span<float> x) const;
  // All rows up to `length` as a query reads them, keys rotated.
  std::vector<float> attended(Side side, const Sequence& sequence, int64_t length) const;

  // Runs of one side's bytes, offsets from 0.
  std::vector<LayoutEntry> runs(Side side, int64_t length, int64_t outliers) const;
  std::vector<LayoutEntry> both_runs(int64_t length, std::array<int64_t, 2> outliers) const;
  void write_side(Side side, const Sequence& sequence, std::vector<std::byte>& out) const;
  class Reader;
  void read_side(Side side, int64_t length, Reader& in, Store& to) const;

  void export_side(Side side, const Sequence& sequence, const Sink& sink) const;
  // Starts from 0 on, never falling, at most d in a token; channels below d, ascending in a token.
  // Else they throw what `wrong` makes of the reason.
  using Wrong = std::function<Error(const std::string& why)>;
  void check_starts(const std::vector<uint32_t>& starts, const Wrong& wrong) const;
  void check_channels(const Store& store, const Wrong& wrong) const;
  void import_side(Side side, int64_t length, const TensorSource& source, Store& to) const;
  void import_outliers(Side side, int64_t length, const TensorSource& source, Store& to) const;
  void import_sink(Side side, int64_t length, const TensorSource& source, Store& to) const;

  Settings settings_;
  CacheConfig config_;
  Traits traits_;
  std::array<RowCoder, 2> coders_;
  std::map<SeqId, Sequence> sequences_;
  SeqId next_ = 0;
};

}  // namespace kvx::ref::kvquant
