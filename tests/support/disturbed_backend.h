// A backend that gives the CPU's values but for one flipped bit, to show that comparisons find it.
#pragma once

#include <bit>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "eval/backend.h"

namespace kvx::test {

// Lowest bit of one value. `tensor`: "logits" (token: row of the pass, channel: of the vocabulary),
// "k", "v", "q", "out" of a layer's tap, a canonical tensor of its cache ("k.codes": channel is the
// index of the byte), "choice" (token: step of a greedy call, channel: sequence of it), "k.used",
// "v.used" (the count of zero points of a layer's sequence), or "" for none.
struct Flip {
  std::string tensor;
  int layer = 0;
  int head = 0;
  int64_t token = 0;
  int64_t channel = 0;
};

inline void flip_bit(float& value) {
  value = std::bit_cast<float>(std::bit_cast<uint32_t>(value) ^ 1u);
}

class DisturbedCache final : public LayerCache {
 public:
  DisturbedCache(const LayerCache& inner, std::vector<Flip> flips)
      : inner_(inner), flips_(std::move(flips)) {}

  const Traits& traits() const override { return inner_.traits(); }
  const CacheConfig& config() const override { return inner_.config(); }
  SeqId open() override { throw std::logic_error("read only"); }
  SeqId fork(SeqId) override { throw std::logic_error("read only"); }
  void close(SeqId) override { throw std::logic_error("read only"); }
  int64_t length(SeqId seq) const override { return inner_.length(seq); }
  void append(ConstRows, ConstRows, std::span<const Span>) override {
    throw std::logic_error("read only");
  }
  ReadMap held(SeqId seq, Side side) const override { return inner_.held(seq, side); }
  ReadMap reads(SeqId seq, Side side, int64_t query) const override {
    return inner_.reads(seq, side, query);
  }
  void read(SeqId seq, Side side, RowRange range, Rows out) const override {
    inner_.read(seq, side, range, out);
  }
  void attend(ConstRows q, std::span<const Span> spans, Rows out) const override {
    inner_.attend(q, spans, out);
  }
  void settle(SeqId) override { throw std::logic_error("read only"); }
  void truncate(SeqId, int64_t) override { throw std::logic_error("read only"); }
  ByteCount used(SeqId seq, Side side) const override {
    ByteCount count = inner_.used(seq, side);
    for (const Flip& flip : flips_)
      if (flip.tensor == std::string(side_name(side)) + ".used" &&
          flip.layer == config().shape.layer)
        count[Item::kZero] ^= 1;
    return count;
  }
  double nominal_bits(Side side) const override { return inner_.nominal_bits(side); }
  std::vector<std::byte> image(SeqId seq) const override { return inner_.image(seq); }
  void export_to(SeqId seq, const Sink& sink) const override {
    inner_.export_to(seq, [&](const std::string& name, const std::string& dtype,
                              const std::vector<int64_t>& shape, std::span<const std::byte> bytes) {
      std::vector<std::byte> copy(bytes.begin(), bytes.end());
      for (const Flip& flip : flips_)
        if (flip.tensor == name && flip.layer == config().shape.layer)
          copy[static_cast<size_t>(flip.channel)] ^= std::byte{1};
      sink(name, dtype, shape, copy);
    });
  }

 private:
  const LayerCache& inner_;
  std::vector<Flip> flips_;
};

class DisturbedEngine final : public model::Transformer {
 public:
  DisturbedEngine(model::Transformer& inner, std::vector<Flip> flips)
      : inner_(inner), flips_(std::move(flips)) {
    for (int layer = 0; layer < inner_.config().layers; ++layer)
      caches_.emplace_back(inner_.cache(layer), flips_);
  }

  const model::ModelConfig& config() const override { return inner_.config(); }
  SeqId open() override { return inner_.open(); }
  SeqId fork(SeqId seq) override { return inner_.fork(seq); }
  void close(SeqId seq) override { inner_.close(seq); }
  int64_t length(SeqId seq) const override { return inner_.length(seq); }
  void forward(std::span<const model::Chunk> chunks, const model::LogitsSink& sink,
               std::span<const int64_t> want) override {
    const int64_t vocab = config().vocab;
    inner_.forward(
        chunks,
        [&](int64_t first, int64_t count, const float* logits) {
          std::vector<float> copy(logits, logits + count * vocab);
          for (const Flip& flip : flips_)
            if (flip.tensor == "logits" && flip.token >= first && flip.token < first + count)
              flip_bit(copy[static_cast<size_t>((flip.token - first) * vocab + flip.channel)]);
          sink(first, count, copy.data());
        },
        want);
  }
  std::vector<int32_t> greedy(std::span<const SeqId> seqs, std::span<const int32_t> tokens,
                              int64_t steps) override {
    std::vector<int32_t> choices = inner_.greedy(seqs, tokens, steps);
    for (const Flip& flip : flips_)
      if (flip.tensor == "choice" && flip.token < steps && flip.channel < std::ssize(seqs))
        choices[static_cast<size_t>(flip.token * std::ssize(seqs) + flip.channel)] ^= 1;
    return choices;
  }
  void append(SeqId seq, int layer, ConstRows k, ConstRows v) override {
    inner_.append(seq, layer, k, v);
  }
  const float* hidden() const override { return inner_.hidden(); }
  void project(const float* hidden, int64_t count, float* logits) override {
    inner_.project(hidden, count, logits);
  }
  const LayerCache& cache(int layer) const override { return caches_[static_cast<size_t>(layer)]; }
  void set_tap(std::function<void(const model::LayerTap&)> tap,
               std::span<const int> layers) override {
    if (!tap) {
      inner_.set_tap({});
      return;
    }
    inner_.set_tap(
        [this, tap](const model::LayerTap& layer) {
          std::vector<float> copies[4];
          model::LayerTap changed = layer;
          changed.k = flipped(layer.layer, "k", layer.k, copies[0]);
          changed.v = flipped(layer.layer, "v", layer.v, copies[1]);
          changed.q = flipped(layer.layer, "q", layer.q, copies[2]);
          changed.out = flipped(layer.layer, "out", layer.out, copies[3]);
          tap(changed);
        },
        layers);
  }

 private:
  ConstRows flipped(int layer, const std::string& tensor, ConstRows rows,
                    std::vector<float>& copy) const {
    copy.assign(rows.data, rows.data + rows.tokens * rows.heads * rows.dim);
    const Rows out = dense_rows(copy.data(), rows.tokens, rows.heads, rows.dim);
    for (const Flip& flip : flips_)
      if (flip.tensor == tensor && flip.layer == layer)
        flip_bit(out.row(flip.token, flip.head)[flip.channel]);
    return out;
  }

  model::Transformer& inner_;
  std::vector<Flip> flips_;
  std::vector<DisturbedCache> caches_;
};

// "cuda" for the driver; computes on the CPU. Flips are those of schemes whose name they are given
// with, "" for all.
class DisturbedBackend final : public eval::Backend {
 public:
  DisturbedBackend(const model::Checkpoint& checkpoint, std::string scheme, std::vector<Flip> flips)
      : inner_(eval::open_backend(eval::kCpu, checkpoint, 1)),
        scheme_(std::move(scheme)),
        flips_(std::move(flips)) {}

  std::string_view name() const override { return eval::kCuda; }
  const model::ModelConfig& config() const override { return inner_->config(); }
  model::Transformer& engine(const eval::EngineNeeds& needs) override {
    ++engines_;
    const bool disturbed = scheme_.empty() || needs.scheme.name() == scheme_;
    model::Transformer& engine = inner_->engine(needs);
    engine_ = std::make_unique<DisturbedEngine>(engine, disturbed ? flips_ : std::vector<Flip>{});
    return *engine_;
  }
  std::unique_ptr<model::LossGradient> loss_gradient(int64_t tokens) override {
    return inner_->loss_gradient(tokens);
  }
  int engines() const { return engines_; }

 private:
  std::unique_ptr<eval::Backend> inner_;
  std::string scheme_;
  std::vector<Flip> flips_;
  std::unique_ptr<DisturbedEngine> engine_;
  int engines_ = 0;
};

}  // namespace kvx::test
