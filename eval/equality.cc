#include "eval/equality.h"

#include <fmt/core.h>

#include <algorithm>
#include <bit>
#include <cmath>

#include "eval/logits_hash.h"

namespace kvx::eval {
namespace {

constexpr int64_t kTapBytes = int64_t{1} << 29;  // of one backend's taps that are kept at a time

bool same(double a, double b) {
  return std::bit_cast<uint64_t>(a) == std::bit_cast<uint64_t>(b) ||
         (std::isnan(a) && std::isnan(b));
}

std::string text_of(double value) {
  return fmt::format("{} ({:#018x})", value, std::bit_cast<uint64_t>(value));
}

// Q, K, V and output of layers [begin, end), all passes after each other.
class TapRecorder final : public PassListener {
 public:
  struct Tensors {
    std::vector<float> k, v, q, out;
  };

  TapRecorder(int begin, int end) : begin_(begin), layers_(static_cast<size_t>(end - begin)) {}

  bool wants(const Piece&, int layer) const override {
    return layer >= begin_ && layer - begin_ < std::ssize(layers_);
  }
  void tap(const Piece&, const model::LayerTap& tap) override {
    Tensors& to = layers_[static_cast<size_t>(tap.layer - begin_)];
    const auto add = [](ConstRows rows, std::vector<float>& values) {
      const std::vector<float> more = dense_values(rows);
      values.insert(values.end(), more.begin(), more.end());
    };
    add(tap.k, to.k);
    add(tap.v, to.v);
    add(tap.q, to.q);
    add(tap.out, to.out);
  }

  // The first tensor of the first layer that differs from `other`'s.
  std::optional<Place> first_difference(const TapRecorder& other, int64_t tokens,
                                        int head_dim) const {
    for (size_t i = 0; i < layers_.size(); ++i) {
      const Tensors &a = layers_[i], &b = other.layers_[i];
      const auto compare = [&](const char* tensor, const std::vector<float>& x,
                               const std::vector<float>& y) {
        const int heads = static_cast<int>(std::ssize(x) / (tokens * head_dim));
        return first_place(begin_ + static_cast<int>(i), tensor,
                           dense_rows(x.data(), tokens, heads, head_dim),
                           dense_rows(y.data(), tokens, heads, head_dim), 0);
      };
      for (const auto& [tensor, x, y] : {std::tuple{"k", &a.k, &b.k},
                                         {"v", &a.v, &b.v},
                                         {"q", &a.q, &b.q},
                                         {"out", &a.out, &b.out}})
        if (auto place = compare(tensor, *x, *y)) return place;
    }
    return std::nullopt;
  }

 private:
  int begin_;
  std::vector<Tensors> layers_;
};

// What one layer's cache holds at the end.
class ContentRecorder final : public PassListener {
 public:
  explicit ContentRecorder(int layer) : layer_(layer) {}
  bool wants(const Piece&, int) const override { return false; }
  void tap(const Piece&, const model::LayerTap&) override {}
  void finish(const model::Transformer& engine, SeqId seq) override {
    content_ = cache_content(engine.cache(layer_), seq);
  }
  const CacheContent& content() const { return content_; }

 private:
  int layer_;
  CacheContent content_;
};

// The unit that two backends run again.
class Rerun {
 public:
  Rerun(Backend& expected, Backend& found, const Descriptor& scheme, const Window& window,
        const PassSettings& settings)
      : backends_{&expected, &found},
        config_(expected.config()),
        scheme_(scheme),
        window_(window),
        settings_(settings) {}

  std::optional<Place> in_layers() const {
    const int64_t tokens = std::ssize(window_.tokens);
    const int64_t layer_bytes =
        tokens * 2 * (config_.heads + config_.kv_heads) * config_.head_dim * int64_t{sizeof(float)};
    const int step = static_cast<int>(std::max<int64_t>(1, kTapBytes / layer_bytes));
    const int layers = static_cast<int>(config_.layers);
    for (int begin = 0; begin < layers; begin += step) {
      TapRecorder expected(begin, std::min(begin + step, layers)), found = expected;
      run(
          0, [](int64_t, int64_t, const float*) {}, &expected);
      run(
          1, [](int64_t, int64_t, const float*) {}, &found);
      if (auto place = expected.first_difference(found, tokens, static_cast<int>(config_.head_dim)))
        return place;
    }
    return std::nullopt;
  }

  std::optional<Place> in_cache(int layer) const {
    ContentRecorder expected(layer), found(layer);
    run(
        0, [](int64_t, int64_t, const float*) {}, &expected);
    run(
        1, [](int64_t, int64_t, const float*) {}, &found);
    std::optional<Place> first;
    compare_contents(layer, expected.content(), found.content(),
                     {[](const std::string&, int64_t) {},
                      [&](const std::string&, const Place& place) {
                        if (!first) first = place;
                      }});
    return first;
  }

  std::optional<Place> in_logits() const {
    const auto hashes = [&](int backend) {
      std::vector<uint64_t> rows(static_cast<size_t>(window_.targets()));
      run(backend, [&](int64_t first, int64_t count, const float* logits) {
        for (int64_t i = 0; i < count; ++i)
          rows[static_cast<size_t>(first + i)] = row_hash(row_of(logits, i));
      });
      return rows;
    };
    const auto expected = hashes(0), found = hashes(1);
    const int64_t target =
        std::mismatch(expected.begin(), expected.end(), found.begin()).first - expected.begin();
    if (target == window_.targets()) return std::nullopt;
    const auto row = [&](int backend) {
      std::vector<float> kept;
      run(backend, [&](int64_t first, int64_t count, const float* logits) {
        if (target < first || target >= first + count) return;
        const auto values = row_of(logits, target - first);
        kept.assign(values.begin(), values.end());
      });
      return kept;
    };
    const std::vector<float> x = row(0), y = row(1);
    const std::vector<int64_t> shape{config_.vocab};
    auto place =
        first_place(-1, "logits", {"vocabulary"}, {"F32", shape, std::as_bytes(std::span(x))},
                    {"F32", shape, std::as_bytes(std::span(y))});
    if (place) place->index.emplace(place->index.begin(), "token", window_.first + target);
    return place;
  }

 private:
  using Rows = std::function<void(int64_t first, int64_t count, const float* logits)>;

  std::span<const float> row_of(const float* logits, int64_t row) const {
    return {logits + row * config_.vocab, static_cast<size_t>(config_.vocab)};
  }

  void run(int backend, const Rows& rows, PassListener* listener = nullptr) const {
    PassHooks hooks;
    hooks.judge = [&rows](model::Transformer&, int64_t first, int64_t count, const float* logits) {
      rows(first, count, logits);
    };
    if (listener != nullptr) hooks.listeners.push_back(listener);
    run_pass(*backends_[backend], scheme_, window_, settings_, hooks);
  }

  Backend* backends_[2];
  const model::ModelConfig& config_;
  const Descriptor& scheme_;
  const Window& window_;
  const PassSettings& settings_;
};

}  // namespace

std::string value_text(const ValueDifference& difference) {
  const std::string place =
      difference.position < 0 ? "" : fmt::format(" of position {}", difference.position);
  return fmt::format("{}{}: expected {}, found {}", difference.value, place, difference.expected,
                     difference.found);
}

std::optional<ValueDifference> first_difference(const WindowRecord& expected,
                                                const PositionScores& expected_scores,
                                                const WindowRecord& found,
                                                const PositionScores& found_scores) {
  if (expected.targets != found.targets)
    return ValueDifference{"targets", -1, std::to_string(expected.targets),
                           std::to_string(found.targets)};
  const auto scores = [&](const char* name, const std::vector<double>& x,
                          const std::vector<double>& y) -> std::optional<ValueDifference> {
    const auto [a, b] = std::mismatch(x.begin(), x.end(), y.begin(), same);
    if (a == x.end()) return std::nullopt;
    return ValueDifference{name, expected.first_position + (a - x.begin()), text_of(*a),
                           text_of(*b)};
  };
  if (auto value = scores("nll", expected_scores.nll, found_scores.nll)) return value;
  if (auto value = scores("kl", expected_scores.kl, found_scores.kl)) return value;
  if (auto value = scores("same_top", expected_scores.same_top, found_scores.same_top))
    return value;
  if (expected.logits && found.logits && *expected.logits != *found.logits)
    return ValueDifference{"logits", -1, fmt::format("hash {:016x}", *expected.logits),
                           fmt::format("hash {:016x}", *found.logits)};
  for (const Side side : {Side::kK, Side::kV})
    for (int i = 0; i < kItems; ++i) {
      const Item item = static_cast<Item>(i);
      const size_t s = static_cast<size_t>(side);
      const int64_t x = expected.bytes[s][item], y = found.bytes[s][item];
      if (x != y)
        return ValueDifference{fmt::format("bytes.{}.{}", side_name(side), item_name(item)), -1,
                               std::to_string(x), std::to_string(y)};
    }
  return std::nullopt;
}

std::vector<Place> locate(Backend& expected, Backend& found, const Descriptor& scheme,
                          const Window& window, const PassSettings& settings) {
  PassSettings plain = settings;
  plain.shadow = {};
  const Rerun rerun(expected, found, scheme, window, plain);
  std::vector<Place> places;
  if (const auto place = rerun.in_layers()) {
    if (place->tensor == "out")
      if (const auto stored = rerun.in_cache(place->layer)) places.push_back(*stored);
    places.push_back(*place);
  } else if (const auto logit = rerun.in_logits()) {
    places.push_back(*logit);
  }
  return places;
}

}  // namespace kvx::eval
