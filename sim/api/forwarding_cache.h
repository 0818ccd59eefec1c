// A cache that does what another does: the base of caches that change one thing.
#pragma once

#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "sim/api/cache.h"

namespace kvx {

// Cache is LayerCache, or an interface that adds to it.
template <class Cache>
class ForwardingCache : public Cache {
 public:
  explicit ForwardingCache(std::unique_ptr<Cache> cache) : inner_(std::move(cache)) {}

  const Traits& traits() const override { return inner_->traits(); }
  const CacheConfig& config() const override { return inner_->config(); }
  SeqId open() override { return inner_->open(); }
  SeqId fork(SeqId seq) override { return inner_->fork(seq); }
  void close(SeqId seq) override { inner_->close(seq); }
  int64_t length(SeqId seq) const override { return inner_->length(seq); }
  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override {
    inner_->append(k, v, spans);
  }
  ReadMap held(SeqId seq, Side side) const override { return inner_->held(seq, side); }
  ReadMap reads(SeqId seq, Side side, int64_t query) const override {
    return inner_->reads(seq, side, query);
  }
  void read(SeqId seq, Side side, RowRange range, Rows out) const override {
    inner_->read(seq, side, range, out);
  }
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override {
    inner_->attend(q, spans, out);
  }
  AffineRows affine(SeqId seq, Side side, int kv_head) const override {
    return inner_->affine(seq, side, kv_head);
  }
  void settle(SeqId seq) override { inner_->settle(seq); }
  void truncate(SeqId seq, int64_t length) override { inner_->truncate(seq, length); }
  ByteCount used(SeqId seq, Side side) const override { return inner_->used(seq, side); }
  double nominal_bits(Side side) const override { return inner_->nominal_bits(side); }
  std::vector<std::byte> image(SeqId seq) const override { return inner_->image(seq); }
  void export_to(SeqId seq, const Sink& sink) const override { inner_->export_to(seq, sink); }

 protected:
  Cache& inner() const { return *inner_; }

 private:
  std::unique_ptr<Cache> inner_;
};

}  // namespace kvx
