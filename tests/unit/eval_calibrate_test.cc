// kvx calibrate for kvquant from outside, on a tiny model.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>

#include "eval/files.h"
#include "eval/tensor_file.h"
#include "ref/kvquant/codebook.h"
#include "ref/registry.h"
#include "sim/model/loss_gradient.h"
#include "sim/model/tokenizer.h"
#include "sim/num/formats.h"
#include "tests/support/program.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using eval::TensorFile;
using ref::kvquant::Axis;
using ref::kvquant::Elements;
using ref::kvquant::Weight;
using ref::kvquant::Window;
using test::kvx_run;
using test::Outcome;
using Words = std::vector<std::string>;

constexpr int64_t kLength = 40;
constexpr int64_t kSamples = 3;
constexpr int64_t kChannels = 2 * 32;

void expect(const Outcome& outcome, int code, const Words& says) {
  EXPECT_EQ(outcome.code, code) << outcome.out << outcome.err;
  for (const std::string& part : says)
    EXPECT_NE(outcome.err.find(part), std::string::npos) << "no " << part << " in " << outcome.err;
}

// A model of 2 layers, 4 heads on 2 KV heads of 32, and a text.
class CalibrateKvquant : public testing::Test {
 protected:
  CalibrateKvquant() : model_(dir_ / "model"), text_(dir_ / "text.txt") {
    test::TinyModelSpec spec;
    spec.head_dim = 32;
    spec.max_positions = 256;
    test::write_tiny_model(model_, spec);
    test::write_file(text_, words(0, 60));
  }

  static std::string words(int first, int last) {
    std::string out;
    for (int i = first; i < last; ++i) out += "word" + std::to_string(i * 37 % 101) + " ";
    return out;
  }

  Outcome run(const std::string& scheme, const Words& more, const std::string& out = "out") const {
    Words all{"calibrate", "--scheme", scheme, "--model", model_, "--out", dir_ / out};
    all.insert(all.end(), more.begin(), more.end());
    if (std::ranges::find(more, "--length") == more.end())
      all.insert(all.end(), {"--length", std::to_string(kLength)});
    return kvx_run(all);
  }
  Outcome calibrate(const std::string& scheme, int threads = 1,
                    const std::string& out = "out") const {
    return run(scheme, {"--data", text_, "--samples", "3", "--threads", std::to_string(threads)},
               out);
  }

  // K (in the key space asked for) and V of every layer, and the squares of their gradients.
  using Sides = std::array<std::vector<Window>, 2>;
  std::map<int, Sides> observed(bool pre_rope) const {
    const auto checkpoint = model::Checkpoint::open(model_);
    const auto ids = model::Tokenizer::open(model_)->encode(test::read_file(text_), true, false);
    const model::Model model(*checkpoint);
    model::CpuLossGradient gradient(model, ref::factory(Descriptor::parse("fp:f32")), 1);
    std::map<int, Sides> out;
    for (int64_t window = 0; window < kSamples; ++window) {
      const auto part = std::span(ids).subspan(static_cast<size_t>(window * kLength), kLength);
      gradient.run(part, [&](const model::KvGradient& of) {
        const auto add = [&](Side side, ConstRows x, ConstRows dx) {
          Window& to = out[of.layer][static_cast<size_t>(side)].emplace_back();
          to.tokens = x.tokens;
          for (int64_t i = 0; i < kLength * kChannels; ++i) {
            to.values.push_back(num::f16_encode(x.data[i]));
            to.fisher.push_back(dx.data[i] * dx.data[i]);
          }
        };
        add(Side::kK, pre_rope ? of.k_pre : of.k, pre_rope ? of.dk_pre : of.dk);
        add(Side::kV, of.v, of.dv);
      });
    }
    return out;
  }

  test::TempDir dir_;
  std::string model_, text_;
};

std::vector<float> floats(const TensorFile& file, const std::string& name) {
  const ArtifactTensor* tensor = file.find(name);
  EXPECT_NE(tensor, nullptr) << name;
  return tensor == nullptr ? std::vector<float>() : eval::widened(*tensor, name);
}

struct Case {
  std::string scheme;
  int codes;
  int64_t quantile, sink;
  bool paper, pre_rope;
  Axis keys, values;
};

// The file holds the fit of what the model's backward pass gives.
TEST_F(CalibrateKvquant, WritesTheFitOfKAndV) {
  const Axis channel = Axis::kChannel, token = Axis::kToken;
  const std::array cases{Case{"kvquant:nuq2,o0.05", 4, 40, 0, false, true, channel, token},
                         Case{"kvquant:nuq4,profile=paper", 16, 0, 1, true, true, channel, token},
                         Case{"kvquant:nuq3,o0.1,s2,vaxis=channel,rope=post", 8, 20, 2, false,
                              false, channel, channel},
                         Case{"kvquant:nuq2,kaxis=token", 4, 0, 0, false, true, token, token}};
  for (const Case& c : cases) {
    const Outcome outcome = calibrate(c.scheme);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const TensorFile file(dir_ / "out");
    EXPECT_EQ(outcome.out, c.scheme + ",cb=#" + file.sha256().substr(0, 16) + "\n");
    EXPECT_EQ(file.metadata().at("scheme"), "kvquant@1" + c.scheme.substr(7));
    EXPECT_EQ(file.metadata().at("tokens"), "120");
    EXPECT_EQ(file.metadata().at("text_sha256"), eval::sha256_hex(test::read_file(text_)));
    const Weight weight = c.paper ? Weight::kFisherRange : Weight::kFisher;
    size_t tensors = 0;
    for (const auto& [layer, sides] : observed(c.pre_rope)) {
      for (const Side side : {Side::kK, Side::kV}) {
        const Axis axis = side == Side::kK ? c.keys : c.values;
        const Elements elements(sides[static_cast<size_t>(side)], kChannels, axis, c.quantile,
                                c.sink, c.paper);
        const std::string name = "layers." + std::to_string(layer) + "." + side_name(side) + ".";
        if (axis == Axis::kChannel) {
          std::vector<float> lo, hi;
          for (const auto& range : elements.ranges()) {
            lo.push_back(num::f16_round(range.lo));
            hi.push_back(num::f16_round(range.hi));
          }
          EXPECT_EQ(floats(file, name + "lo"), lo) << c.scheme << name;
          EXPECT_EQ(floats(file, name + "hi"), hi) << c.scheme << name;
          EXPECT_EQ(file.find(name + "lo")->dtype, "F16");
          tensors += 2;
        }
        const std::vector<float> codebook = floats(file, name + "codebook");
        EXPECT_EQ(codebook, fit_codebook(elements, weight, c.codes)) << c.scheme << name;
        EXPECT_EQ(floats(file, name + "qnorm").size(), 2u);
        tensors += 2;
        std::vector<double> even;
        for (int k = 0; k < c.codes; ++k) even.push_back((2.0 * k + 1) / c.codes - 1);
        EXPECT_LT(
            objective(elements, weight, std::vector<double>(codebook.begin(), codebook.end())),
            objective(elements, weight, even));
      }
    }
    EXPECT_EQ(file.tensors().size(), tensors);
  }
}

TEST_F(CalibrateKvquant, IntegersAndNormalFloatNeedRangesAlone) {
  for (const std::string scheme : {"kvquant:int4,o0.05", "kvquant:nf3,o0.05"}) {
    ASSERT_EQ(calibrate(scheme).code, 0);
    const TensorFile file(dir_ / "out");
    EXPECT_EQ(file.tensors().size(), 4u);
    ASSERT_EQ(calibrate("kvquant:nuq3,o0.05", 1, "nuq").code, 0);
    const TensorFile nuq(dir_ / "nuq");
    EXPECT_EQ(floats(file, "layers.1.k.lo"), floats(nuq, "layers.1.k.lo"));
    EXPECT_EQ(floats(file, "layers.1.k.hi"), floats(nuq, "layers.1.k.hi"));
  }
}

TEST_F(CalibrateKvquant, HasTheSameBytesAtAnyThreadCount) {
  const std::string scheme = "kvquant:nuq3,o0.05,profile=paper";
  ASSERT_EQ(calibrate(scheme, 1, "one").code, 0);
  const std::string one = test::read_file(dir_ / "one");
  for (const int threads : {1, 2, 5}) {
    ASSERT_EQ(calibrate(scheme, threads, "more").code, 0);
    EXPECT_EQ(test::read_file(dir_ / "more"), one) << threads;
  }
}

TEST_F(CalibrateKvquant, EvalReadsTheFile) {
  const Outcome outcome = calibrate("kvquant:nuq4,o0.05,qnorm,profile=paper");
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const Outcome eval = kvx_run({"eval", "--model", model_, "--data", text_, "--out", dir_ / "run",
                                "--length", "64", "--windows", "1", "--quiet", "--scheme",
                                "kvquant:nuq4,o0.05,qnorm,profile=paper,cb=" + (dir_ / "out")});
  EXPECT_EQ(eval.code, 0) << eval.err;
}

// A folder, its files one by one in another order, and a file behind the last token needed.
TEST_F(CalibrateKvquant, TakesFilesInTheOrderOfTheirNames) {
  const std::string folder = dir_ / "books";
  std::filesystem::create_directories(folder);
  test::write_file(folder + "/b.txt", words(8, 40));
  test::write_file(folder + "/a.txt", words(0, 8));
  test::write_file(folder + "/c.txt", "\xff not UTF-8");
  test::write_file(folder + "/.hidden", "\xff");
  const std::string scheme = "kvquant:nuq2,o0.05";
  ASSERT_EQ(run(scheme, {"--data", folder, "--samples", "3"}, "folder").code, 0);
  const TensorFile file(dir_ / "folder");
  EXPECT_EQ(file.metadata().at("text_sha256"), eval::sha256_hex(words(0, 40)));
  ASSERT_EQ(
      run(scheme, {"--data", folder + "/b.txt", "--data", folder + "/a.txt", "--samples", "3"})
          .code,
      0);
  EXPECT_EQ(test::read_file(dir_ / "out"), test::read_file(dir_ / "folder"));
  expect(run(scheme, {"--data", folder}, "all"), 3, {"c.txt"});
  std::filesystem::create_directories(dir_ / "empty");
  expect(run(scheme, {"--data", dir_ / "empty"}, "all"), 3, {"empty: no files"});
  EXPECT_FALSE(std::filesystem::exists(dir_ / "all"));
}

TEST_F(CalibrateKvquant, LastWindowMayBeShorter) {
  ASSERT_EQ(run("kvquant:nuq2", {"--data", text_, "--tokens", "100"}).code, 0);
  EXPECT_EQ(TensorFile(dir_ / "out").metadata().at("tokens"), "100");
  // One token more than two windows has no gradient and is left out.
  ASSERT_EQ(run("kvquant:nuq2", {"--data", text_, "--tokens", "81"}, "odd").code, 0);
  ASSERT_EQ(run("kvquant:nuq2", {"--data", text_, "--tokens", "80"}, "even").code, 0);
  EXPECT_EQ(floats(TensorFile(dir_ / "odd"), "layers.0.k.lo"),
            floats(TensorFile(dir_ / "even"), "layers.0.k.lo"));
}

TEST_F(CalibrateKvquant, Refuses) {
  const Words data{"--data", text_};
  expect(run("kvquant:nf3,kaxis=token", data), 2, {"needs no calibration"});
  expect(run("kvquant:nuq3,cb=#00000000", data), 2, {"cb is what kvx calibrate makes"});
  expect(run("kvquant:nuq3,o0.03", data), 2, {"whole"});
  expect(run("kvquant:nuq3,s40", data), 2, {"--length 40", "41 or more tokens"});
  expect(run("kvquant:nuq3", {"--data", text_, "--samples", "1000"}), 2,
         {"--samples 1000", "of 40"});
  expect(run("kvquant:nuq3", {"--data", text_, "--samples", "0"}), 2, {"--samples"});
  expect(run("kvquant:nuq3", {"--data", text_, "--backend", "gpu"}), 2, {"--backend", "cpu, cuda"});
  expect(run("kvquant:nuq3", {"--data", text_, "--tokens", "1"}), 2, {"no window of 2"});
  expect(run("kvquant:nuq3", {"--data", text_, "--length", "1"}), 2, {"--length 1"});
  expect(run("kvquant:nuq3", {"--data", dir_ / "absent"}), 3, {"absent"});
  expect(run("kvquant:nuq3", {}), 2, {"--data is required"});
  EXPECT_FALSE(std::filesystem::exists(dir_ / "out"));
}

}  // namespace
}  // namespace kvx
