// kvx capture and kvx calibrate from outside, on a tiny model.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "eval/tensor_file.h"
#include "ref/registry.h"
#include "sim/model/engine.h"
#include "sim/model/tokenizer.h"
#include "sim/num/formats.h"
#include "sim/num/rope.h"
#include "tests/support/caches.h"
#include "tests/support/program.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using eval::TensorFile;
using test::kvx_run;
using test::Outcome;
using Words = std::vector<std::string>;

constexpr int kTokens = 40;

void expect(const Outcome& outcome, int code, const Words& says) {
  EXPECT_EQ(outcome.code, code) << outcome.out << outcome.err;
  for (const std::string& part : says)
    EXPECT_NE(outcome.err.find(part), std::string::npos) << "no " << part << " in " << outcome.err;
}

// A model of 3 layers, 4 heads on 2 KV heads of 32, and a text.
class OnAModel : public testing::Test {
 protected:
  OnAModel() : model_(dir_ / "model"), text_(dir_ / "text.txt") {
    test::TinyModelSpec spec;
    spec.layers = 3;
    spec.head_dim = 32;
    spec.max_positions = 256;
    test::write_tiny_model(model_, spec);
    for (int i = 0; i < 60; ++i) words_ += "word" + std::to_string(i * 37 % 101) + " ";
    test::write_file(text_, words_);
  }

  Outcome run(const std::string& verb, const Words& more, const std::string& out = "out") const {
    Words words{verb, "--model", model_, "--data", text_, "--out", dir_ / out, "--threads", "1"};
    words.insert(words.end(), more.begin(), more.end());
    return kvx_run(words);
  }
  // K and V of every layer, as a cache that rounds nothing was given them: `count` tokens from
  // `first` as a sequence of their own, [tokens][heads][dim].
  using KeysAndValues = std::array<test::Tensor, 2>;
  std::vector<KeysAndValues> exact(size_t first, size_t count) const {
    const auto checkpoint = model::Checkpoint::open(model_);
    const auto ids = model::Tokenizer::open(model_)->encode(words_, true, false);
    const model::Model model(*checkpoint);
    model::Engine engine(model, ref::factory(Descriptor::parse("fp:f32")),
                         model::CacheMode::kStreamed, 1);
    const model::Chunk chunk{.seq = engine.open(), .tokens = std::span(ids).subspan(first, count)};
    engine.forward({&chunk, 1}, [](int64_t, int64_t, const float*) {});
    const RowRange all{0, static_cast<int64_t>(count), Held::kSealed};
    std::vector<KeysAndValues> layers;
    for (int layer = 0; layer < 3; ++layer)
      layers.push_back({test::read(engine.cache(layer), chunk.seq, Side::kK, all),
                        test::read(engine.cache(layer), chunk.seq, Side::kV, all)});
    return layers;
  }

  test::TempDir dir_;
  std::string model_, text_, words_;
};

TEST_F(OnAModel, CapturesWhatTheCacheGetsAndTheRotation) {
  const Outcome outcome = run("capture", {"--layers", "0,2", "--tokens", std::to_string(kTokens)});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const TensorFile file(dir_ / "out");
  EXPECT_EQ(file.tensors().size(), 2 * 5 + 1u);
  EXPECT_EQ(file.metadata().at("model_sha256"), model::Checkpoint::open(model_)->sha256());
  EXPECT_EQ(file.metadata().at("tokens"), std::to_string(kTokens));
  EXPECT_EQ(file.find("tokens")->shape, (std::vector<int64_t>{1, kTokens}));
  const auto ids = model::Tokenizer::open(model_)->encode(words_, true, false);
  EXPECT_EQ(0, std::memcmp(file.find("tokens")->bytes.data(), ids.data(), 4 * kTokens));

  const auto checkpoint = model::Checkpoint::open(model_);
  const auto steps = num::rope_steps(32, checkpoint->config().rope_theta, {});
  const auto layers = exact(0, kTokens);
  for (const int layer : {0, 2}) {
    const std::string prefix = "layers." + std::to_string(layer) + ".";
    const KeysAndValues& kv = layers[static_cast<size_t>(layer)];
    for (const std::string name : {"q", "k", "v", "q.pre", "k.pre"}) {
      const ArtifactTensor* tensor = file.find(prefix + name);
      ASSERT_NE(tensor, nullptr) << name;
      const int heads = name[0] == 'q' ? 4 : 2;
      EXPECT_EQ(tensor->shape, (std::vector<int64_t>{1, heads, kTokens, 32}));
      auto values = eval::widened(*tensor, name);
      std::vector<float> rotated;
      if (name.ends_with(".pre"))
        rotated = eval::widened(*file.find(prefix + name.substr(0, 1)), name);
      std::vector<float> sin(16), cos(16);
      for (int head = 0; head < heads; ++head) {
        for (int token = 0; token < kTokens; ++token) {
          const size_t at = static_cast<size_t>(head * kTokens + token) * 32;
          const std::span row(&values[at], 32);
          if (name == "k" || name == "v") {
            const float* expected = kv[name == "v"].view().row(token, head);
            ASSERT_TRUE(std::equal(row.begin(), row.end(), expected)) << name << token;
          } else if (name.ends_with(".pre")) {
            num::rope_table(steps, token, sin, cos);
            num::rope_rotate(row, sin, cos);
            ASSERT_TRUE(std::equal(row.begin(), row.end(), &rotated[at])) << name << token;
          }
        }
      }
    }
  }
  // It feeds encode.
  const Outcome encoded = kvx_run(
      {"encode", "--scheme", "kivi:k2v2,r32", "--in", dir_ / "out", "--out", dir_ / "codes"});
  ASSERT_EQ(encoded.code, 0) << encoded.err;
  EXPECT_NE(TensorFile(dir_ / "codes").find("layers.2.v.codes"), nullptr);
}

TEST_F(OnAModel, CapturesInFloat16) {
  ASSERT_EQ(run("capture", {"--layers", "all", "--tokens", "8"}).code, 0);
  ASSERT_EQ(run("capture", {"--layers", "0-1,2", "--tokens", "8", "--dtype", "f16"}, "half").code,
            0);
  const TensorFile wide(dir_ / "out"), half(dir_ / "half");
  EXPECT_EQ(half.tensors().size(), 3 * 5 + 1u);
  auto expected = eval::widened(*wide.find("layers.1.q"), "q");
  num::f16_round(expected, expected);
  EXPECT_EQ(half.find("layers.1.q")->dtype, "F16");
  EXPECT_EQ(eval::widened(*half.find("layers.1.q"), "q"), expected);
}

TEST_F(OnAModel, CaptureRefuses) {
  expect(run("capture", {"--layers", "0,3"}), 2, {"--layers '0,3'", "0 to 2, not 3"});
  expect(run("capture", {"--layers", "2-1"}), 2, {"'2-1'"});
  expect(run("capture", {"--layers", ""}), 2, {"--layers"});
  expect(run("capture", {"--layers", "1,"}), 2, {"--layers '1,'"});
  expect(run("capture", {"--layers", "x"}), 2, {"'x'", "all"});
  expect(run("capture", {}), 2, {"--layers is required"});
  expect(run("capture", {"--layers", "0", "--tokens", "257"}), 2,
         {"--tokens 257", "256 positions"});
  expect(run("capture", {"--layers", "0", "--dtype", "f61"}), 2, {"--dtype 'f61'", "'f16'"});
  EXPECT_FALSE(std::filesystem::exists(dir_ / "out"));
}

// Scales by hand: the greatest magnitude over parts of 25, 25 and 10 tokens, over 448 or 57344.
TEST_F(OnAModel, CalibratesScales) {
  const std::array parts{exact(0, 25), exact(25, 25), exact(50, 10)};
  for (const bool per_head : {false, true}) {
    const std::string scheme = per_head ? "fp8:e5m2,scale=head" : "fp8:e4m3,scale=tensor";
    const Words more{"--scheme", scheme, "--tokens", "60", "--length", "25"};
    const Outcome outcome = run("calibrate", more);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const TensorFile file(dir_ / "out");
    EXPECT_EQ(outcome.out, scheme + ",cal=#" + file.sha256().substr(0, 16) + "\n");
    EXPECT_EQ(file.tensors().size(), 6u);
    for (int layer = 0; layer < 3; ++layer) {
      std::array<std::array<float, 2>, 2> amax{};  // by side and head
      for (const auto& part : parts) {
        const KeysAndValues& kv = part[static_cast<size_t>(layer)];
        for (size_t side = 0; side < 2; ++side)
          for (int64_t token = 0; token < kv[side].tokens; ++token)
            for (size_t head = 0; head < 2; ++head)
              for (int c = 0; c < 32; ++c) {
                float& most = amax[side][head];
                const float* row = kv[side].view().row(token, static_cast<int>(head));
                most = std::max(most, std::abs(num::f16_round(row[c])));
              }
      }
      for (size_t side = 0; side < 2; ++side) {
        const std::string name =
            "layers." + std::to_string(layer) + (side == 0 ? ".k.scale" : ".v.scale");
        ASSERT_NE(file.find(name), nullptr);
        std::vector<float> expected;
        if (per_head) {
          expected = {amax[side][0] / 57344.0f, amax[side][1] / 57344.0f};
        } else {
          expected = {std::max(amax[side][0], amax[side][1]) / 448.0f};
        }
        EXPECT_EQ(eval::widened(*file.find(name), name), expected) << name;
      }
    }
    ASSERT_EQ(run("calibrate", more, "again").code, 0);
    EXPECT_EQ(TensorFile(dir_ / "again").sha256(), file.sha256());

    // By path and by hash it is the same scheme; without the folder the hash is not found.
    ASSERT_EQ(run("capture", {"--layers", "1", "--tokens", "9"}, "kv").code, 0);
    std::filesystem::create_directories(dir_ / "artifacts");
    std::filesystem::copy_file(dir_ / "out", dir_ / "artifacts/x.safetensors",
                               std::filesystem::copy_options::overwrite_existing);
    const std::string hash = outcome.out.substr(0, outcome.out.size() - 1);
    const Words encode{"encode", "--in", dir_ / "kv", "--out", dir_ / "codes", "--scheme"};
    const auto with = [&](Words words, const Words& rest) {
      words.insert(words.end(), rest.begin(), rest.end());
      return kvx_run(words);
    };
    ASSERT_EQ(with(encode, {scheme + ",cal=" + (dir_ / "out")}).code, 0);
    const std::string by_path = test::read_file(dir_ / "codes");
    const Outcome by_hash = with(encode, {hash, "--artifacts", dir_ / "artifacts"});
    ASSERT_EQ(by_hash.code, 0) << by_hash.err;
    EXPECT_EQ(test::read_file(dir_ / "codes"), by_path);
    expect(with(encode, {hash}), 3, {file.sha256().substr(0, 16), "--artifacts"});
    const TensorFile codes(dir_ / "codes");
    EXPECT_EQ(codes.metadata().at("scheme"), "fp8@1" + hash.substr(3));
    EXPECT_EQ(codes.find("layers.1.k.scale")->shape, (std::vector<int64_t>{1, per_head ? 2 : 1}));
    const Outcome decoded = kvx_run({"decode", "--in", dir_ / "codes", "--artifacts",
                                     dir_ / "artifacts", "--out", dir_ / "kv2"});
    ASSERT_EQ(decoded.code, 0) << decoded.err;
    const auto& bytes = codes.find("layers.1.k.decoded")->bytes;
    const TensorFile kv2(dir_ / "kv2");
    EXPECT_TRUE(std::equal(bytes.begin(), bytes.end(), kv2.find("layers.1.k")->bytes.begin()));
  }
}

TEST_F(OnAModel, EvalAndExplainTakeACalibratedScheme) {
  ASSERT_EQ(run("calibrate", {"--scheme", "fp8:e4m3,scale=head"}, "scales").code, 0);
  const std::string hash = TensorFile(dir_ / "scales").sha256();
  const std::string scheme = "fp8:e4m3,scale=head,cal=#" + hash.substr(0, 16);
  const Words eval{"--length", "64", "--windows", "1", "--quiet", "--json", "--scheme"};
  const auto measured = [&](const std::string& text, const std::string& folder) {
    Words words = eval;
    words.push_back(text);
    return run("eval", words, folder);
  };
  const Outcome by_path = measured("fp8:e4m3,scale=head,cal=" + (dir_ / "scales"), "run");
  ASSERT_EQ(by_path.code, 0) << by_path.err;
  EXPECT_NE(by_path.out.find("fp8@1" + scheme.substr(3)), std::string::npos) << by_path.out;
  const std::string results = test::read_file(dir_ / "run/results.jsonl");
  EXPECT_EQ(std::count(results.begin(), results.end(), '\n'), 2);
  // The run folder keeps what the scheme needs: it continues without the file.
  std::filesystem::remove(dir_ / "scales");
  const Outcome by_hash = measured(scheme, "run");
  EXPECT_EQ(by_hash.code, 0) << by_hash.err;
  EXPECT_EQ(test::read_file(dir_ / "run/results.jsonl"), results);
  expect(measured(scheme, "elsewhere"), 3, {hash.substr(0, 16), "not found"});
  EXPECT_FALSE(std::filesystem::exists(dir_ / "elsewhere"));

  const Words explain{"explain", scheme, "--kv-heads", "2", "--head-dim", "32", "--artifacts"};
  const auto explained = [&](const std::string& folder) {
    Words words = explain;
    words.push_back(folder);
    return kvx_run(words);
  };
  const Outcome text = explained(dir_ / "run/artifacts");
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find(scheme), std::string::npos) << text.out;
  expect(explained(dir_ / "absent"), 3, {"--artifacts", "absent", "not a folder"});
}

TEST_F(OnAModel, CalibrateRefuses) {
  expect(run("calibrate", {"--scheme", "int4"}), 2, {"int needs no calibration"});
  expect(run("calibrate", {"--scheme", "fp8:e4m3"}), 2, {"scale=1 needs no calibration"});
  expect(run("calibrate", {"--scheme", "fp8:e4m3,scale=tensor,cal=#00000000"}), 2,
         {"cal is what kvx calibrate makes"});
  expect(run("calibrate", {}), 2, {"--scheme is required"});
  expect(run("calibrate", {"--scheme", "fp8:e4m3,scale=tensor", "--tokens", "100000"}), 2,
         {"--tokens 100000", "text.txt"});
  EXPECT_FALSE(std::filesystem::exists(dir_ / "out"));
}

}  // namespace
}  // namespace kvx
