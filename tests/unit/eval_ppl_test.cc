// `kvx eval` on a small seeded model: the protocol against a plain computation of it, and the same
// values after any stop, on any number of threads.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "eval/divergence.h"
#include "eval/files.h"
#include "eval/number.h"
#include "eval/record.h"
#include "eval/stats.h"
#include "eval/store.h"
#include "ref/registry.h"
#include "sim/model/engine.h"
#include "sim/model/tokenizer.h"
#include "tests/support/eval_sweep.h"

namespace kvx {
namespace {

namespace fs = std::filesystem;
using eval::Json;
using test::kSweepSchemes;
using test::line_count;
using test::units_of;
using test::values_of;
using test::Words;

constexpr int64_t kLength = test::kSweepLength;
constexpr int64_t kWindows = test::kSweepWindows;

std::vector<double> doubles_of(const std::string& file) {
  const std::string bytes = test::read_file(file);
  std::vector<double> values(bytes.size() / sizeof(double));
  std::copy(bytes.begin(), bytes.end(), reinterpret_cast<char*>(values.data()));
  return values;
}

std::string key(const std::string& mode, int64_t window, const std::string& scheme) {
  return "ppl@1/" + mode + "/" + std::to_string(window) + "/" + scheme;
}

double number(const Json& json) { return eval::parse_exact_number(json); }

class Ppl : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    sweep_ = new test::Sweep(KVX_PROGRAM);
    test::Process process(command(reference(), {"--json"}));
    ASSERT_EQ(process.wait(), 0) << process.err();
    *printed_ = process.out();
  }
  static void TearDownTestSuite() { delete sweep_; }

  static std::string model() { return sweep_->model(); }
  static std::string data() { return sweep_->data(); }
  static std::string reference() { return sweep_->reference(); }
  static std::string printed() { return *printed_; }
  static Words command(const std::string& run, const Words& more = {}) {
    return sweep_->command(run, more);
  }
  static int run(const Words& words) { return test::Sweep::run(words); }
  static void expect_same_as_reference(const std::string& run) {
    sweep_->expect_same_as_reference(run);
  }

 private:
  static test::Sweep* sweep_;
  static std::string* printed_;
};
test::Sweep* Ppl::sweep_ = nullptr;
std::string* Ppl::printed_ = new std::string;

TEST_F(Ppl, OneLineForEveryWindowModeAndScheme) {
  const auto units = units_of(reference());
  EXPECT_EQ(units.size(), 2 * kWindows * kSweepSchemes.size());
  for (const char* mode : {"streamed", "all"})
    for (int64_t window = 0; window < kWindows; ++window)
      for (const std::string& scheme : kSweepSchemes) {
        const auto found = units.find(key(mode, window, scheme));
        ASSERT_NE(found, units.end());
        EXPECT_EQ(found->second.at("tokens"), kLength);
        EXPECT_EQ(found->second.at("targets"), kLength - 1);
      }
}

// Tokens, windows, targets, NLL, divergence and agreement once more from the logits, with the plain
// formulas and the C library's functions.
TEST_F(Ppl, AgreesWithAPlainComputation) {
  const auto checkpoint = model::Checkpoint::open(model());
  const model::Model weights(*checkpoint);
  const size_t vocab = static_cast<size_t>(weights.config().vocab);
  const auto ids = model::Tokenizer::open(model())->encode(test::read_file(data()), true, false);
  const auto units = units_of(reference());
  for (int64_t window = 0; window < kWindows; ++window) {
    const std::span<const int32_t> tokens(ids.data() + window * kLength,
                                          static_cast<size_t>(kLength));
    const auto log_probabilities = [&](const std::string& scheme) {
      model::Engine engine(weights, ref::factory(Descriptor::parse(scheme)),
                           model::CacheMode::kStreamed, 1);
      const model::Chunk chunk{.seq = engine.open(), .tokens = tokens};
      std::vector<double> out;
      engine.forward({&chunk, 1}, [&](int64_t, int64_t count, const float* logits) {
        out.insert(out.end(), logits, logits + count * static_cast<int64_t>(vocab));
      });
      for (size_t row = 0; row < tokens.size(); ++row) {
        double sum = 0;
        for (size_t v = 0; v < vocab; ++v) sum += std::exp(out[row * vocab + v]);
        for (size_t v = 0; v < vocab; ++v) out[row * vocab + v] -= std::log(sum);
      }
      return out;
    };
    const std::vector<double> base = log_probabilities("fp:f32");
    for (const std::string& scheme : kSweepSchemes) {
      const Json& unit = units.at(key("streamed", window, scheme));
      const std::vector<double> subject = log_probabilities(eval::scheme_label(scheme));
      double nll = 0, kl = 0, kl_max = 0;
      int64_t same = 0;
      for (size_t t = 0; t + 1 < tokens.size(); ++t) {
        const double* p = &base[t * vocab];
        const double* q = &subject[t * vocab];
        nll -= q[tokens[t + 1]];
        double row = 0;
        for (size_t v = 0; v < vocab; ++v) row += std::exp(p[v]) * (p[v] - q[v]);
        kl += row;
        kl_max = std::max(kl_max, row);
        same += std::max_element(p, p + vocab) - p == std::max_element(q, q + vocab) - q ? 1 : 0;
      }
      const double targets = static_cast<double>(kLength - 1);
      EXPECT_NEAR(number(unit.at("nll_mean")), nll / targets, 1e-6) << scheme;
      EXPECT_NEAR(number(unit.at("kl_mean")), kl / targets, 1e-6) << scheme;
      EXPECT_NEAR(number(unit.at("kl_max")), kl_max, 1e-5) << scheme;
      EXPECT_EQ(unit.at("same_top"), same) << scheme;
    }
  }
}

TEST_F(Ppl, RunJsonSaysWhatWasMeasured) {
  const Json run = Json::parse(test::read_file(reference() + "/run.json"));
  const Json& identity = run.at("identity");
  const Json& ppl = run.at("tasks").at("ppl");
  const auto checkpoint = model::Checkpoint::open(model());
  const auto tokenizer = model::Tokenizer::open(model());
  const auto ids = tokenizer->encode(test::read_file(data()), true, false);
  const model::Model weights(*checkpoint);
  EXPECT_EQ(identity.at("model_sha256"), checkpoint->sha256());
  EXPECT_EQ(identity.at("tokenizer_sha256"), tokenizer->sha256());
  EXPECT_EQ(ppl.at("text_sha256"), eval::sha256_hex(test::read_file(data())));
  EXPECT_EQ(ppl.at("tokens"), ids.size());
  EXPECT_EQ(ppl.at("tokens_sha256"), eval::sha256_hex(std::as_bytes(std::span(ids))));
  EXPECT_EQ(identity.at("rope_steps_sha256"),
            eval::sha256_hex(std::as_bytes(weights.rope_steps())));
  EXPECT_EQ(ppl.at("length"), kLength);
  EXPECT_EQ(run.at("schemes"), Json({"fp@1:f16", "int@1:k3v3", "kivi@1:k2v2,r32"}));
  const Json& measured = run.at("measured").at("ppl");
  EXPECT_EQ(measured.at("modes"), Json({"streamed", "all"}));
  EXPECT_EQ(measured.at("windows"), kWindows);
  EXPECT_FALSE(run.at("sessions").at(0).at("program").at("flags").get<std::string>().empty());
}

// Every field of a result line, of run.json and of a printed row has its line in the schema's page.
TEST_F(Ppl, EveryFieldIsDocumented) {
  const std::string page = test::read_file(KVX_SCHEMA_PAGE);
  const auto expect_fields = [&page](const Json& object, const std::string& prefix) {
    for (const auto& [name, value] : object.items()) {
      EXPECT_NE(page.find("`" + prefix + name), std::string::npos) << prefix << name;
    }
  };
  const Json unit = units_of(reference()).begin()->second;
  expect_fields(unit, "");
  expect_fields(unit.at("bytes").at("k"), "");
  expect_fields(unit.at("timing"), "timing.");
  expect_fields(unit.at("positions"), "positions.");
  const Json printed_json = Json::parse(printed());
  expect_fields(printed_json, "");
  expect_fields(printed_json.at("run"), "");
  expect_fields(printed_json.at("run").at("identity"), "identity.");
  expect_fields(printed_json.at("run").at("tasks").at("ppl"), "tasks.ppl.");
  expect_fields(printed_json.at("run").at("sessions").at(0), "");
  const Json& row = printed_json.at("modes").at(0).at("rows").at(1);
  expect_fields(row, "");
  expect_fields(row.at("bins").at(0), "");
  ASSERT_EQ(row.at("divergence").size(), 2u);
  for (const char* scope : {"scored", "half"}) {
    EXPECT_NE(page.find("`" + std::string(scope) + "`"), std::string::npos);
    expect_fields(row.at("divergence").at(scope), "");
  }
}

TEST_F(Ppl, MeansAreThoseOfThePositions) {
  for (const auto& [name, unit] : units_of(reference())) {
    const std::vector<double> values =
        doubles_of(reference() + "/" + unit.at("positions").at("file").get<std::string>());
    constexpr int64_t kTargets = kLength - 1;
    ASSERT_EQ(values.size(), 3u * kTargets) << name;
    const auto begin = values.begin();
    const std::vector<double> nll(begin, begin + kTargets),
        kl(begin + kTargets, begin + 2 * kTargets);
    EXPECT_EQ(unit.at("same_top"), std::count(begin + 2 * kTargets, values.end(), 1.0)) << name;
    EXPECT_EQ(unit.at("same_top"), kTargets - std::count(begin + 2 * kTargets, values.end(), 0.0));
    EXPECT_EQ(number(unit.at("nll_mean")), eval::mean(nll)) << name;
    EXPECT_EQ(number(unit.at("kl_mean")), eval::mean(kl)) << name;
    EXPECT_EQ(number(unit.at("kl_max")), *std::max_element(kl.begin(), kl.end())) << name;
    EXPECT_EQ(number(unit.at("kl_p999")), eval::percentile(kl, 0.999)) << name;
  }
}

TEST_F(Ppl, BitsAreCountedFromTheCache) {
  const auto units = units_of(reference());
  const auto bits = [&](const char* mode, const char* scheme) {
    return units.at(key(mode, 0, scheme)).at("bits_per_value").at("kv").get<double>();
  };
  EXPECT_EQ(bits("streamed", "fp@1:f32"), 32);
  EXPECT_EQ(bits("streamed", "fp@1:f16"), 16);
  EXPECT_EQ(bits("streamed", "int@1:k3v3"), 4);  // 3 + two fp16 for a row of 32
  EXPECT_EQ(bits("all", "kivi@1:k2v2,r32"), 3);
  // Keys: three full groups of 32 of 96 are sealed. Values: 64 of 96 are.
  EXPECT_DOUBLE_EQ(bits("streamed", "kivi@1:k2v2,r32"), (3 + (3 * 64 + 16 * 32) / 96.0) / 2);
}

TEST_F(Ppl, ModesDifferWhereWindowsDo) {
  const auto units = units_of(reference());
  for (int64_t window = 0; window < kWindows; ++window) {
    const auto nll = [&](const char* mode, const char* scheme) {
      return units.at(key(mode, window, scheme)).at("nll_mean").at("bits").get<std::string>();
    };
    for (const char* scheme : {"fp@1:f32", "fp@1:f16", "int@1:k3v3"})
      EXPECT_EQ(nll("all", scheme), nll("streamed", scheme));
    EXPECT_NE(nll("all", "kivi@1:k2v2,r32"), nll("streamed", "kivi@1:k2v2,r32"));
    EXPECT_NE(nll("all", "int@1:k3v3"), nll("all", "fp@1:f32"));
    EXPECT_EQ(number(units.at(key("all", window, "fp@1:f32")).at("kl_max")), 0);
    EXPECT_GT(number(units.at(key("all", window, "int@1:k3v3")).at("kl_mean")), 0);
  }
}

TEST_F(Ppl, PrintedValuesAreThoseOfTheRunFolder) {
  const auto units = units_of(reference());
  const Json json = Json::parse(printed());
  EXPECT_EQ(json.at("run"), Json::parse(test::read_file(reference() + "/run.json")));
  ASSERT_EQ(json.at("modes").size(), 2u);
  const std::string csv = test::read_file(reference() + "/table.csv");
  for (const Json& mode : json.at("modes")) {
    ASSERT_EQ(mode.at("rows").size(), kSweepSchemes.size());
    std::vector<double> base;
    for (size_t i = 0; i < kSweepSchemes.size(); ++i) {
      const Json& row = mode.at("rows")[i];
      EXPECT_EQ(row.at("scheme"), kSweepSchemes[i]);
      std::vector<double> nll, kl_means, kl;
      int64_t same = 0;
      for (int64_t window = 0; window < kWindows; ++window) {
        const Json& unit = units.at(key(mode.at("mode"), window, kSweepSchemes[i]));
        nll.push_back(number(unit.at("nll_mean")));
        kl_means.push_back(number(unit.at("kl_mean")));
        same += unit.at("same_top").get<int64_t>();
        const auto values =
            doubles_of(reference() + "/" + unit.at("positions").at("file").get<std::string>());
        kl.insert(kl.end(), values.begin() + kLength - 1, values.begin() + 2 * (kLength - 1));
      }
      if (i == 0) base = nll;
      EXPECT_EQ(number(row.at("nll")), eval::mean(nll));
      EXPECT_EQ(number(row.at("ppl")), std::exp(eval::mean(nll)));
      EXPECT_EQ(number(row.at("delta_ppl")),
                std::exp(eval::mean(nll)) - std::exp(eval::mean(base)));
      EXPECT_EQ(number(row.at("kl_mean")), eval::mean(kl_means));
      EXPECT_EQ(number(row.at("kl_p999")), eval::percentile(kl, 0.999));
      EXPECT_EQ(number(row.at("same_top")),
                static_cast<double>(same) / static_cast<double>(kl.size()));
      EXPECT_EQ(row.at("delta_nll_interval").is_null(), i == 0);
      EXPECT_NE(csv.find(row.at("scheme").dump() + "," + std::to_string(kWindows)),
                std::string::npos);
      EXPECT_NE(csv.find("," + row.at("nll").at("value").dump() + "," +
                         row.at("ppl").at("value").dump() + ","),
                std::string::npos)
          << csv;
    }
  }
  EXPECT_EQ(test::read_file(reference() + "/plot.svg").rfind("<svg", 0), 0u);
}

TEST_F(Ppl, TableShowsTheSameNumbers) {
  test::Process process(command(reference()));
  ASSERT_EQ(process.wait(), 0) << process.err();
  const std::string table = process.out();
  const Json json = Json::parse(printed());
  for (const Json& mode : json.at("modes"))
    for (const Json& row : mode.at("rows")) {
      char ppl[32];
      std::snprintf(ppl, sizeof ppl, "%.4f", number(row.at("ppl")));
      EXPECT_NE(table.find(ppl), std::string::npos) << table;
      EXPECT_NE(table.find(row.at("label").get<std::string>()), std::string::npos) << table;
    }
  EXPECT_NE(table.find("mode    all, L 96, 3 windows, 285 targets"), std::string::npos) << table;
}

// Divergence statistics and bins from the side files, in the JSON document, the CSV files and the
// printed text.
TEST_F(Ppl, DivergenceAndBinsAreThoseOfThePositions) {
  const auto units = units_of(reference());
  const auto pooled = [&](const std::string& scheme) {
    eval::PositionScores all;
    for (int64_t window = 0; window < kWindows; ++window) {
      const Json& unit = units.at(key("all", window, scheme));
      const auto values =
          doubles_of(reference() + "/" + unit.at("positions").at("file").get<std::string>());
      const auto part = [&](std::vector<double>& to, int64_t i) {
        const auto begin = values.begin() + i * (kLength - 1);
        to.insert(to.end(), begin, begin + kLength - 1);
      };
      part(all.nll, 0);
      part(all.kl, 1);
      part(all.same_top, 2);
    }
    return all;
  };
  const auto base = pooled("fp@1:f32"), scores = pooled("kivi@1:k2v2,r32");
  const Json json = Json::parse(printed());
  const Json& row = json.at("modes").at(1).at("rows").at(3);
  ASSERT_EQ(json.at("modes").at(1).at("mode"), "all");
  ASSERT_EQ(row.at("scheme"), "kivi@1:k2v2,r32");
  const auto d = eval::divergence(scores.nll, base.nll, scores.kl, scores.same_top);
  EXPECT_EQ(row.at("divergence").at("scored"), Json(eval::divergence_json(d)));
  EXPECT_EQ(row.at("divergence").at("half").at("positions"), kWindows * (kLength / 2 - 1));
  EXPECT_GT(number(row.at("divergence").at("half").at("kl_mean")), 0);
  ASSERT_EQ(row.at("bins").size(), 8u);
  double nll = 0;
  for (size_t window = 0; window < 3; ++window)
    for (size_t i = 12; i < 24; ++i) nll += scores.nll[window * (kLength - 1) + i];
  EXPECT_EQ(row.at("bins").at(1).at("first"), 12);
  EXPECT_EQ(row.at("bins").at(1).at("targets"), 36);
  EXPECT_NEAR(number(row.at("bins").at(1).at("nll")), nll / 36, 1e-12);
  EXPECT_EQ(row.at("bins").at(7).at("targets"), 33);

  const std::string csv = test::read_file(reference() + "/divergence.csv");
  EXPECT_NE(
      csv.find("all,\"kivi@1:k2v2,r32\",scored,285," + std::to_string(d.ppl.value).substr(0, 6)),
      std::string::npos)
      << csv;
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 1 + 2 * 3 * 2);
  const std::string positions = test::read_file(reference() + "/positions.csv");
  EXPECT_EQ(std::count(positions.begin(), positions.end(), '\n'), 1 + 2 * 4 * 8);
  test::Process process(command(reference(), {"--kl", "--bins", "4"}));
  ASSERT_EQ(process.wait(), 0) << process.err();
  EXPECT_NE(process.out().find(eval::divergence_text(d)), std::string::npos) << process.out();
  EXPECT_NE(process.out().find("0-23"), std::string::npos) << process.out();
  EXPECT_NE(process.out().find("72-95"), std::string::npos) << process.out();
  // The folder's view as before.
  EXPECT_EQ(run(command(reference())), 0);
  EXPECT_EQ(test::read_file(reference() + "/positions.csv"), positions);
}

TEST_F(Ppl, ThreadsChangeNoValue) {
  test::TempDir temp;
  for (const char* threads : {"1", "2", "5"}) {
    ASSERT_EQ(run(command(temp / threads, {"--threads", threads})), 0);
    expect_same_as_reference(temp / threads);
  }
}

// Killed again and again, each time at some moment after a few more units, then left to finish.
TEST_F(Ppl, KilledAtAnyMomentGivesTheSameValues) {
  test::TempDir temp;
  const std::string folder = temp / "run";
  std::minstd_rand draw(20);
  int kills = 0;
  const int64_t total = 2 * kWindows * static_cast<int64_t>(kSweepSchemes.size());
  while (line_count(folder) < total - 2 && kills < 40) {
    const int64_t stop_at = line_count(folder) + static_cast<int64_t>(draw() % 4);
    test::Process process(command(folder));
    while (process.running() && line_count(folder) < stop_at)
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    std::this_thread::sleep_for(std::chrono::microseconds(draw() % 4000));
    process.send(SIGKILL);
    if (process.wait() == -SIGKILL) ++kills;
  }
  EXPECT_GE(kills, 3);
  ASSERT_EQ(run(command(folder)), 0);
  expect_same_as_reference(folder);
}

TEST_F(Ppl, InterruptedFinishesTheUnitAndContinues) {
  test::TempDir temp;
  const std::string folder = temp / "run";
  test::Process process(command(folder));
  while (process.running() && line_count(folder) < 3)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  process.send(SIGINT);
  ASSERT_EQ(process.wait(), 130) << process.err();
  EXPECT_EQ(process.out(), "");
  EXPECT_NE(process.err().find("--out " + folder + " continues"), std::string::npos)
      << process.err();
  EXPECT_LT(line_count(folder), static_cast<int64_t>(2 * kWindows * kSweepSchemes.size()));
  EXPECT_FALSE(fs::exists(folder + "/table.csv"));
  ASSERT_EQ(run(command(folder)), 0);
  expect_same_as_reference(folder);
}

// A file limit stands for a full disk: what is finished stays, and the run continues when there is
// room.
TEST_F(Ppl, FullDiskIsNamedAndLosesNothing) {
  test::TempDir temp;
  const std::string folder = temp / "run";
  test::Process process(command(folder), 6000);
  EXPECT_EQ(process.wait(), 4);
  EXPECT_NE(process.err().find(folder + "/results.jsonl: File too large"), std::string::npos)
      << process.err();
  const auto partial = values_of(folder);
  const auto whole = values_of(reference());
  ASSERT_GT(partial.size(), 1u);
  ASSERT_LT(partial.size(), whole.size());
  EXPECT_TRUE(std::equal(partial.begin(), partial.end(), whole.begin()));
  ASSERT_EQ(run(command(folder)), 0);
  expect_same_as_reference(folder);
}

TEST_F(Ppl, MoreSchemesModesAndWindowsAreAdded) {
  test::TempDir temp;
  const std::string folder = temp / "run";
  Words words{KVX_PROGRAM, "eval", "--model",  model(),
              "--data",    data(), "--length", std::to_string(kLength),
              "--out",     folder};
  const auto with = [&words](const Words& more) {
    Words all = words;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  ASSERT_EQ(run(with({"--scheme", "int:k3v3", "--windows", "1"})), 0);
  const std::string first = test::read_file(folder + "/results.jsonl");
  ASSERT_EQ(run(with({"--scheme", "fp:f16", "--scheme", "kivi:k2v2,r32", "--windows", "2", "--mode",
                      "all"})),
            0);
  EXPECT_EQ(test::read_file(folder + "/results.jsonl").rfind(first, 0), 0u);
  ASSERT_EQ(run(command(folder)), 0);
  auto ours = values_of(folder), theirs = values_of(reference());
  std::sort(ours.begin(), ours.end());
  std::sort(theirs.begin(), theirs.end());
  EXPECT_EQ(ours, theirs);
}

TEST_F(Ppl, AnotherMeasurementIsRefused) {
  const std::string before = test::read_file(reference() + "/run.json");
  test::Process process({KVX_PROGRAM, "eval", "--model", model(), "--data", data(), "--length",
                         "64", "--out", reference()});
  EXPECT_EQ(process.wait(), 2);
  EXPECT_NE(process.err().find("tasks.ppl.length is 96 there and 64 now"), std::string::npos)
      << process.err();
  EXPECT_EQ(test::read_file(reference() + "/run.json"), before);
}

TEST_F(Ppl, AskedForTheBaseAloneItIsTheOnlyRow) {
  test::TempDir temp;
  test::Process process({KVX_PROGRAM, "eval", "--model", model(), "--data", data(), "--scheme",
                         "f32", "--windows", "1", "--length", std::to_string(kLength), "--out",
                         temp / "run", "--json"});
  ASSERT_EQ(process.wait(), 0) << process.err();
  const Json json = Json::parse(process.out());
  ASSERT_EQ(json.at("modes")[0].at("rows").size(), 1u);
  EXPECT_EQ(line_count(temp / "run"), 1);
}

}  // namespace
}  // namespace kvx
