#include "ref/cache/prefix_cache.h"

#include <algorithm>
#include <utility>

#include "ref/cache/append_checks.h"
#include "ref/cache/elements.h"
#include "sim/api/error.h"

namespace kvx::ref {

SealRule seal_every_token() {
  return {[](int64_t length) { return length; }, [](int64_t position) { return position + 1; },
          "every token is sealed when it is appended, before the read"};
}

PrefixCache::PrefixCache(const Traits& traits, const CacheConfig& config, SideScheme k,
                         SideScheme v)
    : traits_(traits),
      config_(config),
      sides_{std::move(k), std::move(v)},
      element_bytes_(element_bytes(traits.input)) {
  require(config.shape.kv_heads > 0 && config.shape.head_dim > 0, "empty layer shape");
  for (const SideScheme& side : sides_) {
    const size_t others = side.other_heads.size();
    require(others == 0 || others + 1 == static_cast<size_t>(config.shape.kv_heads),
            "coders of another number of heads");
    for (int head = 0; head < config.shape.kv_heads; ++head) {
      const BlockCoder& coder = side.coder_of(head);
      require(config.arithmetic == Arithmetic::kIeee || side.affine.has_value(),
              "arithmetic fixed for a scheme without");
      require(coder.dim() == config.shape.head_dim && coder.tokens() == side.coder->tokens() &&
                  coder.bytes() == side.coder->bytes(),
              "coder of another shape");
    }
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
  check_append(config_.shape, k, v, spans, [&](SeqId seq) { return find(seq).length; });
  // Everything that can throw comes before the first lasting change.
  try {
    add_rows(Side::kK, k, spans);
    add_rows(Side::kV, v, spans);
    for (const Span& span : spans) {
      Sequence& sequence = find(span.seq);
      for (const Side side : kSides) {
        seal(side, sequence.sides[static_cast<size_t>(side)], sealed(side, sequence),
             scheme(side).rule.sealed_after(span.first + span.count));
      }
    }
  } catch (...) {
    for (const Span& span : spans) {
      Sequence& sequence = find(span.seq);
      for (const Side side : kSides) {
        Store& store = sequence.sides[static_cast<size_t>(side)];
        cut_sealed(side, store, sealed(side, sequence));
        store.rows.resize(static_cast<size_t>((sequence.length - store.first_row) * token_bytes()));
      }
    }
    throw;
  }
  for (const Span& span : spans) {
    Sequence& sequence = find(span.seq);
    sequence.length = span.first + span.count;
    sequence.last_append = span.first;
    for (const Side side : kSides) drop_rows(side, sequence);
  }
}

void PrefixCache::add_rows(Side side, ConstRows rows, std::span<const Span> spans) {
  const auto dim = static_cast<size_t>(rows.dim);
  int64_t at = 0;
  for (const Span& span : spans) {
    std::vector<std::byte>& stored = find(span.seq).sides[static_cast<size_t>(side)].rows;
    const size_t end = stored.size();
    stored.resize(end + static_cast<size_t>(span.count * token_bytes()));
    std::byte* next = stored.data() + end;
    for (int64_t token = span.first; token < span.first + span.count; ++token, ++at) {
      for (int head = 0; head < rows.heads; ++head, next += row_bytes()) {
        const float* row = rows.row(at, head);
        store_elements(traits_.input, {row, dim}, next);
        if (config_.nonfinite == NonFinite::kPropagate) continue;
        const size_t channel = first_non_finite(traits_.input, next, dim);
        if (channel == dim) continue;
        throw not_finite(config_.shape, side, head, token, static_cast<int64_t>(channel),
                         row[channel], traits_.input);
      }
    }
  }
}

// Encodes tokens [from, to), whole blocks, out of the exact rows.
void PrefixCache::seal(Side side, Store& store, int64_t from, int64_t to) const {
  const SideScheme& s = scheme(side);
  const int64_t tokens = s.coder->tokens();
  const auto block_bytes = static_cast<size_t>(s.coder->bytes());
  require(from % tokens == 0 && to % tokens == 0 && from <= to && store.first_row <= from,
          "rule and coder disagree");
  const auto dim = static_cast<size_t>(s.coder->dim());
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
      s.coder_of(head).encode(x, std::span(store.sealed).subspan(end, block_bytes));
      end += block_bytes;
    }
  }
  unpack(side, store, from / tokens);
}

void PrefixCache::cut_sealed(Side side, Store& store, int64_t tokens) const {
  const BlockCoder& coder = *scheme(side).coder;
  const int64_t blocks = tokens / coder.tokens();
  store.sealed.resize(static_cast<size_t>(blocks * config_.shape.kv_heads * coder.bytes()));
  store.affine.truncate(blocks);
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
    Store& store = sequence.sides[static_cast<size_t>(side)];
    cut_sealed(side, store, scheme(side).rule.sealed_after(length));
    store.first_row = std::min(store.first_row, length);
    store.rows.resize(static_cast<size_t>((length - store.first_row) * token_bytes()));
  }
  sequence.length = length;
  sequence.last_append = length;
}

}  // namespace kvx::ref
