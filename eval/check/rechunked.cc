#include "eval/check/rechunked.h"

#include <cmath>

#include "sim/api/forwarding_cache.h"
#include "sim/num/fixed_cache.h"

namespace kvx::check {
namespace {

class Rechunked final : public ForwardingCache<LayerCache> {
 public:
  using ForwardingCache::ForwardingCache;

  void close(SeqId seq) override {
    forget(seq);
    inner().close(seq);
  }

  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override {
    if (odd(k) || odd(v)) probe(k, v, spans);
    int64_t at = 0;
    for (const Span& span : spans) {
      forget(span.seq);
      int64_t done = 0;
      while (done < span.count) {
        const int64_t rest = span.count - done;
        const int64_t count = done == 0 ? 1 : done == 1 ? (rest + 1) / 2 : rest;
        const Span piece{.seq = span.seq, .first = span.first + done, .count = count};
        inner().append(k.slice(at, count), v.slice(at, count), {&piece, 1});
        const SeqId snapshot = inner().fork(span.seq);
        pieces_[span.seq].push_back({piece.first, piece.first + count, snapshot});
        done += count;
        at += count;
      }
    }
  }

  ReadMap reads(SeqId seq, Side side, int64_t query) const override {
    for (const Piece& piece : pieces(seq))
      if (query >= piece.first && query < piece.end)
        return inner().reads(piece.snapshot, side, query);
    return inner().reads(seq, side, query);
  }

  void read(SeqId seq, Side side, RowRange range, Rows out) const override {
    if (range.held == Held::kSealed || pieces(seq).empty())
      return inner().read(seq, side, range, out);
    // The first snapshot that has a token is the one that still holds it exactly.
    for (int64_t i = 0; i < range.count; ++i) {
      const int64_t token = range.first + i;
      for (const Piece& piece : pieces(seq)) {
        if (piece.end <= token) continue;
        inner().read(piece.snapshot, side, {token, 1, Held::kExact}, out.slice(i, 1));
        break;
      }
    }
  }

  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override {
    int64_t at = 0;
    for (const Span& span : spans) {
      for (const Piece& piece : pieces(span.seq)) {
        const Span part{
            .seq = piece.snapshot, .first = piece.first, .count = piece.end - piece.first};
        attend_piece(q.slice(at, part.count), part, out.slice(at, part.count));
        at += part.count;
      }
    }
  }

  void settle(SeqId seq) override {
    forget(seq);
    inner().settle(seq);
  }
  void truncate(SeqId seq, int64_t length) override {
    inner().truncate(seq, length);
    forget(seq);
  }

 private:
  // Of the last append: tokens [first, end), and the sequence right after them.
  struct Piece {
    int64_t first, end;
    SeqId snapshot;
  };

  // Values that may be refused: they, or under `fixed` the scale of a range of theirs, may be
  // infinite in binary16.
  static bool odd(ConstRows rows) {
    for (int64_t t = 0; t < rows.tokens; ++t)
      for (int h = 0; h < rows.heads; ++h)
        for (int c = 0; c < rows.dim; ++c)
          if (!(std::abs(rows.row(t, h)[c]) < 32752.0f)) return true;
    return false;
  }

  // Under `fixed` by the vectorised loops; the cache's own are the plain ones.
  void attend_piece(ConstRows q, const Span& span, Rows out) const {
    if (inner().config().arithmetic == Arithmetic::kFixed)
      num::fixed::attend(inner(), q, {&span, 1}, out, num::fixed::attend);
    else
      inner().attend(q, {&span, 1}, out);
  }

  // An append is refused as a whole and names its first odd value: tried on forks.
  void probe(ConstRows k, ConstRows v, std::span<const Span> spans) {
    std::vector<Span> on_forks(spans.begin(), spans.end());
    for (Span& span : on_forks) span.seq = inner().fork(span.seq);
    const auto close = [&] {
      for (const Span& span : on_forks) inner().close(span.seq);
    };
    try {
      inner().append(k, v, on_forks);
    } catch (...) {
      close();
      throw;
    }
    close();
  }

  const std::vector<Piece>& pieces(SeqId seq) const {
    static const std::vector<Piece> kNone;
    const auto found = pieces_.find(seq);
    return found == pieces_.end() ? kNone : found->second;
  }
  void forget(SeqId seq) {
    for (const Piece& piece : pieces(seq)) inner().close(piece.snapshot);
    pieces_.erase(seq);
  }

  std::map<SeqId, std::vector<Piece>> pieces_;
};

}  // namespace

std::unique_ptr<LayerCache> rechunked(std::unique_ptr<LayerCache> cache) {
  return std::make_unique<Rechunked>(std::move(cache));
}

}  // namespace kvx::check
