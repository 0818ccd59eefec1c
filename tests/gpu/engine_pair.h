// The CPU and the CUDA engine of one model side by side: every call goes to both, every result is
// compared bit for bit.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "gpu/registry.h"
#include "ref/registry.h"
#include "sim/gen/random.h"
#include "sim/model/engine.h"
#include "tests/support/artifacts.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvx::test {

using Tokens = std::vector<int32_t>;

inline Tokens some_tokens(int64_t count, uint32_t stream, int64_t vocab) {
  Tokens tokens;
  for (int64_t i = 0; i < count; ++i) {
    const auto word = gen::Source{20240131, stream}.words(static_cast<uint64_t>(i))[0];
    tokens.push_back(static_cast<int32_t>(word % static_cast<uint64_t>(vocab)));
  }
  return tokens;
}

// Every NaN counts as the same.
inline uint32_t bits_of(float x) { return x != x ? 0x7FC00000u : std::bit_cast<uint32_t>(x); }

// Compares `count` values, shows the first few that differ; `width` names row and column.
inline void expect_same_bits(const float* device, const float* cpu, int64_t count, int64_t width,
                             const std::string& what) {
  int64_t differ = 0;
  std::string shown;
  for (int64_t i = 0; i < count; ++i) {
    if (bits_of(device[i]) == bits_of(cpu[i])) continue;
    if (++differ > 5) continue;
    char line[96];
    std::snprintf(line, sizeof line, "\n  [%lld][%lld]: device %08x, cpu %08x",
                  static_cast<long long>(i / width), static_cast<long long>(i % width),
                  bits_of(device[i]), bits_of(cpu[i]));
    shown += line;
  }
  EXPECT_EQ(differ, 0) << what << ": of " << count << " values" << shown;
}

// A checkpoint loaded on both sides; the device's half only where there is a device.
struct ModelPair {
  explicit ModelPair(const model::Checkpoint& checkpoint)
      : cpu(checkpoint), device(gpu::load_model(checkpoint)) {}

  static std::unique_ptr<ModelPair> tiny(const TinyModelSpec& spec) {
    const TempDir folder;
    write_tiny_model(folder.path(), spec);
    return std::make_unique<ModelPair>(*model::Checkpoint::open(folder.path().string()));
  }

  const model::ModelConfig& config() const { return cpu.config(); }

  model::Model cpu;
  std::shared_ptr<const gpu::DeviceModel> device;
};

// Fits every scheme of the tests: 2 KV heads of 64.
inline TinyModelSpec scheme_model_spec(int64_t max_positions) {
  TinyModelSpec spec = small_tiny_model();
  spec.hidden = 64;
  spec.heads = 4;
  spec.head_dim = 64;
  spec.ffn = 96;
  spec.max_positions = max_positions;
  return spec;
}

// Logits and the rows behind them, of all rows that a sink was given.
struct Outputs {
  std::vector<float> logits, hidden;
};

class EnginePair {
 public:
  struct Seq {
    SeqId cpu = 0, device = 0;
  };
  struct Part {
    Seq seq;
    std::span<const int32_t> tokens;
    bool exact = false;
  };

  EnginePair(const ModelPair& pair, const std::string& descriptor, model::CacheMode mode,
             const gpu::EngineLimits& limits, NonFinite nonfinite = NonFinite::kRefuse,
             Arithmetic arithmetic = Arithmetic::kIeee)
      : name_(descriptor + ", " + model::cache_mode_name(mode)),
        cpu_(
            pair.cpu,
            [descriptor](CacheConfig config) {
              config.artifacts = test_artifacts();
              return ref::make_cache(Descriptor::parse(descriptor), config);
            },
            mode, 0, nonfinite, arithmetic),
        device_(gpu::make_engine(pair.device, Descriptor::parse(descriptor),
                                 {.mode = mode,
                                  .nonfinite = nonfinite,
                                  .arithmetic = arithmetic,
                                  .artifacts = test_artifacts(),
                                  .limits = limits})) {}

  model::Transformer& cpu() { return cpu_; }
  model::Transformer& device() { return *device_; }
  const std::string& name() const { return name_; }

  Seq open() { return {cpu_.open(), device_->open()}; }
  Seq fork(Seq seq) { return {cpu_.fork(seq.cpu), device_->fork(seq.device)}; }
  void close(Seq seq) {
    cpu_.close(seq.cpu);
    device_->close(seq.device);
  }

  // One pass on both; the logits of the device.
  Outputs forward(const std::vector<Part>& parts, std::span<const int64_t> want = {},
                  const std::string& what = "") {
    const Outputs cpu = run(cpu_, parts, want, &Seq::cpu);
    Outputs device = run(*device_, parts, want, &Seq::device);
    const auto& c = cpu_.config();
    EXPECT_EQ(device.logits.size(), cpu.logits.size()) << name_ << what;
    if (device.logits.size() != cpu.logits.size()) return device;
    expect_same_bits(device.hidden.data(), cpu.hidden.data(),
                     static_cast<int64_t>(cpu.hidden.size()), c.hidden, name_ + what + ", hidden");
    expect_same_bits(device.logits.data(), cpu.logits.data(),
                     static_cast<int64_t>(cpu.logits.size()), c.vocab, name_ + what + ", logits");
    for (const Part& part : parts)
      EXPECT_EQ(device_->length(part.seq.device), cpu_.length(part.seq.cpu)) << name_ << what;
    return device;
  }

  // In chunks of those sizes, over and over; logits of all tokens.
  std::vector<float> feed(Seq seq, std::span<const int32_t> tokens,
                          const std::vector<size_t>& sizes, bool exact = false) {
    std::vector<float> logits;
    for (size_t at = 0, i = 0; at < tokens.size(); ++i) {
      const size_t count = std::min(tokens.size() - at, sizes[i % sizes.size()]);
      const Outputs out =
          forward({{seq, tokens.subspan(at, count), exact}}, {}, ", tokens " + std::to_string(at));
      logits.insert(logits.end(), out.logits.begin(), out.logits.end());
      at += count;
    }
    return logits;
  }

  void expect_same_caches(Seq seq) const {
    for (int layer = 0; layer < cpu_.config().layers; ++layer) {
      EXPECT_TRUE(device_->cache(layer).image(seq.device) == cpu_.cache(layer).image(seq.cpu))
          << name_ << ": image of layer " << layer;
    }
  }

 private:
  static Outputs run(model::Transformer& engine, const std::vector<Part>& parts,
                     std::span<const int64_t> want, SeqId Seq::*side) {
    std::vector<model::Chunk> chunks;
    for (const Part& part : parts)
      chunks.push_back({part.seq.*side, part.tokens, part.exact, part.exact});
    Outputs out;
    int64_t next = 0;
    engine.forward(
        chunks,
        [&](int64_t first, int64_t count, const float* logits) {
          EXPECT_EQ(first, next);
          next = first + count;
          const auto& c = engine.config();
          out.logits.insert(out.logits.end(), logits, logits + count * c.vocab);
          out.hidden.insert(out.hidden.end(), engine.hidden(), engine.hidden() + count * c.hidden);
        },
        want);
    return out;
  }

  std::string name_;
  model::Engine cpu_;
  std::unique_ptr<model::Transformer> device_;
};

}  // namespace kvx::test
