#include "ref/cache/prefix_cache.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "ref/cache/elements.h"
#include "sim/api/error.h"
#include "sim/num/attention.h"

namespace kvx::ref {
namespace {

constexpr Side kSides[] = {Side::kK, Side::kV};

void require(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}

template <class T>
std::span<const std::byte> bytes_of(const std::vector<T>& values) {
  return std::as_bytes(std::span<const T>(values));
}

}  // namespace

PrefixCache::PrefixCache(const Traits& traits, const CacheConfig& config, SideScheme k,
                         SideScheme v)
    : traits_(traits),
      config_(config),
      sides_{std::move(k), std::move(v)},
      element_bytes_(element_bytes(traits.input)) {
  require(config.shape.kv_heads > 0 && config.shape.head_dim > 0, "empty layer shape");
  for (const SideScheme& side : sides_) {
    require(side.coder->dim() == config.shape.head_dim, "coder of another head dim");
  }
}

// Sequences.

SeqId PrefixCache::open() {
  sequences_[next_];
  return next_++;
}

SeqId PrefixCache::fork(SeqId seq) {
  Sequence copy = find(seq);
  sequences_.emplace(next_, std::move(copy));
  return next_++;
}

void PrefixCache::close(SeqId seq) { require(sequences_.erase(seq) == 1, "no such sequence"); }

int64_t PrefixCache::length(SeqId seq) const { return find(seq).length; }

const PrefixCache::Sequence& PrefixCache::find(SeqId seq) const {
  const auto found = sequences_.find(seq);
  require(found != sequences_.end(), "no such sequence");
  return found->second;
}

PrefixCache::Sequence& PrefixCache::find(SeqId seq) {
  return const_cast<Sequence&>(std::as_const(*this).find(seq));
}

// Writing.

void PrefixCache::append(ConstRows k, ConstRows v, std::span<const Span> spans) {
  check_spans(k, spans, "append: k");
  check_spans(v, spans, "append: v");
  for (size_t i = 0; i < spans.size(); ++i) {
    require(spans[i].first == find(spans[i].seq).length, "append: span does not start at the end");
    for (size_t j = 0; j < i; ++j) {
      require(spans[i].seq != spans[j].seq, "append: two spans of one sequence");
    }
  }
  // Everything that can throw comes before the first change.
  const std::array fresh = {rounded(Side::kK, k, spans), rounded(Side::kV, v, spans)};
  int64_t first = 0;
  for (const Span& span : spans) {
    Sequence& sequence = find(span.seq);
    const int64_t length = span.first + span.count;
    for (const Side side : kSides) {
      Store& store = sequence.sides[static_cast<size_t>(side)];
      const auto from = fresh[static_cast<size_t>(side)].begin() + first * token_bytes();
      store.rows.insert(store.rows.end(), from, from + span.count * token_bytes());
      seal(side, store, sealed(side, sequence), scheme(side).rule.sealed_after(length));
    }
    sequence.length = length;
    sequence.last_append = span.first;
    for (const Side side : kSides) drop_rows(side, sequence);
    first += span.count;
  }
}

void PrefixCache::check_spans(ConstRows rows, std::span<const Span> spans, const char* name) const {
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

std::vector<std::byte> PrefixCache::rounded(Side side, ConstRows rows,
                                            std::span<const Span> spans) const {
  require(rows.heads == config_.shape.kv_heads, "append: rows of another number of heads");
  std::vector<std::byte> out(static_cast<size_t>(rows.tokens * token_bytes()));
  std::vector<float> stored(static_cast<size_t>(rows.dim));
  std::byte* next = out.data();
  int64_t at = 0;
  for (const Span& span : spans) {
    for (int64_t token = span.first; token < span.first + span.count; ++token, ++at) {
      for (int head = 0; head < rows.heads; ++head, next += row_bytes()) {
        const float* row = rows.row(at, head);
        store_elements(traits_.input, {row, stored.size()}, next);
        if (config_.nonfinite == NonFinite::kPropagate) continue;
        load_elements(traits_.input, next, stored);
        for (size_t channel = 0; channel < stored.size(); ++channel) {
          if (std::isfinite(stored[channel])) continue;
          throw environment_error("layer " + std::to_string(config_.shape.layer) + ", " +
                                  side_name(side) + ", head " + std::to_string(head) + ", token " +
                                  std::to_string(token) + ", channel " + std::to_string(channel) +
                                  ": " + std::to_string(row[channel]) + " is not finite in " +
                                  element_name(traits_.input));
        }
      }
    }
  }
  return out;
}

// Encodes tokens [from, to), whole blocks, out of the exact rows.
void PrefixCache::seal(Side side, Store& store, int64_t from, int64_t to) const {
  const BlockCoder& coder = *scheme(side).coder;
  const int64_t tokens = coder.tokens();
  const auto block_bytes = static_cast<size_t>(coder.bytes());
  require(from % tokens == 0 && to % tokens == 0 && from <= to && store.first_row <= from,
          "rule and coder disagree");
  const auto dim = static_cast<size_t>(coder.dim());
  std::vector<float> x(static_cast<size_t>(tokens) * dim);
  size_t end = store.sealed.size();
  store.sealed.resize(end + static_cast<size_t>((to - from) / tokens * config_.shape.kv_heads) *
                                block_bytes);
  for (int64_t first = from; first < to; first += tokens) {
    for (int head = 0; head < config_.shape.kv_heads; ++head) {
      for (int64_t i = 0; i < tokens; ++i) {
        load_elements(
            traits_.input,
            store.rows.data() + (first + i - store.first_row) * token_bytes() + head * row_bytes(),
            std::span(x).subspan(static_cast<size_t>(i) * dim, dim));
      }
      coder.encode(x, std::span(store.sealed).subspan(end, block_bytes));
      end += block_bytes;
    }
  }
}

// Rows that are sealed go, but for those a query of the last append may still read exactly.
void PrefixCache::drop_rows(Side side, Sequence& sequence) const {
  Store& store = sequence.sides[static_cast<size_t>(side)];
  int64_t keep = sealed(side, sequence);
  if (sequence.last_append < sequence.length) {
    keep = std::min(keep, scheme(side).rule.sealed_for_query(sequence.last_append));
  }
  if (keep <= store.first_row) return;
  const int64_t count = keep - store.first_row;
  store.rows.erase(store.rows.begin(), store.rows.begin() + count * token_bytes());
  store.first_row = keep;
}

void PrefixCache::settle(SeqId seq) {
  Sequence& sequence = find(seq);
  sequence.last_append = sequence.length;
  for (const Side side : kSides) drop_rows(side, sequence);
}

void PrefixCache::truncate(SeqId seq, int64_t length) {
  Sequence& sequence = find(seq);
  if (length < 0 || length > sequence.length) {
    throw usage_error("cannot truncate " + std::to_string(sequence.length) + " tokens to " +
                      std::to_string(length));
  }
  if (length == sequence.length) return;
  for (const Side side : kSides) {
    const int64_t after = scheme(side).rule.sealed_after(length);
    const int64_t lost = std::min(sealed(side, sequence), length);
    if (after < lost) {
      throw usage_error("cannot truncate to " + std::to_string(length) + " tokens: layer " +
                        std::to_string(config_.shape.layer) + ", " + side_name(side) + ", tokens " +
                        std::to_string(after) + " .. " + std::to_string(lost - 1) +
                        " would be exact and are sealed already");
    }
  }
  settle(seq);
  for (const Side side : kSides) {
    const SideScheme& s = scheme(side);
    Store& store = sequence.sides[static_cast<size_t>(side)];
    const int64_t after = s.rule.sealed_after(length);
    store.sealed.resize(
        static_cast<size_t>(after / s.coder->tokens() * config_.shape.kv_heads * s.coder->bytes()));
    store.first_row = std::min(store.first_row, length);
    store.rows.resize(static_cast<size_t>((length - store.first_row) * token_bytes()));
  }
  sequence.length = length;
  sequence.last_append = length;
}

// Reading.

ReadMap PrefixCache::held(SeqId seq, Side side) const {
  const Sequence& sequence = find(seq);
  const int64_t split = sealed(side, sequence);
  ReadMap map;
  if (split > 0) map.push_back({0, split, Held::kSealed});
  if (split < sequence.length) map.push_back({split, sequence.length - split, Held::kExact});
  return map;
}

ReadMap PrefixCache::reads(SeqId seq, Side side, int64_t query) const {
  const Sequence& sequence = find(seq);
  require(query >= sequence.last_append && query < sequence.length,
          "reads: the query is not of the last append");
  const int64_t split = scheme(side).rule.sealed_for_query(query);
  ReadMap map;
  if (split > 0) map.push_back({0, split, Held::kSealed});
  if (split <= query) map.push_back({split, query + 1 - split, Held::kExact});
  return map;
}

void PrefixCache::read(SeqId seq, Side side, RowRange range, Rows out) const {
  const Sequence& sequence = find(seq);
  const Store& store = sequence.sides[static_cast<size_t>(side)];
  const int64_t end = range.first + range.count;
  require(out.tokens == range.count && out.heads == config_.shape.kv_heads &&
              out.dim == config_.shape.head_dim,
          "read: out is not of the shape of range and layer");
  const auto dim = static_cast<size_t>(out.dim);
  if (range.held == Held::kExact) {
    require(range.count >= 0 && range.first >= store.first_row && end <= sequence.length,
            "read: rows that are not held exact");
    for (int64_t token = range.first; token < end; ++token) {
      for (int head = 0; head < out.heads; ++head) {
        load_elements(
            traits_.input,
            store.rows.data() + (token - store.first_row) * token_bytes() + head * row_bytes(),
            {out.row(token - range.first, head), dim});
      }
    }
    return;
  }
  require(range.count >= 0 && range.first >= 0 && end <= sealed(side, sequence),
          "read: rows that are not sealed");
  const BlockCoder& coder = *scheme(side).coder;
  const int64_t tokens = coder.tokens();
  const auto block_bytes = static_cast<size_t>(coder.bytes());
  std::vector<float> x(static_cast<size_t>(tokens) * dim);
  for (int64_t block = range.first / tokens; block * tokens < end; ++block) {
    const int64_t from = std::max(range.first, block * tokens);
    const int64_t to = std::min(end, (block + 1) * tokens);
    for (int head = 0; head < out.heads; ++head) {
      const auto index = static_cast<size_t>(block * out.heads + head);
      coder.decode(std::span(store.sealed).subspan(index * block_bytes, block_bytes), x);
      for (int64_t token = from; token < to; ++token) {
        std::copy_n(x.data() + static_cast<size_t>(token - block * tokens) * dim, dim,
                    out.row(token - range.first, head));
      }
    }
  }
}

void PrefixCache::attend(ConstRows q, std::span<const Span> spans, Rows out) const {
  check_spans(q, spans, "attend: q");
  require(out.tokens == q.tokens && out.heads == q.heads && out.dim == q.dim,
          "attend: out is not of the shape of q");
  const int kv_heads = config_.shape.kv_heads;
  const int dim = config_.shape.head_dim;
  int64_t at = 0;
  for (const Span& span : spans) {
    if (span.count == 0) continue;
    const Sequence& sequence = find(span.seq);
    const int64_t last = span.first + span.count - 1;
    require(span.first >= sequence.last_append && last < sequence.length,
            "attend: the queries are not of the last append");
    // Per side: sealed tokens decoded, and exact rows from the first that a query of this span
    // reads so.
    std::array<std::vector<float>, 2> decoded, exact;
    std::array<int64_t, 2> first_exact;
    for (const Side side : kSides) {
      const auto s = static_cast<size_t>(side);
      const int64_t split = scheme(side).rule.sealed_for_query(last);
      first_exact[s] = scheme(side).rule.sealed_for_query(span.first);
      const int64_t count = last + 1 - first_exact[s];
      decoded[s].resize(static_cast<size_t>(split * kv_heads * dim));
      exact[s].resize(static_cast<size_t>(count * kv_heads * dim));
      read(span.seq, side, {0, split, Held::kSealed},
           dense_rows(decoded[s].data(), split, kv_heads, dim));
      read(span.seq, side, {first_exact[s], count, Held::kExact},
           dense_rows(exact[s].data(), count, kv_heads, dim));
    }
    const auto row = [&](Side side, int64_t split, int64_t token, int head) -> const float* {
      const auto s = static_cast<size_t>(side);
      return token < split ? decoded[s].data() + (token * kv_heads + head) * dim
                           : exact[s].data() + ((token - first_exact[s]) * kv_heads + head) * dim;
    };
    std::vector<num::AttentionRow> rows;
    for (int64_t t = span.first; t <= last; ++t, ++at) {
      const int64_t split_k = scheme(Side::kK).rule.sealed_for_query(t);
      const int64_t split_v = scheme(Side::kV).rule.sealed_for_query(t);
      for (int head = 0; head < kv_heads; ++head) {
        rows.clear();
        for (int64_t token = 0; token <= t; ++token) {
          rows.push_back(
              {token, row(Side::kK, split_k, token, head), row(Side::kV, split_v, token, head)});
        }
        const int group = q.heads / kv_heads;
        for (int h = head * group; h < (head + 1) * group; ++h) {
          const auto width = static_cast<size_t>(dim);
          num::plain::attend({q.row(at, h), width}, rows, {out.row(at, h), width});
        }
      }
    }
  }
}

// Bytes.

ByteCount PrefixCache::count(Side side, int64_t length) const {
  const SideScheme& s = scheme(side);
  const int64_t sealed_tokens = s.rule.sealed_after(length);
  const int64_t blocks = sealed_tokens / s.coder->tokens() * config_.shape.kv_heads;
  ByteCount bytes;
  for (const Field& field : s.coder->fields()) bytes[field.item] += blocks * field.bytes;
  bytes[Item::kExact] += (length - sealed_tokens) * token_bytes();
  return bytes;
}

ByteCount PrefixCache::used(SeqId seq, Side side) const { return count(side, find(seq).length); }

std::vector<std::byte> PrefixCache::image(SeqId seq) const {
  const Sequence& sequence = find(seq);
  const int heads = config_.shape.kv_heads;
  std::vector<std::byte> out;
  for (const Side side : kSides) {
    const Store& store = sequence.sides[static_cast<size_t>(side)];
    const int64_t block_bytes = scheme(side).coder->bytes();
    const auto sealed_bytes = static_cast<int64_t>(store.sealed.size());
    for (int head = 0; head < heads; ++head) {
      for (int64_t at = head * block_bytes; at < sealed_bytes; at += heads * block_bytes) {
        const auto from = store.sealed.begin() + at;
        out.insert(out.end(), from, from + block_bytes);
      }
    }
    for (int head = 0; head < heads; ++head) {
      for (int64_t token = sealed(side, sequence); token < sequence.length; ++token) {
        const auto from =
            store.rows.begin() + (token - store.first_row) * token_bytes() + head * row_bytes();
        out.insert(out.end(), from, from + row_bytes());
      }
    }
  }
  return out;
}

SeqId PrefixCache::restore(int64_t length, std::span<const std::byte> image) {
  const auto size = static_cast<int64_t>(image.size());
  // A token takes more than one bit of an image, so that the product below cannot overflow.
  const bool plausible = length >= 0 && length / 8 <= size;
  const int64_t wanted =
      plausible ? count(Side::kK, length).total() + count(Side::kV, length).total() : -1;
  if (size != wanted) {
    throw environment_error("image of " + std::to_string(size) + " bytes for " +
                            std::to_string(length) + " tokens" +
                            (plausible ? ": " + std::to_string(wanted) + " expected" : ""));
  }
  const int heads = config_.shape.kv_heads;
  Sequence sequence;
  sequence.length = length;
  sequence.last_append = length;
  const std::byte* next = image.data();
  for (const Side side : kSides) {
    Store& store = sequence.sides[static_cast<size_t>(side)];
    const BlockCoder& coder = *scheme(side).coder;
    const auto block_bytes = static_cast<size_t>(coder.bytes());
    store.first_row = sealed(side, sequence);
    const int64_t blocks = store.first_row / coder.tokens();
    store.sealed.resize(static_cast<size_t>(blocks * heads) * block_bytes);
    for (int head = 0; head < heads; ++head) {
      for (int64_t block = 0; block < blocks; ++block, next += block_bytes) {
        const auto index = static_cast<size_t>(block * heads + head);
        std::copy_n(next, block_bytes, store.sealed.data() + index * block_bytes);
      }
    }
    const int64_t rows = length - store.first_row;
    store.rows.resize(static_cast<size_t>(rows * token_bytes()));
    for (int head = 0; head < heads; ++head) {
      for (int64_t row = 0; row < rows; ++row, next += row_bytes()) {
        std::copy_n(next, row_bytes(),
                    store.rows.data() + row * token_bytes() + head * row_bytes());
      }
    }
  }
  sequences_.emplace(next_, std::move(sequence));
  return next_++;
}

std::vector<LayoutEntry> PrefixCache::layout(int64_t length) const {
  require(length >= 0, "layout: negative length");
  const int heads = config_.shape.kv_heads;
  std::vector<LayoutEntry> entries;
  int64_t offset = 0;
  const auto add = [&](std::string name, std::string dtype, std::string shape, int64_t bytes,
                       Item item) {
    entries.push_back({std::move(name), std::move(dtype), std::move(shape), offset, bytes, item});
    offset += bytes;
  };
  for (const Side side : kSides) {
    const SideScheme& s = scheme(side);
    const int64_t sealed_tokens = s.rule.sealed_after(length);
    const auto head_name = [&](int head) {
      return std::string(side_name(side)) + ".head" + std::to_string(head);
    };
    for (int head = 0; head < heads; ++head) {
      for (int64_t block = 0; block < sealed_tokens / s.coder->tokens(); ++block) {
        const std::string prefix = head_name(head) + ".block" + std::to_string(block) + ".";
        for (const Field& field : s.coder->fields()) {
          add(prefix + field.name, field.dtype, field.shape, field.bytes, field.item);
        }
      }
    }
    const int64_t rows = length - sealed_tokens;
    for (int head = 0; head < heads && rows > 0; ++head) {
      add(head_name(head) + ".exact", element_name(traits_.input),
          std::string("[") + std::to_string(rows) + "][" + std::to_string(config_.shape.head_dim) +
              "]",
          rows * row_bytes(), Item::kExact);
    }
  }
  return entries;
}

void PrefixCache::export_to(SeqId seq, const Sink& sink) const {
  const Sequence& sequence = find(seq);
  const int64_t heads = config_.shape.kv_heads;
  const int64_t dim = config_.shape.head_dim;
  const int64_t length = sequence.length;
  for (const Side side : kSides) {
    const Store& store = sequence.sides[static_cast<size_t>(side)];
    const BlockCoder& coder = *scheme(side).coder;
    const int64_t tokens = coder.tokens();
    const auto block_bytes = static_cast<size_t>(coder.bytes());
    const int64_t split = sealed(side, sequence);
    const int64_t blocks = split / tokens;
    const std::string prefix = std::string(side_name(side)) + ".";

    CanonicalBlock block;  // of a block of zeros: tells which tensors there are, and their sizes
    coder.canonical(std::vector<std::byte>(block_bytes), block);
    const auto metadata = static_cast<int64_t>(block.scale.size());  // per block
    const auto words = static_cast<int64_t>(block.packed.size());    // per block
    const bool has_codes = !block.codes.empty();
    const bool has_zero = !block.zero.empty();
    // Codes that lie along a channel's tokens are packed so too: [dim][words], else [words].
    const int64_t lines = tokens > 1 ? dim : 1;
    const int64_t line_words = words / lines;
    std::vector<uint8_t> codes(has_codes ? static_cast<size_t>(heads * length * dim) : 0);
    const int64_t groups = length / tokens;  // complete ones, sealed or not
    std::vector<uint16_t> scale(static_cast<size_t>(heads * groups * metadata));
    std::vector<uint16_t> zero(has_zero ? scale.size() : 0);
    std::vector<uint32_t> packed(static_cast<size_t>(heads * blocks * words));

    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t b = 0; b < blocks; ++b) {
        const auto index = static_cast<size_t>(b * heads + head);
        coder.canonical(std::span(store.sealed).subspan(index * block_bytes, block_bytes), block);
        std::copy(block.codes.begin(), block.codes.end(),
                  codes.begin() + (head * length + b * tokens) * dim);
        for (int64_t i = 0; i < metadata; ++i) {
          const auto to = static_cast<size_t>((head * groups + b) * metadata + i);
          scale[to] = static_cast<uint16_t>(block.scale[static_cast<size_t>(i)]);
          if (has_zero) zero[to] = static_cast<uint16_t>(block.zero[static_cast<size_t>(i)]);
        }
        for (int64_t line = 0; line < lines && words > 0; ++line) {
          std::copy_n(block.packed.begin() + line * line_words, line_words,
                      packed.begin() + ((head * lines + line) * blocks + b) * line_words);
        }
      }
    }

    std::vector<float> rows(static_cast<size_t>(heads * length * dim));
    std::vector<uint8_t> sealed_tokens(static_cast<size_t>(heads * length));
    const Rows view{rows.data(),           length, static_cast<int>(heads),
                    static_cast<int>(dim), dim,    length * dim};
    read(seq, side, {0, split, Held::kSealed}, view.slice(0, split));
    read(seq, side, {split, length - split, Held::kExact}, view.slice(split, length - split));
    for (int64_t head = 0; head < heads; ++head) {
      std::fill_n(sealed_tokens.begin() + head * length, split, uint8_t{1});
    }

    if (has_codes) sink(prefix + "codes", "U8", {heads, length, dim}, bytes_of(codes));
    if (metadata > 0) {
      sink(prefix + "scale", "F16", {heads, groups, metadata}, bytes_of(scale));
    }
    if (has_zero) sink(prefix + "zero", "F16", {heads, groups, metadata}, bytes_of(zero));
    sink(prefix + "decoded", "F32", {heads, length, dim}, bytes_of(rows));
    sink(prefix + "sealed", "U8", {heads, length}, bytes_of(sealed_tokens));
    if (words > 0 && tokens > 1) {
      sink(prefix + "packed", "I32", {heads, dim, blocks * line_words}, bytes_of(packed));
    } else if (words > 0) {
      sink(prefix + "packed", "I32", {heads, blocks, words}, bytes_of(packed));
    }
  }
}

}  // namespace kvx::ref
