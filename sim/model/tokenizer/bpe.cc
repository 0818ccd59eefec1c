#include "sim/model/tokenizer/bpe.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <deque>
#include <queue>
#include <tuple>
#include <unordered_map>
#include <unordered_set>

#include "sim/model/checkpoint/file.h"
#include "sim/model/tokenizer/byte_alphabet.h"
#include "sim/model/tokenizer/nfc.h"
#include "sim/model/tokenizer/splitter.h"

namespace kvx::model {
namespace {

constexpr int32_t kNone = -1;

struct Merge {
  int32_t rank = 0;
  int32_t id = 0;  // of the merged token
};

uint64_t pair_key(int32_t left, int32_t right) {
  return uint64_t{static_cast<uint32_t>(left)} << 32 | static_cast<uint32_t>(right);
}

class BpeTokenizer : public Tokenizer {
 public:
  explicit BpeTokenizer(BpeSpec spec)
      : spec_(std::move(spec)),
        splitter_(spec_.split_patterns, spec_.source),
        added_(added(false)),
        normalized_added_(added(true)) {
    std::unordered_set<int32_t> outside;
    for (const AddedToken& token : spec_.added) {
      if (!token.in_model) outside.insert(token.id);
    }
    for (size_t id = 0; id < spec_.tokens.size(); ++id) {
      index_token(static_cast<int32_t>(id), outside.contains(static_cast<int32_t>(id)));
    }
    for (const AddedToken& token : spec_.added) bytes_[static_cast<size_t>(token.id)] = token.text;
    for (int byte = 0; byte < 256; ++byte) {
      const auto found = by_bytes_.find(std::string(1, static_cast<char>(byte)));
      byte_ids_[static_cast<size_t>(byte)] = found == by_bytes_.end() ? kNone : found->second;
    }
    for (size_t rank = 0; rank < spec_.merges.size(); ++rank) index_merge(rank);
  }

  std::vector<int32_t> encode(std::string_view text, bool add_bos,
                              bool parse_special) const override {
    require_utf8(text);
    std::vector<int32_t> ids;
    if (add_bos && adds_bos()) ids.push_back(spec_.bos);
    WordCache cache;
    std::deque<std::string> normalized;  // what the cache's keys point into, beside `text`
    const auto encode_plain = [&](std::string_view segment) {
      for (const std::string_view piece : splitter_.split(segment)) {
        auto [at, fresh] = cache.try_emplace(piece);
        if (fresh) at->second = encode_piece(piece);
        ids.insert(ids.end(), at->second.begin(), at->second.end());
      }
    };
    const auto visit_normalized = [&](std::string_view segment, int32_t token) {
      token == kNone ? encode_plain(segment) : ids.push_back(token);
    };
    const auto visit = [&](std::string_view segment, int32_t token) {
      if (token != kNone) {
        ids.push_back(token);
        return;
      }
      if (auto nfc = spec_.nfc ? to_nfc(segment) : std::nullopt) {
        segment = normalized.emplace_back(std::move(*nfc));
      }
      normalized_added_.for_each_segment(segment, parse_special, visit_normalized);
    };
    added_.for_each_segment(text, parse_special, visit);
    return ids;
  }

  std::string decode(std::span<const int32_t> ids) const override {
    std::string out;
    for (const int32_t id : ids) {
      if (id < 0 || id >= vocab_size()) {
        throw environment_error(
            fmt::format("token id {} is not in the vocabulary of {}", id, vocab_size()));
      }
      out += bytes_[static_cast<size_t>(id)];
    }
    return out;
  }

  std::string piece(int32_t id) const override { return bytes_[static_cast<size_t>(id)]; }
  int64_t vocab_size() const override { return static_cast<int64_t>(spec_.tokens.size()); }
  bool adds_bos() const override { return spec_.add_bos && spec_.bos >= 0; }
  int32_t bos() const override { return spec_.bos; }
  int32_t eos() const override { return spec_.eos; }
  std::string kind() const override { return spec_.kind; }
  std::string sha256() const override { return spec_.sha256; }

 private:
  using WordCache = std::unordered_map<std::string_view, std::vector<int32_t>>;

  // The added tokens that are looked for before, or after, the text is normalised.
  std::vector<AddedToken> added(bool normalized) const {
    std::vector<AddedToken> out;
    for (AddedToken token : spec_.added) {
      if (token.normalized != normalized) continue;
      if (normalized && spec_.nfc) token.text = to_nfc(token.text).value_or(token.text);
      out.push_back(std::move(token));
    }
    return out;
  }

  void index_token(int32_t id, bool outside) {
    const std::string& token = spec_.tokens[static_cast<size_t>(id)];
    const auto bytes = bytes_of_symbols(token);
    bytes_.push_back(bytes.value_or(token));
    if (!bytes || outside) return;  // no text is encoded to it
    const auto [at, fresh] = by_bytes_.emplace(*bytes, id);
    if (!fresh) {
      throw file_error(spec_.source, fmt::format("token {} {} is token {} already", id,
                                                 printable(token), at->second));
    }
  }

  void index_merge(size_t rank) {
    const std::string& left = spec_.merges[rank].first;
    const std::string& right = spec_.merges[rank].second;
    const auto id_of = [&](const std::string& symbols) {
      const auto bytes = bytes_of_symbols(symbols);
      const auto found = bytes ? by_bytes_.find(*bytes) : by_bytes_.end();
      if (found == by_bytes_.end()) {
        throw file_error(
            spec_.source,
            fmt::format("merge {} ({} {}) needs token {}, which is not in the vocabulary", rank,
                        printable(left), printable(right), printable(symbols)));
      }
      return found->second;
    };
    const uint64_t key = pair_key(id_of(left), id_of(right));
    // Of two merges of one pair the later counts, as in `tokenizers`.
    merges_.insert_or_assign(key, Merge{static_cast<int32_t>(rank), id_of(left + right)});
  }

  // Merges the pair of lowest rank, the leftmost of equals, until none is left.
  std::vector<int32_t> encode_piece(std::string_view piece) const {
    if (spec_.ignore_merges) {
      const auto whole = by_bytes_.find(std::string(piece));
      if (whole != by_bytes_.end()) return {whole->second};
    }
    std::vector<Symbol> symbols;
    for (const char byte : piece) {
      const int32_t id = byte_ids_[static_cast<unsigned char>(byte)];
      if (id == kNone && !spec_.unknown) continue;
      const auto index = static_cast<int32_t>(symbols.size());
      symbols.push_back({id == kNone ? *spec_.unknown : id, index - 1, index + 1});
    }
    if (symbols.empty()) return {};
    symbols.back().next = kNone;

    Candidates candidates;
    const auto propose = [&](int32_t left) {
      if (left == kNone || at(symbols, left).next == kNone) return;
      const int32_t left_id = at(symbols, left).id;
      const int32_t right_id = at(symbols, at(symbols, left).next).id;
      const auto found = merges_.find(pair_key(left_id, right_id));
      if (found != merges_.end()) {
        candidates.push({found->second.rank, left, left_id, right_id, found->second.id});
      }
    };
    for (size_t i = 0; i + 1 < symbols.size(); ++i) propose(static_cast<int32_t>(i));
    while (!candidates.empty()) {
      const Candidate best = candidates.top();
      candidates.pop();
      Symbol& left = at(symbols, best.left);
      // A symbol that has changed since, or that was taken by its neighbour, makes the proposal
      // void.
      if (left.id != best.left_id || left.next == kNone) continue;
      Symbol& right = at(symbols, left.next);
      if (right.id != best.right_id) continue;
      left.id = best.merged_id;
      left.next = right.next;
      right.id = kNone;
      if (left.next != kNone) at(symbols, left.next).previous = best.left;
      propose(left.previous);
      propose(best.left);
    }
    std::vector<int32_t> ids;
    for (int32_t i = 0; i != kNone; i = at(symbols, i).next) ids.push_back(at(symbols, i).id);
    return ids;
  }

  struct Symbol {
    int32_t id;
    int32_t previous;
    int32_t next;
  };
  static Symbol& at(std::vector<Symbol>& symbols, int32_t i) {
    return symbols[static_cast<size_t>(i)];
  }

  struct Candidate {
    int32_t rank, left, left_id, right_id, merged_id;
    bool operator>(const Candidate& other) const {
      return std::tie(rank, left) > std::tie(other.rank, other.left);
    }
  };
  using Candidates = std::priority_queue<Candidate, std::vector<Candidate>, std::greater<>>;

  BpeSpec spec_;
  Splitter splitter_;
  AddedTokens added_;
  AddedTokens normalized_added_;
  std::vector<std::string> bytes_;  // by id
  std::unordered_map<std::string, int32_t> by_bytes_;
  std::array<int32_t, 256> byte_ids_{};
  std::unordered_map<uint64_t, Merge> merges_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_bpe_tokenizer(BpeSpec spec) {
  return std::make_unique<BpeTokenizer>(std::move(spec));
}

}  // namespace kvx::model
