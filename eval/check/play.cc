#include "eval/check/play.h"

#include <fmt/core.h>

#include <set>
#include <utility>

#include "sim/api/error.h"

namespace kvx::check {
namespace {

constexpr Side kSides[] = {Side::kK, Side::kV};

std::string map_text(const ReadMap& map) {
  std::string text;
  for (const RowRange& range : map)
    text += fmt::format("[{}, {}) {} ", range.first, range.first + range.count,
                        range.held == Held::kSealed ? "sealed" : "exact");
  return text;
}

// Values as a read returns them, or before their last rounding.
bool is_decoded(const std::string& name) {
  return name.ends_with(".decoded") || name.ends_with(".decoded_fp32");
}

const char* axes_of(const std::string& name) {
  if (name.ends_with(".codes") || is_decoded(name)) return "head token channel";
  if (name.ends_with(".sealed")) return "head token";
  if (name.ends_with(".packed")) return "head line word";
  if (name.find(".outlier.") != name.npos) return "entry";
  if (name.ends_with(".lo") || name.ends_with(".hi")) return "channel-or-token";
  return "head group index";
}

struct Live {
  SeqId id = 0;
  int64_t length = 0;
  int64_t last_append = 0;  // first position of the last append
};

class Player {
 public:
  Player(LayerCache& cache, const Case& one, const Inputs& inputs, Recorder& recorder)
      : cache_(cache), one_(one), inputs_(inputs), recorder_(recorder) {}

  void run() {
    for (int i = 0; i < one_.batch; ++i) live_.push_back({cache_.open(), 0, 0});
    size_t last_append = 0;
    for (size_t s = 0; s < one_.steps.size(); ++s)
      if (one_.steps[s].kind == Step::kAppend) last_append = s;
    for (step_ = 0; step_ < one_.steps.size(); ++step_) {
      const bool last = step_ == last_append;
      const bool end = step_ + 1 == one_.steps.size();
      const Step& step = one_.steps[step_];
      switch (step.kind) {
        case Step::kAppend:
          if (!append(step.count)) return inspect();
          ask(one_.inspect_each || last, one_.attend_each || last);
          if (one_.inspect_each || last) inspect();
          continue;
        case Step::kFork:
          live_.push_back({cache_.fork(live_[0].id), live_[0].length, live_[0].length});
          break;
        case Step::kCut:
          cut(step.count);
          break;
        case Step::kSettle:
          for (Live& live : live_) {
            cache_.settle(live.id);
            live.last_append = live.length;
          }
          break;
      }
      if (one_.inspect_each || end) inspect();
    }
  }

 private:
  std::string name(const std::string& what) const { return fmt::format("step {} {}", step_, what); }
  std::string name(size_t seq, const std::string& what) const {
    return fmt::format("step {} seq {} {}", step_, seq, what);
  }
  bool padded() const { return one_.seed % 2 == 1; }

  // Runs `call`; an exception is shown and makes it false.
  template <class Call>
  bool attempt(Level level, const std::string& what, const Call& call) {
    try {
      call();
      return true;
    } catch (const std::exception& error) {
      recorder_.see_text(level, what, exception_text(error));
      return false;
    }
  }

  bool append(int64_t count) {
    int64_t rows = 0;
    for (size_t i = 0; i < live_.size(); ++i) rows += Inputs::share(i, count);
    FencedRows k(rows, one_.kv_heads, one_.dim, padded());
    FencedRows v(rows, one_.kv_heads, one_.dim, padded());
    spans_.clear();
    int64_t at = 0;
    for (size_t i = 0; i < live_.size(); ++i) {
      const int64_t share = Inputs::share(i, count);
      k.put(at, inputs_.k(i, live_[i].length, share));
      v.put(at, inputs_.v(i, live_[i].length, share));
      spans_.push_back({.seq = live_[i].id, .first = live_[i].length, .count = share});
      at += share;
    }
    const bool done = attempt(Level::kE0, name("append"), [&] {
      cache_.append(std::as_const(k).view(), std::as_const(v).view(), spans_);
    });
    for (size_t i = 0; i < live_.size() && done; ++i) {
      live_[i].last_append = live_[i].length;
      live_[i].length += spans_[i].count;
    }
    return done;
  }

  void cut(int64_t count) {
    for (size_t i = 0; i < live_.size(); ++i) {
      Live& live = live_[i];
      try {
        cache_.truncate(live.id, std::max<int64_t>(0, live.length - count));
        live.length = std::max<int64_t>(0, live.length - count);
        live.last_append = live.length;
      } catch (const Error& error) {  // the message is each side's own
        recorder_.see_text(Level::kE0, name(i, "cut"),
                           fmt::format("refused, exit {}", static_cast<int>(error.exit())));
      }
    }
  }

  // What can be asked between an append and the next.
  void ask(bool read, bool attend) {
    for (size_t i = 0; i < live_.size(); ++i) {
      const Live& live = live_[i];
      const int64_t queries[] = {live.last_append, (live.last_append + live.length) / 2,
                                 live.length - 1};
      for (const Side side : kSides) {
        const std::string prefix = side_name(side);
        attempt(Level::kE0, name(i, prefix + ".reads error"), [&] {
          for (const int64_t query : std::set<int64_t>(queries, queries + 3))
            recorder_.see_text(Level::kE0, name(i, fmt::format("{}.reads of {}", prefix, query)),
                               map_text(cache_.reads(live.id, side, query)));
        });
        if (read) read_rows(i, side);
      }
      state(i);
    }
    if (attend) attend_all();
  }

  // Length, ranges and counts.
  void state(size_t i) {
    const SeqId id = live_[i].id;
    recorder_.see_text(Level::kE0, name(i, "length"), std::to_string(cache_.length(id)));
    for (const Side side : kSides) {
      const std::string prefix = side_name(side);
      recorder_.see_text(Level::kE0, name(i, prefix + ".held"), map_text(cache_.held(id, side)));
      const ByteCount used = cache_.used(id, side);
      recorder_.see(Level::kE0, name(i, prefix + ".used"), "I64", {kItems},
                    std::as_bytes(std::span(used.bytes)), "item");
    }
  }

  // Every range that is held; an inner part of the sealed one; exact rows that only the last
  // append's first query still reads.
  void read_rows(size_t i, Side side) {
    const Live& live = live_[i];
    ReadMap ranges = cache_.held(live.id, side);
    const ReadMap first = cache_.reads(live.id, side, live.last_append);
    for (const RowRange& range : ReadMap(ranges))
      if (range.held == Held::kSealed && range.count >= 7)
        ranges.push_back({range.first + range.count / 3, range.count / 5 + 1, Held::kSealed});
    for (const RowRange& range : first)
      if (range.held == Held::kExact) ranges.push_back(range);
    std::set<std::string> seen;
    for (const RowRange& range : ranges) {
      const std::string what =
          name(i, fmt::format("{}.rows {}", side_name(side), map_text({range})));
      if (!seen.insert(what).second) continue;
      FencedRows out(range.count, one_.kv_heads, one_.dim, padded());
      attempt(Level::kE1, what + "error", [&] { cache_.read(live.id, side, range, out.view()); });
      show(Level::kE1, what, out, range.count, one_.kv_heads);
    }
  }

  void attend_all() {
    int64_t rows = 0;
    for (const Span& span : spans_) rows += span.count;
    FencedRows q(rows, one_.q_heads, one_.dim, padded());
    FencedRows out(rows, one_.q_heads, one_.dim, padded());
    int64_t at = 0;
    for (size_t i = 0; i < spans_.size(); ++i) {
      const std::vector<float> part = inputs_.q(i, spans_[i].first, spans_[i].count);
      q.put(at, dense_rows(part.data(), spans_[i].count, one_.q_heads, one_.dim));
      at += spans_[i].count;
    }
    attempt(Level::kE2, name("attention error"),
            [&] { cache_.attend(std::as_const(q).view(), spans_, out.view()); });
    show(Level::kE2, name("attention"), out, rows, one_.q_heads);
  }

  void show(Level level, const std::string& what, const FencedRows& rows, int64_t tokens,
            int heads) {
    const std::vector<float> dense = rows.dense();
    recorder_.see(level, what, "F32", {tokens, heads, one_.dim}, std::as_bytes(std::span(dense)),
                  "row head channel");
    if (!rows.intact()) recorder_.see_text(level, what + " fence", "written outside the rows");
  }

  void inspect() {
    for (size_t i = 0; i < live_.size(); ++i) {
      if (one_.steps[step_].kind != Step::kAppend) state(i);
      attempt(Level::kE0, name(i, "export error"), [&] {
        cache_.export_to(live_[i].id,
                         [&](const std::string& tensor, const std::string& dtype,
                             const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
                           const bool values = is_decoded(tensor);
                           recorder_.see(values ? Level::kE1 : Level::kE0, name(i, tensor), dtype,
                                         shape, bytes, axes_of(tensor));
                         });
      });
      attempt(Level::kE0, name(i, "image error"), [&] {
        const std::vector<std::byte> image = cache_.image(live_[i].id);
        recorder_.see(Level::kE0, name(i, "image"), "U8", {static_cast<int64_t>(image.size())},
                      image, "byte");
      });
    }
  }

  LayerCache& cache_;
  const Case& one_;
  const Inputs& inputs_;
  Recorder& recorder_;
  std::vector<Live> live_;
  std::vector<Span> spans_;  // of the last append
  size_t step_ = 0;
};

}  // namespace

std::string exception_text(const std::exception& error) {
  const bool refused = dynamic_cast<const Error*>(&error) != nullptr;
  return fmt::format("{}: {}", refused ? "refused" : "threw", error.what());
}

void play(LayerCache& cache, const Case& one, const Inputs& inputs, Recorder& recorder) {
  Player player(cache, one, inputs, recorder);
  try {
    player.run();
  } catch (const std::exception& error) {  // a call that may not throw
    recorder.see_text(Level::kE0, "case ended early", exception_text(error));
  }
}

}  // namespace kvx::check
