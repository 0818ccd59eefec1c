// `kvx bench` and the report of its runs as a person runs them.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <regex>

#include "eval/bench/record.h"
#include "gpu/registry.h"
#include "tests/support/bench_document.h"
#include "tests/support/program.h"
#include "tests/support/temp_dir.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

using test::kvx_run;
using test::Outcome;
using Words = std::vector<std::string>;

Words tiny(const Words& more) {
  Words words{"bench", "--backend", "cpu",      "--scheme", "int:k4v4", "--heads", "2/1",
              "--dim", "32",        "--tokens", "64",       "--what",   "attend",  "--quiet"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

void expect_refused(const Words& words, int code, const std::string& says) {
  const Outcome outcome = kvx_run(words);
  EXPECT_EQ(outcome.code, code) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_EQ(outcome.err, "kvx: " + says + "\n");
}

TEST(BenchCli, ASchemeTakesTheArithmeticsThatItHas) {
  const Words both{"--scheme", "fp:f16", "--arithmetic", "ieee,fixed", "--json", "-"};
  const Outcome outcome = kvx_run(tiny(both));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::vector<std::string> found;
  for (const auto& r : bench::parse_document(bench::Json::parse(outcome.out), "output").records)
    found.push_back(r.name + " " + r.arithmetic);
  EXPECT_EQ(found, (Words{"int@1:k4v4 ieee", "int@1:k4v4 fixed", "fp@1:f16 ieee"}));

  expect_refused(tiny({"--scheme", "fp:f16", "--arithmetic", "fixed"}), 2,
                 "fp:f16 has no arithmetic fixed: it has no codes");
}

TEST(BenchCli, RefusesInOneLine) {
  const Words scheme{"bench", "--backend", "cpu", "--scheme", "int:k4v4"};
  const auto with = [&](const Words& more) {
    Words words = scheme;
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  expect_refused({"bench", "--backend", "cpu"}, 2, "--scheme is required");
  expect_refused(with({"--heads", "32"}), 2, "--heads '32': must be query heads/KV heads, as 32/8");
  expect_refused(with({"--heads", "32/8,7/2"}), 2,
                 "--heads '7/2': 7 query heads are no multiple of 2 KV heads");
  expect_refused(with({"--tokens", "4k"}), 2,
                 "--tokens '4k': must be an integer from 1 to 16777216");
  expect_refused(with({"--queries", "9"}), 2, "--queries '9': must be an integer from 1 to 8");
  expect_refused(with({"--samples", "29"}), 2,
                 "--samples '29': must be an integer from 30 to 100000");
  expect_refused(with({"--what", "atend"}), 2,
                 "--what 'atend': must be one of encode, append, attend, step; did you mean "
                 "'attend'?");
  expect_refused(with({"--arithmetic", "sm90"}), 2,
                 "--arithmetic 'sm90': must be one of ieee, fixed");
  expect_refused(with({"--baseline", "/nowhere"}), 3, "/nowhere: No such file or directory");
  const Outcome odd =
      kvx_run({"bench", "--backend", "cpu", "--scheme", "ggml:q4_0", "--dim", "40"});
  EXPECT_EQ(odd.code, 2) << odd.err;
}

TEST(BenchCli, NeedsADevice) {
  if (gpu::unavailable().empty()) GTEST_SKIP() << "there is a device";
  expect_refused({"bench", "--scheme", "int:k4v4"}, 3, "--backend cuda: " + gpu::unavailable());
}

TEST(BenchCli, MeasuresEveryCombination) {
  const Outcome outcome =
      kvx_run({"bench", "--backend", "cpu", "--scheme", "kivi:k{2,4}v2,r32", "--heads", "2/1,2/2",
               "--dim", "32", "--tokens", "40,64", "--queries", "2", "--json", "-", "--quiet"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto document = bench::parse_document(bench::Json::parse(outcome.out), "output");
  EXPECT_EQ(document.records.size(), 2u * 4 * kBenchOps);
  for (const bench::Record& record : document.records) {
    SCOPED_TRACE(bench::subject_text(record));
    EXPECT_GT(record.seconds.median, 0);
    EXPECT_EQ(record.seconds.samples, 30);
    EXPECT_EQ(record.shape.queries, 2);
    EXPECT_GT(*record.bits, 2);
    EXPECT_LT(*record.bits, 17);
  }
  EXPECT_GT(document.sessions.at(0).read.median, 0);
}

TEST(BenchCli, TimesAModel) {
  test::TempDir dir;
  test::TinyModelSpec spec;
  const std::string model = dir / "model";
  test::write_tiny_model(model, spec);
  const Words words{"bench",  "--backend", "cpu",          "--model", model, "--scheme",
                    "fp:f32", "--scheme",  "int:k8v8,g16", "--batch", "1,3", "--tokens",
                    "40",     "--out",     dir / "run",    "--quiet"};
  const Outcome outcome = kvx_run(words);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.out.find("Decode step of a model"), std::string::npos) << outcome.out;
  const bench::Document document = bench::read_document(dir / "run");
  ASSERT_EQ(document.records.size(), 4u);
  for (const bench::Record& r : document.records) {
    EXPECT_EQ(r.op, BenchOp::kDecode);
    EXPECT_EQ(r.model, model);
    EXPECT_EQ(r.shape.q_heads, spec.heads);
    // Values of all layers, K and V: 40 tokens of every sequence.
    const auto values = static_cast<double>(r.shape.sequences * 40 * spec.layers * spec.kv_heads *
                                            spec.head_dim * 2);
    EXPECT_DOUBLE_EQ(static_cast<double>(r.bytes), values * *r.bits / 8);
    EXPECT_EQ(*r.bits, r.name == "fp@1:f32" ? 32 : 10);  // and scale and zero of 16 values
    EXPECT_FALSE(bench::of_read(document, r));
  }
  expect_refused(
      {"bench", "--backend", "cpu", "--model", model, "--scheme", "fp:f32", "--dim", "64"}, 2,
      "--dim: of a layer alone, not of --model");
  expect_refused({"bench", "--backend", "cpu", "--model", "random:llama-9b", "--scheme", "fp:f32"},
                 2,
                 "--model 'random:llama-9b': must be one of random:llama-8b, random:qwen-1.5b; "
                 "did you mean 'random:llama-8b'?");
}

TEST(BenchCli, ContinuesAFolderAndComparesWithIt) {
  test::TempDir dir;
  const std::string run = dir / "run";
  ASSERT_EQ(kvx_run(tiny({"--out", run})).code, 0);
  ASSERT_EQ(kvx_run(tiny({"--out", run, "--batch", "1,2"})).code, 0);
  for (const char* name : {"bench.json", "table.csv", "plot.svg"})
    EXPECT_TRUE(std::filesystem::exists(run + "/" + name)) << name;
  bench::Document document = bench::read_document(run);
  EXPECT_EQ(document.sessions.size(), 1u);  // nothing is left of the first
  ASSERT_EQ(document.records.size(), 2u);
  EXPECT_EQ(document.records[1].shape.sequences, 2);

  // A thousand times as fast, and as slow, as measured.
  for (const auto& [factor, code] : {std::pair{1e-3, 1}, std::pair{1e3, 0}}) {
    bench::Document other = document;
    for (bench::Record& record : other.records)
      record.seconds = test::spread(document.records[0].seconds.median * factor);
    test::write_file(dir / "other.json", bench::document_json(other).dump());
    const Outcome outcome = kvx_run(tiny({"--baseline", dir / "other.json"}));
    EXPECT_EQ(outcome.code, code) << outcome.out << outcome.err;
    EXPECT_NE(outcome.out.find(code == 1 ? "SLOWER: attend int:k4v4, 2/1 x 32, batch 1, 64 tokens"
                                         : "faster: attend int:k4v4"),
              std::string::npos)
        << outcome.out;
  }
  EXPECT_EQ(kvx_run(tiny({"--baseline", run, "--tokens", "65"})).code, 2);
  for (bench::Session& session : document.sessions) session.device = "Another device";
  test::write_file(run + "/bench.json", bench::document_json(document).dump());
  for (const char* option : {"--baseline", "--out"}) {
    const Outcome outcome = kvx_run(tiny({option, run}));
    EXPECT_EQ(outcome.code, 2);
    EXPECT_NE(outcome.err.find("measured on Another device (cpu), this is"), std::string::npos)
        << outcome.err;
  }
}

TEST(BenchCli, TakesPeersIntoItsTables) {
  test::TempDir dir;
  const std::string run = dir / "run", file = dir / "peers.json";
  ASSERT_EQ(kvx_run(tiny({"--out", run})).code, 0);
  bench::Document peers{{test::bench_session("peers")},
                        {test::bench_record("torch:flash", BenchOp::kAttend, 1e-3, 8192, 16)}};
  peers.records[0].shape = bench::read_document(run).records.at(0).shape;
  peers.sessions[0].absent = {{"torch:cudnn, this shape", "no kernel"}};
  const auto with_peers = [&] {
    test::write_file(file, bench::document_json(peers).dump());
    return kvx_run(tiny({"--peers", file, "--out", run}));
  };
  const Outcome other = with_peers();
  EXPECT_EQ(other.code, 2);
  EXPECT_NE(other.err.find("peers.json: measured on A device, this is "), std::string::npos)
      << other.err;
  peers.sessions[0].device = bench::read_document(run).sessions.at(0).device;
  const Outcome outcome = with_peers();
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const char* part :
       {"torch:flash", "over best fp16 peer", "not run: torch:cudnn, this shape: no kernel"})
    EXPECT_NE(outcome.out.find(part), std::string::npos) << outcome.out;
  EXPECT_EQ(bench::read_document(run).records.size(), 2u);
  EXPECT_EQ(kvx_run(tiny({"--peers", run})).code, 2);
}

TEST(BenchCli, ReportsRunsAsAPage) {
  test::TempDir dir;
  bench::Document document{{test::bench_session()},
                           {test::bench_record("int@1:k4v4", BenchOp::kAttend, 1e-3, 1000000000),
                            test::bench_record("int@1:k4v4", BenchOp::kAppend, 4e-6, 32768),
                            test::bench_record("kivi@1:k2v2", BenchOp::kAttend, 0.8e-3, 600000000),
                            test::bench_record("kivi@1:k2v2", BenchOp::kEncode, 2e-3, 2000000000)}};
  const auto write = [&](const std::string& name) {
    std::filesystem::create_directories(dir / name);
    test::write_file(dir / (name + "/bench.json"), bench::document_json(document).dump());
    return dir / name;
  };
  const std::string old = write("old"), page = dir / "page";
  const Outcome outcome = kvx_run({"report", old, "--out", page});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::string html = test::read_file(page + "/index.html");
  const auto count = [&](const std::string& pattern) {
    const std::regex regex(pattern);
    return std::distance(std::sregex_iterator(html.begin(), html.end(), regex),
                         std::sregex_iterator());
  };
  EXPECT_EQ(count("<svg "), 2);     // attention and encode
  EXPECT_EQ(count("</table>"), 3);  // and append
  EXPECT_EQ(count("<tr><td"), 4);
  EXPECT_EQ(count("<circle "), 3);
  EXPECT_EQ(count("nan|<script|https?:|src="), 0);
  EXPECT_NE(html.find("kvx bench --scheme int:k4v4"), std::string::npos);
  const std::string csv = test::read_file(page + "/table.csv");
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 5);

  document.records[0].seconds = test::spread(2e-3);
  const Outcome worse = kvx_run({"report", write("new"), "--baseline", old});
  EXPECT_EQ(worse.code, 1);
  EXPECT_NE(worse.out.find("SLOWER: attend int:k4v4"), std::string::npos) << worse.out;
  EXPECT_EQ(kvx_run({"report", old, "--baseline", dir / "new"}).code, 0);
  document.sessions[0].device = "Another";
  EXPECT_EQ(kvx_run({"report", write("other"), "--baseline", old}).code, 2);
  EXPECT_EQ(kvx_run({"report", old, dir / "none"}).code, 2);
  EXPECT_EQ(kvx_run({"report", old, "--out", old}).code, 2);
}

}  // namespace
}  // namespace kvx
