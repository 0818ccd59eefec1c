// Tokens per second of whole models under fp:f16: a pass over 1024 tokens with all logits, and
// decoding one token at a time after it. The models are *.gguf files of the folder KVX_MODELS.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ref/registry.h"
#include "sim/api/descriptor.h"
#include "sim/model/engine.h"

namespace {

using kvx::model::CacheMode;
using kvx::model::Chunk;
using kvx::model::Engine;
using kvx::model::Model;

constexpr int64_t kPass = 1024;
constexpr int64_t kSteps = 16;

// One model is in memory at a time.
const Model& model_at(const std::string& path) {
  static std::string loaded;
  static std::unique_ptr<Model> model;
  if (loaded != path) {
    model.reset();
    model = std::make_unique<Model>(*kvx::model::Checkpoint::open(path));
    loaded = path;
  }
  return *model;
}

std::vector<int32_t> some_tokens(int64_t count, int64_t vocab) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>((i * 7919 + 13) % static_cast<size_t>(vocab));
  return tokens;
}

void ignore(int64_t, int64_t, const float* logits) { benchmark::DoNotOptimize(logits); }

void count_tokens(benchmark::State& state, int64_t tokens) {
  state.counters["tokens/s"] = benchmark::Counter(static_cast<double>(state.iterations() * tokens),
                                                  benchmark::Counter::kIsRate);
}

void pass(benchmark::State& state, const std::string& path, int threads) {
  const Model& model = model_at(path);
  const std::vector<int32_t> tokens = some_tokens(kPass, model.config().vocab);
  Engine engine(model, kvx::ref::factory(kvx::Descriptor::parse("fp:f16")), CacheMode::kStreamed,
                threads);
  for (auto _ : state) {
    const Chunk chunk{.seq = engine.open(), .tokens = tokens};
    engine.forward({&chunk, 1}, ignore);
    engine.close(chunk.seq);
  }
  count_tokens(state, kPass);
}

void decode(benchmark::State& state, const std::string& path, int threads) {
  const Model& model = model_at(path);
  const std::vector<int32_t> tokens = some_tokens(kPass, model.config().vocab);
  Engine engine(model, kvx::ref::factory(kvx::Descriptor::parse("fp:f16")), CacheMode::kStreamed,
                threads);
  const Chunk prompt{.seq = engine.open(), .tokens = tokens};
  const int64_t last = kPass - 1;
  engine.forward({&prompt, 1}, ignore, {&last, 1});
  for (auto _ : state) {
    const kvx::SeqId seq = engine.fork(prompt.seq);
    for (int64_t i = 0; i < kSteps; ++i) {
      const Chunk step{.seq = seq, .tokens = {tokens.data() + i, 1}};
      engine.forward({&step, 1}, ignore);
    }
    engine.close(seq);
  }
  count_tokens(state, kSteps);
}

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  const char* folder = std::getenv("KVX_MODELS");
  if (folder == nullptr) {
    std::fprintf(stderr, "bench_model: KVX_MODELS is not set\n");
    return 3;
  }
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.path().extension() == ".gguf") files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  for (const std::filesystem::path& file : files) {
    for (const int threads : {1, 2}) {
      const std::string stem = file.stem().string() + "/t" + std::to_string(threads);
      benchmark::RegisterBenchmark((stem + "/pass").c_str(), pass, file.string(), threads)
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
      benchmark::RegisterBenchmark((stem + "/decode").c_str(), decode, file.string(), threads)
          ->UseRealTime()
          ->Unit(benchmark::kMillisecond);
    }
  }
  if (benchmark::RunSpecifiedBenchmarks() == 0) return 1;
}
