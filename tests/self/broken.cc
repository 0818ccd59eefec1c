#include "tests/self/broken.h"

#include <algorithm>
#include <cmath>

#include "ref/registry.h"
#include "sim/num/formats.h"
#include "tests/self/recoded.h"

namespace kvx::self {
namespace {

using check::Level;

std::unique_ptr<StoredCache> reference(const Descriptor& descriptor, const CacheConfig& config) {
  return ref::make_cache(descriptor, config);
}

template <class Cache>
check::Subject wrapped(const char* name) {
  return {name, [](std::string_view) { return true; },
          [](const Descriptor& descriptor, const CacheConfig& config) {
            return std::make_unique<Cache>(reference(descriptor, config));
          }};
}

// Rows copied, changed by `change(values of a head)`, and given on.
struct Changed {
  std::vector<float> values;
  ConstRows view;

  template <class Change>
  Changed(ConstRows rows, const Change& change) {
    for (int64_t t = 0; t < rows.tokens; ++t)
      for (int h = 0; h < rows.heads; ++h)
        for (int c = 0; c < rows.dim; ++c) values.push_back(change(rows.row(t, h)[c]));
    view = dense_rows(static_cast<const float*>(values.data()), rows.tokens, rows.heads, rows.dim);
  }
};

// Rounding mode: inputs cut to binary16 towards zero.
struct CutsInputs final : Wrapper {
  using Wrapper::Wrapper;
  static float cut(float x) {
    const uint16_t bits = num::f16_encode(x);
    const float rounded = num::f16_decode(bits);
    if (!std::isfinite(rounded) || std::abs(rounded) <= std::abs(x)) return rounded;
    return num::f16_decode(static_cast<uint16_t>(bits - 1));
  }
  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override {
    Wrapper::append(Changed(k, cut).view, Changed(v, cut).view, spans);
  }
};

// Flush-to-zero of subnormal inputs.
struct FlushesInputs final : Wrapper {
  using Wrapper::Wrapper;
  static float flush(float x) { return std::abs(x) < 0x1p-14f ? std::copysign(0.0f, x) : x; }
  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override {
    Wrapper::append(Changed(k, flush).view, Changed(v, flush).view, spans);
  }
};

// Every sequence of a batch gets the rows of the first.
struct MixesBatches final : Wrapper {
  using Wrapper::Wrapper;
  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override {
    ConstRows same = k;
    if (spans.size() > 1) same.token_stride = 0;
    Wrapper::append(same, v, spans);
  }
};

// Stale window: the newest exact row is the one that lay there a turn of the ring before.
struct StaleWindow final : Wrapper {
  using Wrapper::Wrapper;
  static constexpr int64_t kRing = 32;
  void append(ConstRows k, ConstRows v, std::span<const Span> spans) override {
    Wrapper::append(k, v, spans);
    int64_t at = 0;
    for (const Span& span : spans) {
      auto& rows = rows_[span.seq];
      for (int64_t t = 0; t < span.count; ++t, ++at) {
        for (const Side side : {Side::kK, Side::kV}) {
          std::vector<float> row;
          for (int h = 0; h < k.heads; ++h)
            for (int c = 0; c < k.dim; ++c)
              row.push_back(num::f16_round((side == Side::kK ? k : v).row(at, h)[c]));
          rows[static_cast<size_t>(side)].push_back(row);
        }
      }
    }
  }
  void read(SeqId seq, Side side, RowRange range, Rows out) const override {
    Wrapper::read(seq, side, range, out);
    const auto rows = rows_.find(seq);
    const int64_t last = range.first + range.count - 1;
    if (range.held != Held::kExact || last < kRing || rows == rows_.end()) return;
    const auto& old = rows->second[static_cast<size_t>(side)];
    if (last - kRing >= static_cast<int64_t>(old.size())) return;
    for (int h = 0; h < out.heads; ++h)
      std::copy_n(old[static_cast<size_t>(last - kRing)].begin() + int64_t{h} * out.dim, out.dim,
                  out.row(range.count - 1, h));
  }
  std::map<SeqId, std::array<std::vector<std::vector<float>>, 2>> rows_;
};

struct CountsPadding final : Wrapper {
  using Wrapper::Wrapper;
  ByteCount used(SeqId seq, Side side) const override {
    ByteCount bytes = Wrapper::used(seq, side);
    if (length(seq) > 30) bytes[Item::kPadding] += 1;
    return bytes;
  }
};

struct ThrowsInAttention final : Wrapper {
  using Wrapper::Wrapper;
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override {
    if (q.tokens > 4) throw std::runtime_error("an illegal memory access was encountered");
    Wrapper::attend(q, spans, out);
  }
};

struct WritesBehindRows final : Wrapper {
  using Wrapper::Wrapper;
  void read(SeqId seq, Side side, RowRange range, Rows out) const override {
    Wrapper::read(seq, side, range, out);
    if (out.tokens > 0) out.row(out.tokens - 1, out.heads - 1)[out.dim] = 0.0f;
  }
};

// Other bits in NaNs of values: allowed.
struct OtherNans final : Wrapper {
  using Wrapper::Wrapper;
  static void change(Rows out) {
    for (int64_t t = 0; t < out.tokens; ++t)
      for (int h = 0; h < out.heads; ++h)
        for (int c = 0; c < out.dim; ++c)
          if (std::isnan(out.row(t, h)[c])) out.row(t, h)[c] = std::bit_cast<float>(0xFFC12345u);
  }
  void read(SeqId seq, Side side, RowRange range, Rows out) const override {
    Wrapper::read(seq, side, range, out);
    change(out);
  }
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override {
    Wrapper::attend(q, spans, out);
    change(out);
  }
};

template <AttentionBug bug>
struct Attention final : Wrapper {
  using Wrapper::Wrapper;
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override {
    self::attend(*this, q, spans, out, bug);
  }
};

// Bugs of a coder: `make(descriptor)` gives what is done to the canonical content.
check::Subject recoded(const char* name, std::function<Bug(const Descriptor&)> make,
                       Shows shows = Shows::kEverywhere) {
  return {name, [](std::string_view) { return true; },
          [make, shows](const Descriptor& descriptor,
                        const CacheConfig& config) -> std::unique_ptr<LayerCache> {
            return std::make_unique<Recoded>(reference(descriptor, config),
                                             reference(descriptor, config), make(descriptor),
                                             shows);
          }};
}

// Calls body(head, token, channel, index of the group) for each sealed value.
template <class Body>
void for_sealed(const Content& c, const Body& body) {
  for (int64_t head = 0; head < c.heads; ++head)
    for (int64_t token = 0; token < c.tokens; ++token) {
      if (c.sealed[static_cast<size_t>(head * c.tokens + token)] == 0) continue;
      for (int64_t channel = 0; channel < c.dim; ++channel)
        body(head, token, channel,
             static_cast<size_t>((head * c.groups + token / c.unit()) * c.metadata +
                                 (c.unit() > 1 ? channel : channel / c.width())));
    }
}

float f16(uint16_t bits) { return num::f16_decode(bits); }

int bits_of(const Descriptor& d, Side side) { return static_cast<int>(d.get_int(side_name(side))); }

// Tie side: halves away from zero. Asymmetric `int`.
Bug ties_away(const Descriptor&) {
  return [](Content& c) {
    if (c.zero.empty()) return;
    for_sealed(c, [&](int64_t head, int64_t token, int64_t channel, size_t group) {
      const float t = (c.value(head, token, channel) + f16(c.zero[group])) / f16(c.scale[group]);
      if (t - std::floor(t) == 0.5f && c.codes[c.code(head, token, channel)] < t)
        ++c.codes[c.code(head, token, channel)];
    });
  };
}

Bug neighbours_scale(const Descriptor&) {
  return [](Content& c) {
    for (size_t i = 0; i + 1 < c.scale.size(); ++i)
      if ((i + 1) % static_cast<size_t>(c.metadata) != 0) c.scale[i] = c.scale[i + 1];
  };
}

Bug swapped_nibbles(const Descriptor&) {
  return [](Content& c) {
    for_sealed(c, [&](int64_t head, int64_t token, int64_t channel, size_t) {
      if (channel % 2 == 0)
        std::swap(c.codes[c.code(head, token, channel)], c.codes[c.code(head, token, channel + 1)]);
    });
  };
}

// Codes made with the scale before it was rounded to binary16. Asymmetric `int`.
Bug unrounded_scale(const Descriptor& d) {
  return [d](Content& c) {
    if (c.zero.empty()) return;
    const auto top = static_cast<float>((1 << bits_of(d, c.side)) - 1);
    std::vector<float> high(c.scale.size(), -INFINITY), low(c.scale.size(), INFINITY);
    for_sealed(c, [&](int64_t head, int64_t token, int64_t channel, size_t group) {
      high[group] = std::max(high[group], c.value(head, token, channel));
      low[group] = std::min(low[group], c.value(head, token, channel));
    });
    for_sealed(c, [&](int64_t head, int64_t token, int64_t channel, size_t group) {
      const float s = std::max(high[group] - low[group], 1e-5f) / top;
      const float t = std::nearbyint((c.value(head, token, channel) + f16(c.zero[group])) / s);
      c.codes[c.code(head, token, channel)] = static_cast<uint8_t>(std::clamp(t, 0.0f, top));
    });
  };
}

// Missing barrier: now and then a group finds its neighbour's scale in shared memory.
Bug raced_scale(const Descriptor&) {
  return [](Content& c) {
    for (size_t i = 36; i < c.scale.size(); i += 37) c.scale[i] = c.scale[i - 1];
  };
}

// Contraction: x * id + 8.5 as one fma. ggml q4_0.
Bug contracted(const Descriptor& d) {
  const bool q4_0 = d.get_word("type") == "q4_0";
  return [q4_0](Content& c) {
    if (!q4_0) return;
    std::vector<float> extreme(c.scale.size(), 0.0f);
    for_sealed(c, [&](int64_t head, int64_t token, int64_t channel, size_t group) {
      const float x = c.value(head, token, channel);
      if (std::abs(x) > std::abs(extreme[group])) extreme[group] = x;
    });
    for_sealed(c, [&](int64_t head, int64_t token, int64_t channel, size_t group) {
      const float scale = extreme[group] / -8.0f;
      const float id = scale == 0.0f ? 0.0f : 1.0f / scale;
      const float t = std::fma(c.value(head, token, channel), id, 8.5f);
      c.codes[c.code(head, token, channel)] = static_cast<uint8_t>(std::min(15.0f, std::trunc(t)));
    });
  };
}

// Flush-to-zero of subnormal scales when they are read.
Bug flushed_scale(const Descriptor&) {
  return [](Content& c) {
    for (uint16_t& scale : c.scale)
      if ((scale & 0x7C00) == 0) scale &= 0x8000;
  };
}

// Codes cut to their bits instead of clamped. kivi.
Bug wrapped_codes(const Descriptor& d) {
  return [d](Content& c) {
    const int top = (1 << bits_of(d, c.side)) - 1;
    for_sealed(c, [&](int64_t head, int64_t token, int64_t channel, size_t group) {
      const float difference = num::f16_round(c.value(head, token, channel) - f16(c.zero[group]));
      const float t = std::nearbyint(num::f16_round(difference / f16(c.scale[group])));
      if (std::isfinite(t) && t > static_cast<float>(top))
        c.codes[c.code(head, token, channel)] = static_cast<uint8_t>(static_cast<int>(t) & top);
    });
  };
}

Bug nothing(const Descriptor&) {
  return [](Content&) {};
}

// kivi with the other profile: blocks are sealed on the other side of the read.
check::Subject other_profile() {
  return {"OtherProfile", [](std::string_view) { return true; },
          [](const Descriptor& descriptor, const CacheConfig& config) {
            std::string text = descriptor.str();
            const size_t at = text.find(",profile=paper");
            at == text.npos ? text += ",profile=paper" : text.erase(at);
            return reference(Descriptor::parse(text), config);
          }};
}

}  // namespace

std::vector<Broken> broken_subjects() {
  using enum AttentionBug;
  const auto attention = [](check::Subject subject) {
    return Broken{subject.name, Level::kE2, "fp/every-append", std::move(subject)};
  };
  const auto make = [](Level level, const char* family, check::Subject subject) {
    return Broken{subject.name, level, family, std::move(subject)};
  };
  return {
      make(Level::kE0, "fp/rounding", wrapped<CutsInputs>("CutsInputs")),
      make(Level::kE0, "fp/rounding", wrapped<FlushesInputs>("FlushesInputs")),
      make(Level::kE0, "int/ties", recoded("TiesAway", ties_away)),
      make(Level::kE1, "int/rounding-tokens",
           recoded("NeighboursScale", neighbours_scale, Shows::kWhenRead)),
      make(Level::kE1, "kivi/decode", wrapped<StaleWindow>("StaleWindow")),
      make(Level::kE0, "int/rounding-channels", recoded("SwappedNibbles", swapped_nibbles)),
      make(Level::kE0, "int/rounding-channels", recoded("UnroundedScale", unrounded_scale)),
      make(Level::kE0, "int/rounding-tokens", recoded("MissingBarrier", raced_scale)),
      make(Level::kE0, "ggml/fused", recoded("Contraction", contracted)),
      make(Level::kE1, "kivi/subnormal", recoded("FlushedScale", flushed_scale, Shows::kWhenRead)),
      make(Level::kE0, "kivi/subnormal", recoded("WrappedCodes", wrapped_codes)),
      make(Level::kE0, "kivi/decode", other_profile()),
      make(Level::kE0, "int/sequences", wrapped<MixesBatches>("MixesBatches")),
      make(Level::kE0, "fp/every-append", wrapped<CountsPadding>("CountsPadding")),
      make(Level::kE1, "fp/every-append", wrapped<WritesBehindRows>("WritesBehindRows")),
      attention(wrapped<ThrowsInAttention>("ThrowsInAttention")),
      attention(wrapped<Attention<kAscendingSum>>("OtherReductionOrder")),
      attention(wrapped<Attention<kProductRounded>>("ProductRounded")),
      attention(wrapped<Attention<kLostLastToken>>("LostLastToken")),
      attention(wrapped<Attention<kWrongHeadMap>>("WrongHeadMap")),
      make(Level::kE2, "fp/segments", wrapped<Attention<kNoRescale>>("NoRescale")),
      attention(wrapped<Attention<kLastRowUnwritten>>("LastRowUnwritten")),
  };
}

std::vector<Broken> sound_subjects() {
  return {
      {"Nothing", Level::kE0, "int/sequences", recoded("Nothing", nothing)},
      {"OtherNans", Level::kE0, "fp8/non-finite", wrapped<OtherNans>("OtherNans")},
      {"AttentionOfItsOwn", Level::kE0, "kivi/sequences",
       wrapped<Attention<AttentionBug::kNone>>("AttentionOfItsOwn")},
      {"Rechunked", Level::kE0, "kivi/sequences", check::cpu_subject()},
  };
}

}  // namespace kvx::self
