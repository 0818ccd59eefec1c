#include "ref/kvquant/cache.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::ref::kvquant {

Cache::Cache(const Settings& settings, const CacheConfig& config, RowCoder k, RowCoder v)
    : settings_(settings), config_(config), coders_{std::move(k), std::move(v)} {
  traits_.keys = settings.pre_rope ? KeySpace::kPreRope : KeySpace::kRotated;
  traits_.fixed_size = !has_starts(Side::kK) && !has_starts(Side::kV);
}

// Sequences.

SeqId Cache::add(Sequence sequence) {
  sequences_.emplace(next_, std::move(sequence));
  return next_++;
}

SeqId Cache::open() { return add({}); }

SeqId Cache::fork(SeqId seq) { return add(find(seq)); }

void Cache::close(SeqId seq) { require(sequences_.erase(seq) == 1, "no such sequence"); }

const Cache::Sequence& Cache::find(SeqId seq) const {
  const auto found = sequences_.find(seq);
  require(found != sequences_.end(), "no such sequence");
  return found->second;
}

Cache::Sequence& Cache::find(SeqId seq) {
  return const_cast<Sequence&>(std::as_const(*this).find(seq));
}

// Writing.

void Cache::check_spans(ConstRows rows, std::span<const Span> spans, const char* name) const {
  int64_t tokens = 0;
  for (const Span& span : spans) {
    require(span.count >= 0, "span of negative count");
    tokens += span.count;
  }
  if (rows.tokens != tokens || rows.heads <= 0 || rows.heads % config_.shape.kv_heads != 0 ||
      rows.dim != config_.shape.head_dim) {
    throw std::logic_error(std::string(name) + " is not of the shape of spans and layer");
  }
}

std::vector<float> Cache::rounded(Side side, ConstRows rows, std::span<const Span> spans) const {
  std::vector<float> all(static_cast<size_t>(rows.tokens * channels()));
  const auto dim = static_cast<size_t>(rows.dim);
  float* to = all.data();
  int64_t at = 0;
  for (const Span& span : spans) {
    for (int64_t token = span.first; token < span.first + span.count; ++token, ++at) {
      for (int head = 0; head < rows.heads; ++head, to += dim) {
        const float* from = rows.row(at, head);
        num::f16_round({from, dim}, {to, dim});
        if (config_.nonfinite == NonFinite::kPropagate) continue;
        const float* const bad =
            std::find_if_not(to, to + dim, [](float x) { return std::isfinite(x); });
        if (bad == to + dim) continue;
        throw environment_error("layer " + std::to_string(config_.shape.layer) + ", " +
                                side_name(side) + ", head " + std::to_string(head) + ", token " +
                                std::to_string(token) + ", channel " + std::to_string(bad - to) +
                                ": " + std::to_string(from[bad - to]) + " is not finite in f16");
      }
    }
  }
  return all;
}

void Cache::append(ConstRows k, ConstRows v, std::span<const Span> spans) {
  check_spans(k, spans, "append: k");
  check_spans(v, spans, "append: v");
  require(k.heads == config_.shape.kv_heads && v.heads == config_.shape.kv_heads,
          "append: rows of another number of heads");
  for (size_t i = 0; i < spans.size(); ++i) {
    require(spans[i].first == find(spans[i].seq).length, "append: span does not start at the end");
    for (size_t j = 0; j < i; ++j) {
      require(spans[i].seq != spans[j].seq, "append: two spans of one sequence");
    }
    if (settings_.sparse() && spans[i].first + spans[i].count > UINT32_MAX / channels()) {
      throw environment_error("kvquant: " + std::to_string(spans[i].first + spans[i].count) +
                              " tokens may have more than 2^32 outliers");
    }
  }
  // Everything that can throw comes before the first lasting change.
  const std::array rows = {rounded(Side::kK, k, spans), rounded(Side::kV, v, spans)};
  size_t at = 0;
  for (const Span& span : spans) {
    const auto values = static_cast<size_t>(span.count * channels());
    Sequence& sequence = find(span.seq);
    for (const Side side : kSides) {
      const auto s = static_cast<size_t>(side);
      store(side, std::span(rows[s]).subspan(at, values), sequence.sides[s]);
    }
    at += values;
    sequence.length = span.first + span.count;
    sequence.last_append = span.first;
  }
}

void Cache::store(Side side, std::span<const float> rows, Store& to) const {
  const auto d = static_cast<size_t>(channels());
  const size_t room = static_cast<size_t>(settings_.sink) * d - to.sink.size();
  const size_t exact = std::min(room, rows.size());
  to.sink.insert(to.sink.end(), rows.begin(), rows.begin() + static_cast<int64_t>(exact));
  CodedRow row;
  for (size_t at = exact; at < rows.size(); at += d) {
    coder(side).encode(rows.subspan(at, d), row);
    to.codes.insert(to.codes.end(), row.codes.begin(), row.codes.end());
    if (per_token(side)) {
      to.lo.push_back(row.lo);
      to.hi.push_back(row.hi);
    }
    to.outliers.insert(to.outliers.end(), row.outliers.begin(), row.outliers.end());
    to.starts.push_back(static_cast<uint32_t>(to.outliers.size()));
  }
}

void Cache::settle(SeqId seq) {
  Sequence& sequence = find(seq);
  sequence.last_append = sequence.length;
}

void Cache::truncate(SeqId seq, int64_t length) {
  Sequence& sequence = find(seq);
  if (length < 0 || length > sequence.length) {
    throw usage_error("cannot truncate " + std::to_string(sequence.length) + " tokens to " +
                      std::to_string(length));
  }
  if (length == sequence.length) return;
  const auto coded = static_cast<size_t>(coded_tokens(length));
  for (const Side side : kSides) {
    Store& store = sequence.sides[static_cast<size_t>(side)];
    store.sink.resize(static_cast<size_t>(sink_tokens(length) * channels()));
    store.codes.resize(coded * static_cast<size_t>(channels()));
    store.lo.resize(std::min(store.lo.size(), coded));
    store.hi.resize(std::min(store.hi.size(), coded));
    store.outliers.resize(store.starts[coded]);
    store.starts.resize(coded + 1);
  }
  sequence.length = length;
  sequence.last_append = length;
}

// Figures and words.

double Cache::nominal_bits(Side) const { return settings_.bits + 32 * settings_.outliers; }

std::string Cache::policy(Side side) const {
  std::string text = settings_.sink == 0
                         ? "every token is sealed when it is appended, before the read"
                         : "the first " + std::to_string(settings_.sink) +
                               " tokens are exact; every other one is sealed when it is appended, "
                               "before the read";
  if (side == Side::kK && settings_.pre_rope) text += "; keys are rotated when they are read";
  return text;
}

}  // namespace kvx::ref::kvquant
