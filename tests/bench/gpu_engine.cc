// Tokens per second of a whole model on the device: a pass over a prompt, and greedy decoding at
// several batches, contexts and schemes.
// bench_gpu_engine MODEL [SCHEME...]
#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <string>
#include <vector>

#include "gpu/engine/device_model.h"
#include "gpu/registry.h"
#include "sim/api/error.h"

namespace {

using kvx::Descriptor;
using kvx::SeqId;
using kvx::model::Chunk;
using kvx::model::Transformer;

constexpr int32_t kPass = 2048;
constexpr int64_t kSteps = 64;

std::vector<int32_t> some_tokens(int64_t count, int64_t vocab) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>((i * 7919 + 13) % static_cast<size_t>(vocab));
  return tokens;
}

// The shortest of several runs, in seconds.
double seconds(const std::function<void()>& run, int times) {
  double best = 1e30;
  for (int i = 0; i < times; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

void feed(Transformer& engine, SeqId seq, std::span<const int32_t> tokens) {
  for (size_t at = 0; at < tokens.size(); at += kPass) {
    const Chunk chunk{seq, tokens.subspan(at, std::min<size_t>(kPass, tokens.size() - at))};
    const int64_t last = static_cast<int64_t>(chunk.tokens.size()) - 1;
    engine.forward({&chunk, 1}, [](int64_t, int64_t, const float*) {}, {&last, 1});
  }
}

void run(const std::string& path, const std::vector<std::string>& schemes) {
  const auto checkpoint = kvx::model::Checkpoint::open(path);
  const auto& config = checkpoint->config();
  const double load = seconds([&] { kvx::gpu::load_model(*checkpoint); }, 1);
  const auto model = kvx::gpu::load_model(*checkpoint);
  const double weights = static_cast<double>(model->bytes_per_token());
  fmt::print("{}\n{}: {:.2f} GB of weights a step, loaded in {:.2f} s\n\n",
             kvx::gpu::device_report(), path, weights * 1e-9, load);
  fmt::print("{:<24} {:>8} {:>6} {:>8} {:>12} {:>10} {:>10}\n", "scheme", "", "batch", "context",
             "tokens/s", "ms", "weights GB/s");
  const auto row = [&](const std::string& scheme, const char* what, int batch, int64_t context,
                       double tokens, double s, double bytes) {
    fmt::print("{:<24} {:>8} {:>6} {:>8} {:>12.0f} {:>10.3f} {:>10.0f}\n", scheme, what, batch,
               context, tokens / s, s * 1e3, bytes / s * 1e-9);
    std::fflush(stdout);
  };
  for (const std::string& scheme : schemes) {
    const auto make = [&](int32_t batch, int64_t context) {
      return kvx::gpu::make_engine(
          model, Descriptor::parse(scheme),
          {.limits = {.sequences = batch,
                      .tokens = static_cast<int32_t>(context),
                      .pass_rows = static_cast<int32_t>(std::min<int64_t>(kPass, context))}});
    };
    const int64_t prompt = std::min<int64_t>(kPass, config.max_positions);
    {
      const auto engine = make(1, prompt);
      const auto tokens = some_tokens(prompt, config.vocab);
      const auto pass = [&] {
        const SeqId seq = engine->open();
        feed(*engine, seq, tokens);
        engine->close(seq);
      };
      pass();
      row(scheme, "prefill", 1, prompt, static_cast<double>(prompt), seconds(pass, 5), weights);
      const auto all_logits = [&] {
        const Chunk chunk{engine->open(), tokens};
        engine->forward({&chunk, 1}, [](int64_t, int64_t, const float*) {});
        engine->close(chunk.seq);
      };
      all_logits();
      row(scheme, "+ logits", 1, prompt, static_cast<double>(prompt), seconds(all_logits, 5),
          weights);
    }
    for (const int32_t batch : {1, 32}) {
      for (const int64_t context : {512, 2048}) {
        const int64_t length = context + 8 + 4 * kSteps;
        if (length > config.max_positions) continue;
        const auto engine = make(batch, length);
        std::vector<SeqId> seqs;
        for (int32_t i = 0; i < batch; ++i) {
          seqs.push_back(engine->open());
          feed(*engine, seqs.back(), some_tokens(context, config.vocab));
        }
        const std::vector<int32_t> fed(static_cast<size_t>(batch), 1);
        engine->greedy(seqs, fed, 8);
        const double s = seconds([&] { engine->greedy(seqs, fed, kSteps); }, 3) / kSteps;
        row(scheme, "decode", batch, context, batch, s, weights);
      }
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) {
    std::fprintf(stderr, "usage: bench_gpu_engine MODEL [SCHEME...]\n");
    return 2;
  }
  std::vector<std::string> schemes(argv + 2, argv + argc);
  if (schemes.empty()) schemes = {"fp:f16", "int:k4v4", "kivi:k2v2", "fp8:e4m3,scale=token"};
  try {
    run(argv[1], schemes);
  } catch (const kvx::Error& error) {
    std::fprintf(stderr, "bench_gpu_engine: %s\n", error.what());
    return static_cast<int>(error.exit());
  }
}
