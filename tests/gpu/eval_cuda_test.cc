// `kvx eval` with the CUDA engine beside the CPU's: every unit equal to the last bit, in all modes.
// Skipped where there is no device.
#include <gtest/gtest.h>

#include "eval/inputs.h"
#include "eval/runner.h"
#include "eval/summary.h"
#include "gpu/registry.h"
#include "sim/api/error.h"
#include "tests/support/eval_sweep.h"
#include "tests/support/tiny_model.h"

namespace kvx::eval {
namespace {

using Words = std::vector<std::string>;

const Note kSilent = [](const std::string&) {};
constexpr int64_t kLength = 200;
constexpr const char* kSchemes[] = {"fp:f16",
                                    "fp:bf16",
                                    "int:k3v3",
                                    "int:k8v4",
                                    "kivi:k2v2,r32",
                                    "kivi:k4v4,r128",
                                    "fp8:e4m3",
                                    "fp8:e5m2,scale=token",
                                    "ggml:q8_0",
                                    "ggml:q4_1",
                                    "ggml:q5_0",
                                    "kvquant:int4,kaxis=token,s2",
                                    "kvquant:nf3,kaxis=token,o0.1,profile=paper"};

class EvalCuda : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = gpu::unavailable(); !reason.empty()) GTEST_SKIP() << reason;
    test::write_file(temp_ / "text.txt", test::Sweep::text(0));
  }

  void write_model(const test::TinyModelSpec& spec) {
    test::write_tiny_model(temp_ / "model", spec);
  }

  Inputs inputs(const std::string& backends, const std::string& out, const Words& more = {}) {
    Words words{"--model",   temp_ / "model",
                "--data",    temp_ / "text.txt",
                "--mode",    "all,streamed,prefill-exact,context-exact",
                "--context", "70",
                "--length",  std::to_string(kLength),
                "--windows", "2",
                "--backend", backends,
                "--out",     temp_ / out};
    for (const char* scheme : kSchemes) words.insert(words.end(), {"--scheme", scheme});
    words.insert(words.end(), more.begin(), more.end());
    return read_inputs(Options(eval_options(), words), words, kSilent);
  }

  // Runs what is missing; a difference fails the test with its place.
  static void run(const Inputs& in) {
    RunFolder folder(in.out, in.header, kSilent);
    try {
      ASSERT_TRUE(run_missing(in, folder, true, [&](std::string_view name) {
        return open_backend(name, *in.checkpoint, in.threads);
      }));
    } catch (const Error& error) {
      FAIL() << error.what();
    }
  }

  static Backends backends_of(const Inputs& in, int64_t windows) {
    const RunFolder folder(in.out, in.header, kSilent);
    Backends all;
    for (const ModeSummary& mode : summarise(folder, in.ppl->cut, windows, 8, kSilent).modes) {
      all.units += mode.backends.units;
      all.equal += mode.backends.equal;
      all.shadow += mode.backends.shadow;
    }
    return all;
  }

  static constexpr int64_t kUnits = 4 * 2 * (1 + static_cast<int64_t>(std::size(kSchemes)));
  // One of them, of profile repo, gives its decoded values before their rounding to binary16 as
  // well.
  static constexpr int64_t kDecoded = kUnits + 4 * 2;
  test::TempDir temp_;
};

TEST_F(EvalCuda, BothBackendsAreEqualInAllModes) {
  test::TinyModelSpec spec;
  spec.head_dim = 32;
  spec.layers = 3;
  write_model(spec);
  const Inputs in = inputs("cpu,cuda", "run", {"--shadow", "2"});
  run(in);
  const Backends backends = backends_of(in, 2);
  EXPECT_EQ(backends.units, kUnits);
  EXPECT_EQ(backends.equal, kUnits);
  EXPECT_EQ(backends.shadow.mismatches, 0);
  EXPECT_EQ(backends.shadow.decoded, kDecoded * 2 * 2 * kLength * 2 * 32);
  EXPECT_GT(backends.shadow.attention, 0);
  EXPECT_GT(backends.shadow.cache, 0);
}

// Another architecture: biases, an odd group of query heads, wide heads, a bf16 tied embedding.
TEST_F(EvalCuda, QwenWithBiases) {
  test::TinyModelSpec spec;
  spec.architecture = "Qwen2ForCausalLM";
  spec.heads = 6;
  spec.kv_heads = 2;
  spec.hidden = 128;
  spec.head_dim = 64;
  spec.ffn = 200;
  spec.dtype = model::DType::kBf16;
  spec.tied = true;
  spec.seed = 3;
  write_model(spec);
  const Inputs in = inputs("cpu,cuda", "run");
  run(in);
  EXPECT_EQ(backends_of(in, 2).equal, kUnits);
}

// Alone with its shadow; then the CPU finds the same values in the same folder.
TEST_F(EvalCuda, AFolderOfOneBackendIsCheckedByTheOther) {
  test::TinyModelSpec spec;
  spec.head_dim = 32;
  write_model(spec);
  const Inputs cuda = inputs("cuda", "run");
  EXPECT_EQ(cuda.shadow_layers, 1);
  run(cuda);
  EXPECT_EQ(backends_of(cuda, 2).equal, 0);
  EXPECT_EQ(backends_of(cuda, 2).shadow.decoded, kDecoded * 2 * kLength * 2 * 32);
  const Inputs cpu = inputs("cpu", "run");
  run(cpu);
  EXPECT_EQ(backends_of(cpu, 2).equal, kUnits);
}

// Tasks that are answered by generation: first logits, tokens and bytes, in every mode, in batches
// that the prompts do not fill, contexts shared.
TEST_F(EvalCuda, BothBackendsGenerateTheSame) {
  test::TinyModelSpec spec;
  spec.head_dim = 32;
  spec.vocab = 900;
  spec.max_positions = 2048;
  write_model(spec);
  Words words{"--model",
              temp_ / "model",
              "--task",
              "needle,arith",
              "--haystack",
              temp_ / "text.txt",
              "--needle-kinds",
              "single,passkey",
              "--needle-lengths",
              "700,1500",
              "--needle-depths",
              "50",
              "--arith-shots",
              "1",
              "--arith-samples",
              "4",
              "--mode",
              "streamed,prefill-exact,context-exact",
              "--batch",
              "3",
              "--backend",
              "cpu,cuda",
              "--out",
              temp_ / "run"};
  for (const char* scheme : {"int:k4v4", "kivi:k2v2,r32", "fp8:e4m3", "ggml:q4_0"})
    words.insert(words.end(), {"--scheme", scheme});
  const Inputs in = read_inputs(Options(eval_options(), words), words, kSilent);
  run(in);
  const auto units = test::units_of(in.out);
  EXPECT_EQ(units.size(), 3u * 5u * (4u + 4u));
  for (const auto& [key, unit] : units) EXPECT_TRUE(unit.value("equal", false)) << key;
}

}  // namespace
}  // namespace kvx::eval
