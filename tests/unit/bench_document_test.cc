// Statistics, the document of `kvx bench`, and its comparison with a baseline.
#include "tests/support/bench_document.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <regex>
#include <set>

#include "eval/bench/baseline.h"
#include "eval/bench/roofline.h"
#include "eval/bench/table.h"
#include "sim/api/error.h"
#include "tests/support/temp_dir.h"

namespace kvx::bench {
namespace {

using test::bench_record;
using test::bench_session;
using test::kBenchShape;

std::string refused(const std::function<void()>& call, Exit exit) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.exit(), exit) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "not refused";
  return "";
}

TEST(BenchSpread, IsLinearBetweenOrderStatistics) {
  // Ranks of 11 values are whole: the 2nd, 6th and 10th.
  const Spread spread = spread_of({10, 1, 9, 2, 8, 3, 7, 4, 6, 5, 11});
  EXPECT_EQ(spread, (Spread{.median = 6, .p10 = 2, .p90 = 10, .samples = 11}));
  // Of 1, 2, 3, 4: rank 1.5, 0.3, 2.7 from 0.
  const Spread four = spread_of({4, 2, 1, 3});
  EXPECT_DOUBLE_EQ(four.median, 2.5);
  EXPECT_DOUBLE_EQ(four.p10, 1.3);
  EXPECT_DOUBLE_EQ(four.p90, 3.7);
}

TEST(BenchSpread, IsJudgedBySpreadAndTolerance) {
  const Spread before{.median = 100, .p10 = 95, .p90 = 110, .samples = 30};
  const auto at = [&](double median) {
    return judge(before, {.median = median, .p10 = median, .p90 = median, .samples = 30});
  };
  EXPECT_EQ(at(109), Judgement::kSame);  // more than 2 %, inside the spread
  EXPECT_EQ(at(111), Judgement::kSlower);
  EXPECT_EQ(at(96), Judgement::kSame);
  EXPECT_EQ(at(94), Judgement::kFaster);
  const Spread narrow{.median = 100, .p10 = 99.9, .p90 = 100.1, .samples = 30};
  const auto near = [&](double median) {
    return judge(narrow, {.median = median, .p10 = median, .p90 = median, .samples = 30});
  };
  EXPECT_EQ(near(101.9), Judgement::kSame);  // outside the spread, less than 2 %
  EXPECT_EQ(near(102.1), Judgement::kSlower);
  EXPECT_EQ(near(98.1), Judgement::kSame);
  EXPECT_EQ(near(97.9), Judgement::kFaster);
}

TEST(BenchDocument, ComesBackFromItsJson) {
  Document document{{bench_session(), bench_session("peers")},
                    {bench_record("int@1:k4v4", BenchOp::kAttend, 1e-3, 1000000000),
                     bench_record("torch:flash", BenchOp::kAttend, 2e-3, 4000000000, 16)}};
  document.records[1].session = 1;
  document.records[1].check = OutputCheck{"binary64", 1e-4, 1e-3};
  document.sessions[1].absent = {{"torch:cudnn", "no kernel"}};
  const Json json = document_json(document);
  // 1 GB in 1 ms, of 2 TB/s.
  EXPECT_DOUBLE_EQ(json["records"][0]["of_read"].get<double>(), 0.5);
  const Document back = parse_document(Json::parse(json.dump()), "x");
  EXPECT_EQ(document_json(back), json);
}

// Names of all fields of a document but those inside `made`.
void field_names(const Json& json, std::set<std::string>& names) {
  if (json.is_array())
    for (const Json& one : json) field_names(one, names);
  if (!json.is_object()) return;
  for (const auto& [name, value] : json.items()) {
    names.insert(name);
    if (name != "made") field_names(value, names);
  }
}

TEST(BenchDocument, EveryFieldIsOnTheSchemaPage) {
  Document document{{bench_session()}, {bench_record("int@1:k4v4", BenchOp::kAttend, 1e-3, 1000)}};
  document.records[0].check = OutputCheck{"binary64", 1e-4, 1e-3};
  document.sessions[0].absent = {{"torch:cudnn", "no kernel"}};
  std::set<std::string> names;
  field_names(document_json(document), names);
  EXPECT_GT(names.size(), 30u);
  const std::string page = test::read_file(KVX_SCHEMA_PAGE);
  for (const std::string& name : names)
    EXPECT_TRUE(page.find("`" + name + "`") != std::string::npos ||
                page.find("." + name + "`") != std::string::npos)
        << name;
}

struct Damage {
  const char* name;
  const char* path;  // JSON pointer
  Json value;        // null: removed
  const char* says;
};

TEST(BenchDocument, DamageIsNamed) {
  const Document document{{bench_session()},
                          {bench_record("int@1:k4v4", BenchOp::kAttend, 1e-3, 1000)}};
  const std::vector<Damage> all{
      {"schema", "/schema", "kvx-bench/2", "schema is kvx-bench/2"},
      {"lists", "/records", 3, "records is no list"},
      {"session", "/records/0/session", 1, "records[0].session is 1, there are 1"},
      {"op", "/records/0/op", "sort", "records[0].op is sort"},
      {"bytes", "/records/0/bytes", 0, "records[0].bytes is 0"},
      {"shape", "/records/0/shape/tokens", 0.5, "records[0].shape.tokens is 0.5"},
      {"time", "/records/0/seconds/median", "fast", "records[0].seconds.median"},
      {"order", "/records/0/seconds/p90", 1e-9, "not 1e-15 <= p10 <= median <= p90 <= 1e+18"},
      {"rate", "/sessions/0/read/p10", 0, "sessions[0].read"},
      {"lines", "/records/0/name", "two\nlines", "records[0].name is not one line"},
      {"missing", "/sessions/0/device", nullptr, "sessions[0].device is missing"},
  };
  for (const Damage& damage : all) {
    SCOPED_TRACE(damage.name);
    Json json = document_json(document);
    const Json::json_pointer at(damage.path);
    if (damage.value.is_null()) {
      json[at.parent_pointer()].erase(at.back());
    } else {
      json[at] = damage.value;
    }
    const std::string said =
        refused([&] { parse_document(json, "a/bench.json"); }, Exit::kEnvironment);
    EXPECT_TRUE(said.starts_with("a/bench.json: ")) << said;
    EXPECT_NE(said.find(damage.says), std::string::npos) << said;
  }
}

TEST(BenchDocument, MeasuredAgainIsReplaced) {
  Document document{{bench_session()},
                    {bench_record("int@1:k4v4", BenchOp::kAttend, 1e-3, 1000),
                     bench_record("int@1:k4v4", BenchOp::kStep, 1e-3, 1000)}};
  Record wider = bench_record("int@1:k4v4", BenchOp::kAttend, 3e-3, 1000);
  wider.shape.sequences = 9;
  const Document more{{bench_session()},
                      {bench_record("int@1:k4v4", BenchOp::kAttend, 2e-3, 1000), wider}};
  merge(document, more);
  ASSERT_EQ(document.records.size(), 3u);
  EXPECT_EQ(document.records[0].seconds.median, 2e-3);
  EXPECT_EQ(document.records[0].session, 1u);
  EXPECT_EQ(document.records[1].session, 0u);
  EXPECT_EQ(document.records[2].shape.sequences, 9);

  document.sessions.insert(document.sessions.begin() + 1, bench_session("idle"));
  document.records[0].session = document.records[2].session = 2;
  drop_idle_sessions(document);
  ASSERT_EQ(document.sessions.size(), 2u);
  EXPECT_EQ(document.sessions[1].source, "kvx");
  EXPECT_EQ(document.records[0].session, 1u);
  EXPECT_EQ(document.records[1].session, 0u);
  document.records.clear();
  document.sessions[0].absent = {{"x", "y"}};
  drop_idle_sessions(document);
  EXPECT_EQ(document.sessions.size(), 1u);
}

TEST(BenchBaseline, NamesWhatIsSlower) {
  const Document before{{bench_session()},
                        {bench_record("int@1:k4v4", BenchOp::kAttend, 1e-3, 1000),
                         bench_record("int@1:k4v4", BenchOp::kStep, 1e-3, 1000),
                         bench_record("kivi@1:k2v2", BenchOp::kAttend, 1e-3, 1000),
                         bench_record("fp@1:f16", BenchOp::kAttend, 1e-3, 1000)}};
  Document after = before;
  after.records[0].seconds = test::spread(1.05e-3);
  after.records[1].seconds = test::spread(0.5e-3);
  after.records[2].seconds = test::spread(1.005e-3);
  after.records[3].name = "fp@2:f16";
  const Comparison comparison = compare(after, before);
  EXPECT_EQ(comparison.changes.size(), 3u);
  EXPECT_EQ(comparison.slower(), 1);
  EXPECT_FALSE(comparison.good());
  const std::string text = comparison_text(comparison);
  for (const char* part : {"SLOWER: attend int:k4v4, 32/8 x 128, batch 8, 32768 tokens: 1000.00 us",
                           "1050.00 us now, +5.0 %", "faster: step int:k4v4", "-50.0 %",
                           "not in the baseline: attend fp:f16", "in the baseline alone: attend fp",
                           "3 compared, 1 slower"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_EQ(text.find("kivi"), std::string::npos) << text;
  EXPECT_TRUE(compare(before, before).good());
  EXPECT_FALSE(compare(before, {{bench_session()}, {}}).good());
}

TEST(BenchBaseline, IgnoresPeers) {
  Document before{{bench_session(), bench_session("peers")},
                  {bench_record("int@1:k4v4", BenchOp::kAttend, 1e-3, 1000),
                   bench_record("torch:flash", BenchOp::kAttend, 1e-3, 1000)}};
  before.records[1].session = 1;
  Document after = before;
  after.records[1].seconds = test::spread(9e-3);
  EXPECT_EQ(compare(after, before).changes.size(), 1u);
  EXPECT_TRUE(compare(after, before).good());
}

TEST(BenchBaseline, RefusesOtherDevicesAndShapes) {
  const Document before{{bench_session()},
                        {bench_record("int@1:k4v4", BenchOp::kAttend, 1e-3, 1000)}};
  check_comparable(before, "runs/a", "cuda", "A device", {kBenchShape});
  EXPECT_EQ(
      refused([&] { check_comparable(before, "runs/a", "cuda", "Another", {}); }, Exit::kUsage),
      "--baseline runs/a: measured on A device (cuda), this is Another (cuda)");
  EXPECT_NE(
      refused([&] { check_comparable(before, "runs/a", "cpu", "A device", {}); }, Exit::kUsage),
      "");
  BenchShape other = kBenchShape;
  other.queries = 4;
  EXPECT_EQ(
      refused(
          [&] {
            check_comparable(before, "runs/a", "cuda", "A device", {kBenchShape, other});
          },
          Exit::kUsage),
      "--baseline runs/a: has no measurement of 32/8 x 128, batch 8, 32768 tokens, 4 queries");
}

TEST(BenchTable, HasRatesAndThePeer) {
  Document document{{bench_session(), bench_session("peers")},
                    {bench_record("int@1:k4v4", BenchOp::kAttend, 1e-3, 1000000000),
                     bench_record("int@1:k4v4", BenchOp::kAppend, 4e-6, 32768),
                     bench_record("int@1:k4v4", BenchOp::kEncode, 2e-3, 1000000000),
                     bench_record("torch:cudnn", BenchOp::kAttend, 4e-3, 4000000000, 16),
                     bench_record("torch:flash", BenchOp::kAttend, 5e-3, 4000000000, 16)}};
  document.records[3].session = document.records[4].session = 1;
  document.records[0].cold = false;
  const report::Grid attend = op_grid(document, BenchOp::kAttend);
  EXPECT_EQ(attend.head,
            (std::vector<std::string>{"#", "scheme", "shape", "bits/value", "MB", "us", "p10",
                                      "p90", "GB/s", "of read", "over best fp16 peer"}));
  ASSERT_EQ(attend.rows.size(), 3u);
  EXPECT_EQ(attend.rows[0],
            (std::vector<std::string>{"1", "int:k4v4", "32/8 x 128, batch 8, 32768 tokens", "4.500",
                                      "1000.000", "1000.00 *", "990.00", "1010.00", "1000.0",
                                      "0.500", "4.00"}));
  EXPECT_EQ(attend.rows[2].back(), "0.80");
  const report::Grid append = op_grid(document, BenchOp::kAppend);
  EXPECT_EQ(append.head.back(), "p90");
  const report::Grid encode = op_grid(document, BenchOp::kEncode);
  // 1 GB in 2 ms: 0.5 TB/s, of 2 and of 1.
  EXPECT_EQ(encode.rows[0].back(), "0.500");
  EXPECT_EQ(encode.rows[0][encode.rows[0].size() - 2], "0.250");
  EXPECT_EQ(note_lines(document).size(), 1u);
  const std::string csv = document_csv(document);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), 6);
}

// A point at the measured bandwidth lies on the line, one at half of it a constant height above.
TEST(BenchRoofline, ThePointAtTheBandwidthLiesOnTheLine) {
  const Document document{{bench_session()},
                          {bench_record("int@1:k2v2", BenchOp::kAttend, 1e-3, 2000000000),
                           bench_record("int@1:k4v4", BenchOp::kAttend, 1e-2, 10000000000)}};
  const std::string svg = roofline_plot(document, BenchOp::kAttend, {60, 20, 400, 300});
  const auto numbers = [&](const std::string& pattern) {
    std::vector<std::vector<double>> found;
    const std::regex regex(pattern);
    for (std::sregex_iterator at(svg.begin(), svg.end(), regex), end; at != end; ++at) {
      found.emplace_back();
      for (size_t i = 1; i < at->size(); ++i) found.back().push_back(std::stod((*at)[i]));
    }
    return found;
  };
  const auto lines = numbers(
      "<line x1=\"([0-9.]+)\" y1=\"([0-9.]+)\" x2=\"([0-9.]+)\" y2=\"([0-9.]+)\" class=\"b\"/>");
  ASSERT_EQ(lines.size(), 1u) << svg;
  const auto line_y = [&](double x) {
    const auto& l = lines[0];
    return l[1] + (x - l[0]) * (l[3] - l[1]) / (l[2] - l[0]);
  };
  const auto points = numbers("<circle cx=\"([0-9.]+)\" cy=\"([0-9.]+)\"");
  ASSERT_EQ(points.size(), 2u) << svg;
  EXPECT_NEAR(points[0][1], line_y(points[0][0]), 0.2);
  EXPECT_LT(points[1][1], line_y(points[1][0]) - 10);
  EXPECT_NE(svg.find("read bandwidth, 2000 GB/s"), std::string::npos);
  EXPECT_NE(svg.find(">int:k4v4</text>"), std::string::npos);
}

}  // namespace
}  // namespace kvx::bench
