// The events of attention in arithmetic `fixed` (fixed.md), by binary64 scores over decoded keys:
// all query heads of the last token of sequence 0's last append.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <span>

#include "eval/check/events.h"
#include "sim/api/descriptor.h"
#include "sim/num/formats.h"

namespace kvx::check {
namespace {

constexpr int64_t kTile = 128;
constexpr int kFarAway = 100;       // weights below 2^-100 are left out
constexpr double kFloor = 0x1p-64;  // of exponents
constexpr double kClamp = 0x1p+20;  // of scores

using Content = std::map<std::string, Thing>;

// Scales or zeros [kv heads][groups][per group] of one side; none: empty.
class Parameters {
 public:
  Parameters(const Content& content, const std::string& name) {
    const auto found = content.find(name);
    if (found == content.end() || found->second.shape.size() != 3) return;
    groups_ = found->second.shape[1];
    width_ = found->second.shape[2];
    for (size_t at = 0; at + 2 <= found->second.bytes.size(); at += 2) {
      uint16_t bits;
      std::memcpy(&bits, &found->second.bytes[at], 2);
      values_.push_back(num::f16_decode(bits));
    }
  }
  bool empty() const { return values_.empty(); }
  std::span<const float> of(int head, int64_t group) const {
    return std::span(values_).subspan(static_cast<size_t>((head * groups_ + group) * width_),
                                      static_cast<size_t>(width_));
  }

 private:
  int64_t groups_ = 0, width_ = 0;
  std::vector<float> values_;
};

bool keys_along_tokens(const Descriptor& descriptor) {
  return descriptor.name() == "kivi" || descriptor.get_word("kaxis") == "channel";
}

class Finder {
 public:
  Finder(const Case& one, const Inputs& inputs, const Content& content, int64_t rows,
         int64_t k_sealed, int64_t v_sealed)
      : one_(one),
        descriptor_(Descriptor::parse(one.scheme)),
        content_(content),
        keys_(inputs.k(0, 0, rows)),
        queries_(inputs.q(0, rows - 1, 1)),
        rows_(rows),
        k_sealed_(k_sealed),
        v_sealed_(v_sealed) {}

  Events find() {
    set(Event::kTiles, rows_ > kTile);
    set(Event::kTileSegments, rows_ > 8 * kTile);
    set(Event::kSpans, rows_ > 64 * kTile);
    set(Event::kExactTile, (rows_ - 1) / kTile * kTile >= v_sealed_);
    set(Event::kExactKeys, k_sealed_ < v_sealed_);
    set(Event::kExactValues, v_sealed_ < k_sealed_);
    for (int h = 0; h < one_.q_heads; ++h) {
      scores(h);
      key_floor(h);
    }
    for (int h = 0; h < one_.kv_heads; ++h) value_floor(h);
    return events_;
  }

 private:
  void set(Event event, bool seen = true) {
    if (seen) events_.set(static_cast<size_t>(event));
  }
  std::span<const float> query(int head) const {
    return std::span(queries_).subspan(static_cast<size_t>(head * one_.dim),
                                       static_cast<size_t>(one_.dim));
  }
  int kv_head(int head) const { return head / (one_.q_heads / one_.kv_heads); }

  double score(int head, int64_t row) const {
    const Thing& decoded = content_.at("k.decoded");
    const auto dim = static_cast<size_t>(one_.dim);
    const auto at = static_cast<size_t>(kv_head(head) * decoded.shape[1] + row) * dim;
    const std::span<const float> q = query(head);
    double sum = 0;
    for (size_t j = 0; j < dim; ++j) {
      float k;
      if (row < k_sealed_)
        std::memcpy(&k, &decoded.bytes[(at + j) * 4], 4);
      else
        k = num::f16_round(keys_.row(row, kv_head(head))[j]);
      sum += static_cast<double>(q[j]) * static_cast<double>(k);
    }
    return sum * 1.4426950408889634 / std::sqrt(static_cast<double>(one_.dim));
  }

  void scores(int head) {
    double before = -std::numeric_limits<double>::infinity();  // the greatest of earlier tiles
    for (int64_t first = 0; first < rows_; first += kTile) {
      const int64_t end = std::min(rows_, first + kTile);
      double greatest = -kClamp, least = kClamp;
      for (int64_t row = first; row < end; ++row) {
        const double x = score(head, row);
        set(Event::kScoreClamp, std::abs(x) > kClamp);
        greatest = std::max(greatest, std::clamp(x, -kClamp, kClamp));
        least = std::min(least, std::clamp(x, -kClamp, kClamp));
      }
      set(Event::kLaterMaximum, first > 0 && greatest > before + 1);
      // One more for the rounding of maxima to integers.
      set(Event::kFarWeight, greatest - least > kFarAway + 1 ||
                                 (first > 0 && std::abs(greatest - before) > kFarAway + 1));
      before = std::max(before, greatest);
    }
  }

  static bool below(std::span<const float> x) {
    return std::ranges::all_of(x,
                               [](float v) { return std::abs(static_cast<double>(v)) < kFloor; });
  }

  void key_floor(int head) {
    const std::span<const float> q = query(head);
    const Parameters scale(content_, "k.scale");
    if (scale.empty() || k_sealed_ == 0) return;
    if (!keys_along_tokens(descriptor_)) {
      const auto group = static_cast<size_t>(descriptor_.find_int("g").value_or(one_.dim));
      for (size_t j = 0; j < q.size(); j += group)
        set(Event::kKeyFloor, below(q.subspan(j, group)));
      return;
    }
    const int64_t group = descriptor_.find_int("g").value_or(32);
    std::vector<float> product(q.size());
    for (int64_t i = 0; i < k_sealed_ / group; ++i) {
      const std::span<const float> s = scale.of(kv_head(head), i);
      for (size_t j = 0; j < q.size(); ++j) product[j] = q[j] * s[j];
      set(Event::kKeyFloor, below(product));
    }
  }

  void value_floor(int head) {
    for (const char* name : {"v.scale", "v.zero"}) {
      const Parameters values(content_, name);
      if (values.empty()) continue;
      const size_t groups = values.of(head, 0).size();
      for (int64_t first = 0; first < v_sealed_; first += kTile) {
        for (size_t g = 0; g < groups; ++g) {
          bool all = true;
          for (int64_t row = first; row < std::min(v_sealed_, first + kTile); ++row)
            all = all && below(values.of(head, row).subspan(g, 1));
          set(Event::kValueFloor, all);
        }
      }
    }
  }

  const Case& one_;
  const Descriptor descriptor_;
  const Content& content_;
  const ConstRows keys_;
  const std::vector<float> queries_;
  const int64_t rows_, k_sealed_, v_sealed_;
  Events events_;
};

}  // namespace

Events fixed_events(const Case& one, const Inputs& inputs, const Content& content, int64_t k_sealed,
                    int64_t v_sealed) {
  const auto decoded = content.find("k.decoded");
  if (decoded == content.end()) return {};
  const int64_t rows = decoded->second.shape[1];
  // Content after a cut is not what was attended to.
  if (rows == 0 || rows < std::max(k_sealed, v_sealed) || one.steps.back().kind == Step::kCut)
    return {};
  return Finder(one, inputs, content, rows, k_sealed, v_sealed).find();
}

}  // namespace kvx::check
