// Run folders as a report reads them, and what it makes of the numbers.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <map>
#include <sstream>

#include "eval/plot_scatter.h"
#include "eval/report/evidence.h"
#include "eval/report/figures.h"
#include "eval/report/score.h"
#include "tests/support/expect_refused.h"
#include "tests/support/run_folder.h"

namespace kvx::report {
namespace {

namespace fs = std::filesystem;
using test::run_header;
using test::sample_line;
using test::window_line;
using test::write_run;

Model load_one(const std::string& folder) {
  std::vector<report::Run> runs;
  runs.push_back(load_run(folder));
  return std::move(merge(std::move(runs)).front());
}

const Row& row_of(const Table& table, const std::string& label) {
  for (const Row& row : table.rows)
    if (row.label == label) return row;
  throw std::runtime_error("no row " + label);
}

std::vector<std::string> published() {
  std::vector<std::string> folders;
  for (const auto& entry : fs::directory_iterator(KVX_PUBLISHED))
    if (fs::exists(entry.path() / "results.jsonl")) folders.push_back(entry.path().string());
  return folders;
}

// Fields of a CSV line; a scheme is quoted.
std::vector<std::string> fields(const std::string& line) {
  std::vector<std::string> out(1);
  bool quoted = false;
  for (const char c : line) {
    if (c == '"') {
      quoted = !quoted;
    } else if (c == ',' && !quoted) {
      out.emplace_back();
    } else {
      out.back() += c;
    }
  }
  return out;
}

// table.csv of the folders was written by `kvx eval` from the scores of every position.
TEST(Score, AgreesWithTheTablesOfPublishedRuns) {
  ASSERT_GE(published().size(), 5u);
  for (const std::string& folder : published()) {
    std::map<std::string, Table> tables;
    for (Table& table : score_all(load_one(folder)))
      if (table.kind == Kind::kWindows) tables.emplace(table.mode, std::move(table));
    std::istringstream csv(test::read_file(folder + "/table.csv"));
    std::string line;
    std::getline(csv, line);
    const std::vector<std::string> names = fields(line);
    size_t rows = 0;
    for (; std::getline(csv, line); ++rows) {
      std::map<std::string, std::string> of;
      const std::vector<std::string> values = fields(line);
      for (size_t i = 0; i < names.size(); ++i) of[names[i]] = values.at(i);
      SCOPED_TRACE(folder + " " + of["mode"] + " " + of["scheme"]);
      const auto near = [&of](const char* name, double value) {
        const double expected = std::stod(of[name]);
        EXPECT_NEAR(value, expected, 1e-11 * std::max(1.0, std::abs(expected))) << name;
      };
      const Row& row = row_of(tables.at(of["mode"]), eval::scheme_label(of["scheme"]));
      EXPECT_TRUE(row.whole);
      EXPECT_EQ(row.units, std::stoll(of["windows"]));
      near("bits", row.bits());
      near("bits_k", row.bits(0));
      near("nominal_v", row.nominal[1]);
      near("ppl", row.value);
      near("kl_mean", row.kl_mean);
      near("same_top", row.same_top);
      if (of["delta_ppl_low"].empty()) continue;
      near("delta_ppl", *row.delta);
      near("delta_ppl_low", row.delta_interval->low);
      near("delta_ppl_high", row.delta_interval->high);
    }
    size_t scored = 0;
    for (const auto& [mode, table] : tables) scored += table.rows.size();
    EXPECT_EQ(rows, scored) << folder;
  }
}

TEST(Load, LeavesATornLineOut) {
  test::TempDir folder;
  const std::string run =
      write_run(folder / "run", run_header({"int@1:k4v4"}, {"ppl"}),
                {window_line("fp@1:f32", 0, 1), window_line("int@1:k4v4", 0, 2)});
  const std::string whole = test::read_file(run + "/results.jsonl");
  EXPECT_EQ(load_run(run).units.size(), 2u);
  for (const size_t cut : {size_t{1}, size_t{100}}) {
    test::write_file(run + "/results.jsonl", whole.substr(0, whole.size() - cut));
    const report::Run torn = load_run(run);
    EXPECT_EQ(torn.units.size(), 1u);
    ASSERT_EQ(torn.notes.size(), 1u);
    EXPECT_NE(torn.notes.front().find("line 2"), std::string::npos);
  }
}

TEST(Load, TheLastLineOfAUnitHolds) {
  test::TempDir folder;
  Json again = window_line("fp@1:f32", 0, 1);
  again["backends"].push_back(again["backends"][0]);
  again["backends"][1]["name"] = "cuda";
  const std::string run =
      write_run(folder / "run", run_header({}, {"ppl"}), {window_line("fp@1:f32", 0, 1), again});
  const report::Run loaded = load_run(run);
  ASSERT_EQ(loaded.units.size(), 1u);
  EXPECT_EQ(loaded.units.front().runs.size(), 2u);
}

TEST(Load, RefusesWhatIsNoLineOfARun) {
  const std::vector<std::pair<std::string, std::function<void(Json&)>>> damages{
      {"schema", [](Json& line) { line["schema"] = "kvx-result/9"; }},
      {"schema", [](Json& line) { line["schema"] = "kvx-error/1"; }},
      {"nll_mean", [](Json& line) { line.erase("nll_mean"); }},
      {"bits", [](Json& line) { line["nll_mean"]["bits"] = "12"; }},
      {"add up", [](Json& line) { line["bytes"]["k"]["scale"] = 1; }},
      {"codes", [](Json& line) { line["bytes"]["v"]["codes"] = -1; }},
      {"values", [](Json& line) { line["values"] = 0; }},
      {"values", [](Json& line) { line["values"] = 1.5; }},
      {"values", [](Json& line) { line["values"] = int64_t{1} << 60; }},
      {"same_top", [](Json& line) { line["same_top"] = 64; }},
      {"seconds", [](Json& line) { line["backends"][0]["timing"]["seconds"] = 0; }},
      {"backends", [](Json& line) { line["backends"] = Json::array(); }},
      {"task", [](Json& line) { line["task"] = "other@1"; }},
      {"task", [](Json& line) { line["task"] = "ppl@2"; }},
      {"tokens", [](Json& line) { line["tokens"] = 0; }},
      {"window", [](Json& line) { line["window"] = "0"; }},
      {"nominal", [](Json& line) { line.erase("nominal_bits"); }},
      {"string", [](Json& line) { line["scheme"] = 4; }},
      {"number", [](Json& line) { line = 7; }}};
  test::TempDir folder;
  for (const auto& [word, damage] : damages) {
    SCOPED_TRACE(word);
    Json line = window_line("fp@1:f32", 0, 1);
    damage(line);
    const std::string run =
        write_run(folder / "run", run_header({}, {"ppl"}), {line, window_line("fp@1:f32", 1, 1)});
    test::expect_refused([&] { load_run(run); }, {"results.jsonl: line 1", word});
  }
  for (const Json& line : {sample_line("needle@1", "fp@1:f32", "a", {}, {}),
                           sample_line("needle@1", "fp@1:f32", "a", {}, {1.5}),
                           sample_line("needle@1", "fp@1:f32", "a", {}, {NAN}),
                           test::error_line("fp@1:f32", 0, {{0, 0, 0, 0}})}) {
    const std::string run = write_run(folder / "run", run_header({}, {"needle", "error"}),
                                      {line, sample_line("needle@1", "fp@1:f32", "b", {}, {1})});
    test::expect_refused([&] { load_run(run); }, {"results.jsonl: line 1"});
  }
}

TEST(Load, RefusesWhatIsNoRun) {
  test::TempDir folder;
  EXPECT_THROW(load_run(folder / "nothing"), Error);
  fs::create_directories(folder / "empty");
  EXPECT_THROW(load_run(folder / "empty"), Error);
  for (const char* field : {"schema", "identity", "schemes", "seed", "sessions", "model"}) {
    SCOPED_TRACE(field);
    Json header = run_header({}, {"ppl"});
    header.erase(field);
    const std::string run = write_run(folder / "run", header, {});
    test::expect_refused([&] { load_run(run); }, {"run.json", field});
  }
  const std::string packed = write_run(folder / "packed", run_header({}, {"ppl"}), {});
  fs::rename(packed + "/results.jsonl", packed + "/results.jsonl.xz");
  test::expect_refused([&] { load_run(packed); }, {"results.jsonl", "unpack"});
}

// Four samples in each of two cells; the base has 1 of 4 in the second.
std::vector<Json> needles() {
  const test::Cell near{{"kind", "single"}, {"length", "256"}, {"depth", "0"}};
  const test::Cell far{{"kind", "single"}, {"length", "1024"}, {"depth", "0"}};
  std::vector<Json> lines;
  for (int i = 0; i < 4; ++i) {
    const std::string id = std::to_string(i);
    lines.push_back(sample_line("needle@1", "fp@1:f32", "n" + id, near, {1}, 32));
    lines.push_back(sample_line("needle@1", "fp@1:f32", "f" + id, far, {i == 0 ? 1. : 0.}, 32));
    lines.push_back(sample_line("needle@1", "int@1:k2v2", "n" + id, near, {i < 3 ? 1. : 0.}, 2));
    lines.push_back(sample_line("needle@1", "int@1:k2v2", "f" + id, far, {1}, 2));
  }
  return lines;
}

TEST(Score, CountsCellsThatTheBaseCanDo) {
  test::TempDir folder;
  const Model model =
      load_one(write_run(folder / "run", run_header({"int@1:k2v2"}, {"needle"}), needles()));
  const std::vector<Table> tables = score_all(model);
  ASSERT_EQ(tables.size(), 1u);
  const Table& table = tables.front();
  ASSERT_EQ(table.cells.size(), 2u);
  for (const Cell& cell : table.cells) {
    const bool far = cell.place.at(1).second == "1024";
    EXPECT_EQ(cell.base, far ? 0.25 : 1);
    EXPECT_EQ(cell.kept, !far);
  }
  const Row& row = row_of(table, "int:k2v2");
  EXPECT_EQ(row.value, 0.75);  // and not 7 of 8
  EXPECT_EQ(*row.delta, -0.25);
  EXPECT_EQ(row.lost, 1);
  EXPECT_EQ(row.gained, 0);
  EXPECT_EQ(*row.p, 1);  // one discordant pair
  EXPECT_EQ(row.bits(), 2);
  // Wilson (1927) of 3 of 4: (0.3006, 0.9544).
  EXPECT_NEAR(row.interval->low, 0.3006, 1e-4);
  EXPECT_NEAR(row.interval->high, 0.9544, 1e-4);

  const std::vector<NamedMap> maps = cell_maps(table, row);
  ASSERT_EQ(maps.size(), 1u);
  EXPECT_EQ(maps.front().map.columns, (std::vector<std::string>{"256", "1024"}));
  const std::vector<Shaded>& cells = maps.front().map.cells.front();
  EXPECT_EQ(cells[0].text, "75");
  EXPECT_FALSE(cells[0].struck);
  EXPECT_TRUE(cells[1].struck);
}

TEST(Score, ATaskThatTheBaseFailsIsShownButDoesNotCount) {
  test::TempDir folder;
  std::vector<Json> lines;
  // Right are 3 of 8, all of them with an even number of steps: cells of other tasks than needle
  // are not judged by themselves.
  for (int i = 0; i < 8; ++i)
    for (const char* scheme : {"fp@1:f32", "int@1:k2v2"})
      lines.push_back(sample_line("gsm8k@1", scheme, std::to_string(i),
                                  {{"steps", std::to_string(i % 2)}},
                                  {i % 2 == 0 && i < 6 ? 1. : 0., i < 2 ? 1. : 0.}));
  const Model model =
      load_one(write_run(folder / "run", run_header({"int@1:k2v2"}, {"gsm8k"}), lines));
  const Table table = score_all(model).front();
  EXPECT_EQ(table.cells.size(), 1u);
  EXPECT_FALSE(table.kept());
  const Row& row = row_of(table, "int:k2v2");
  EXPECT_EQ(row.value, 0.375);
  ASSERT_EQ(row.readings.size(), 2u);
  EXPECT_EQ(row.readings[1].filter, "flexible");
  EXPECT_EQ(row.readings[1].value, 0.25);
}

TEST(Score, NamesHoles) {
  test::TempDir folder;
  std::vector<Json> lines;
  for (int window = 0; window < 3; ++window) {
    lines.push_back(window_line("fp@1:f32", window, 1, 0, 32));
    if (window > 0) lines.push_back(window_line("int@1:k4v4", window, 1.5, 0.1));
  }
  Json header = run_header({"int@1:k4v4", "kivi@1:k2v2"}, {"ppl"});
  header["measured"]["ppl"] = {{"modes", {"streamed"}}, {"windows", 5}};
  const Model model = load_one(write_run(folder / "run", header, lines));
  const Table table = score_all(model).front();
  EXPECT_EQ(table.units, 3);
  EXPECT_EQ(table.holes,
            (std::vector<std::string>{"3 of 5 windows asked for", "int:k4v4: 2 of 3 units"}));
  EXPECT_EQ(table.missing, std::vector<std::string>{"kivi:k2v2"});
  const Row& row = row_of(table, "int:k4v4");
  EXPECT_FALSE(row.whole);
  EXPECT_DOUBLE_EQ(*row.delta, std::exp(1.5) - std::exp(1.0));
}

TEST(Score, MeansOfErrorsByLayer) {
  test::TempDir folder;
  const Model model = load_one(
      write_run(folder / "run", run_header({"int@1:k4v4"}, {"error"}),
                {test::error_line("int@1:k4v4", 0, {{0.1, 0.2, 0.3, 0.5}, {0, 0, 0, 0.25}}),
                 test::error_line("int@1:k4v4", 1, {{0.3, 0.2, 0.3, 1.0}, {0, 0, 0, 0.25}})}));
  const Row row = score_all(model).front().rows.front();
  EXPECT_DOUBLE_EQ(row.layers[0][0], 0.2);
  EXPECT_DOUBLE_EQ(row.layers[0][3], 0.75);
  EXPECT_DOUBLE_EQ(row.layers[1][3], 0.25);
  EXPECT_DOUBLE_EQ(row.value, 0.5);
}

TEST(Merge, ComparesWhatTwoRunsMeasured) {
  test::TempDir folder;
  Json on_cuda = window_line("fp@1:f32", 0, 1);
  on_cuda["backends"][0]["name"] = "cuda";
  const Json header = run_header({}, {"ppl"});
  const std::string a = write_run(folder / "a", header, {window_line("fp@1:f32", 0, 1)});
  const std::string b = write_run(folder / "b", header, {on_cuda});
  const std::string c = write_run(folder / "c", header, {window_line("fp@1:f32", 0, 2)});
  const auto merged = [](const std::string& one, const std::string& other) {
    std::vector<report::Run> runs;
    runs.push_back(load_run(one));
    runs.push_back(load_run(other));
    return merge(std::move(runs));
  };
  const Evidence equal = evidence_of(merged(a, b).front());
  EXPECT_EQ(equal.units, 1);
  EXPECT_EQ(equal.equal, 1);
  EXPECT_EQ(equal.by_backend, (std::map<std::string, int64_t>{{"cpu", 1}, {"cuda", 1}}));
  EXPECT_EQ(equal.repeated, 1);
  EXPECT_TRUE(equal.good());
  const Evidence other = evidence_of(merged(a, c).front());
  EXPECT_EQ(other.conflicts, std::vector<std::string>{"ppl@1/streamed/0/fp@1:f32"});
  EXPECT_FALSE(other.good());
}

TEST(Merge, KeepsModelsAndProtocolsApart) {
  test::TempDir folder;
  Json longer = run_header({}, {"ppl"}), model = longer;
  longer["tasks"]["ppl"]["length"] = 128;
  model["identity"]["model_sha256"] = std::string(64, 'b');
  std::vector<report::Run> runs;
  for (const auto& [name, header] :
       std::map<std::string, Json>{{"a", run_header({}, {"ppl"})}, {"b", longer}, {"c", model}})
    runs.push_back(load_run(write_run(folder / name, header, {window_line("fp@1:f32", 0, 1)})));
  const std::vector<Model> models = merge(std::move(runs));
  ASSERT_EQ(models.size(), 2u);
  const std::vector<Table> tables = score_all(models[0]);
  ASSERT_EQ(tables.size(), 2u);
  EXPECT_EQ(tables[0].suffix, ", length 64");
  EXPECT_EQ(tables[1].suffix, ", length 128");
}

TEST(Front, IsWhatNothingElseBeats) {
  eval::Scatter scatter;
  scatter.points = {{"a", "", 2, 0.5},
                    {"b", "", 4, 0.4},
                    {"c", "", 4, 0.9},
                    {"d", "", 8, 0.9},
                    {"e", "", 9, 1.0}};
  scatter.more_is_better = true;
  EXPECT_EQ(eval::front_of(scatter), (std::vector<size_t>{0, 2, 4}));
  scatter.more_is_better = false;
  EXPECT_EQ(eval::front_of(scatter), (std::vector<size_t>{0, 1}));
  scatter.cap = 0.45;
  EXPECT_EQ(eval::front_of(scatter), (std::vector<size_t>{1}));
}

}  // namespace
}  // namespace kvx::report
