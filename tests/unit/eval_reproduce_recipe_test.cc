// Recipes: what is read of them, and how bad ones are refused.
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "eval/number.h"
#include "eval/reproduce/recipe.h"
#include "eval/reproduce/shipped.h"
#include "sim/api/descriptor.h"
#include "tests/support/expect_refused.h"
#include "tests/support/temp_dir.h"

namespace kvx::reproduce {
namespace {

using eval::Json;

Json small() {
  return Json::parse(R"({
    "schema": "kvx-recipe/1", "name": "small", "title": "A small recipe",
    "paper": {"citation": "Nobody", "arxiv": "0000.00000"},
    "protocol": {"tasks": ["ppl", "error"], "modes": ["all", "streamed"], "length": 96,
                 "windows": 3, "error_windows": 2},
    "calibrations": [{"name": "scales", "scheme": "fp8:e4m3,scale=tensor", "samples": 2,
                      "length": 64}],
    "tables": [{"title": "One", "columns": [{"id": "c", "title": "Model", "reference": "Table 1"}],
      "metrics": ["ppl/all", "error.k/streamed"],
      "rows": [{"id": "a", "scheme": "int:k4v4", "bits": "4", "paper": {"c": 5.5}},
               {"id": "b", "label": "B", "scheme": "fp8:e4m3,scale=tensor,cal=@scales",
                "paper": {"c": {"value": 6, "reference": "Table 2"}}}]}],
    "claims": [
      {"claim": "ordering", "text": "a beats b", "reference": "x", "metric": "ppl/all",
       "better": "a", "worse": "b"},
      {"claim": "bound", "text": "a is near", "reference": "x", "metric": "ppl/streamed",
       "row": "a", "relative": 0.1},
      {"claim": "ladder", "text": "b, a", "reference": "x", "metric": "error.out/all",
       "rows": ["b", "a"]}]})");
}

Recipe parse(const Json& json) { return parse_recipe(json.dump(), "small.json"); }

TEST(Recipe, IsReadWhole) {
  const Recipe recipe = parse(small());
  EXPECT_EQ(recipe.name, "small");
  EXPECT_EQ(recipe.protocol.length, 96);
  EXPECT_EQ(recipe.protocol.windows, 3);
  EXPECT_EQ(recipe.protocol.error_windows, 2);
  ASSERT_EQ(recipe.calibrations.size(), 1u);
  EXPECT_TRUE(recipe.uses(recipe.calibrations[0]));
  const RecipeTable& table = recipe.tables.at(0);
  EXPECT_EQ(table.metrics.at(0).str(), "ppl/all");
  EXPECT_EQ(table.metrics.at(1).str(), "error.k/streamed");
  EXPECT_EQ(table.rows.at(0).label, "a");
  EXPECT_EQ(table.rows.at(0).paper.at("c").reference, "Table 1");
  EXPECT_EQ(table.rows.at(1).label, "B");
  EXPECT_EQ(table.rows.at(1).paper.at("c").value, 6);
  EXPECT_EQ(table.rows.at(1).paper.at("c").reference, "Table 2");
  ASSERT_EQ(recipe.claims.size(), 3u);
  EXPECT_EQ(recipe.claims[0].rows, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(recipe.claims[1].kind, ClaimKind::kBound);
  EXPECT_EQ(recipe.claims[1].rows, (std::vector<std::string>{"a", kBaseRow}));
  EXPECT_TRUE(recipe.claims[1].relative);
  EXPECT_EQ(recipe.claims[1].margin, 0.1);
  EXPECT_EQ(recipe.claims[2].kind, ClaimKind::kLadder);
}

TEST(Recipe, ArtifactsTakeTheirPlaces) {
  const std::map<std::string, std::string> artifacts{{"x", "#0123"}, {"x-1%", "#4567"}};
  EXPECT_EQ(with_artifacts("fp8:e4m3,cal=@x,scale=tensor", artifacts),
            "fp8:e4m3,cal=#0123,scale=tensor");
  EXPECT_EQ(with_artifacts("a:b=(c:d=@x-1%),e=@x", artifacts), "a:b=(c:d=#4567),e=#0123");
  EXPECT_EQ(with_artifacts("kivi@1:k2v2", artifacts), "kivi@1:k2v2");
  EXPECT_THROW(with_artifacts("a:b=@y", artifacts), std::out_of_range);
}

TEST(Recipe, ACalibrationWithoutARowIsNotUsed) {
  Json json = small();
  json["tables"][0]["rows"][1]["scheme"] = "int:k2v2";
  const Recipe recipe = parse(json);
  EXPECT_FALSE(recipe.uses(recipe.calibrations.at(0)));
}

struct Bad {
  std::function<void(Json&)> change;
  std::vector<std::string> words;  // of the error, besides the file's name
};

TEST(Recipe, BadFieldsAreRefusedByName) {
  const std::vector<Bad> all{
      {[](Json& j) { j["schema"] = "kvx-recipe/9"; }, {"schema", "kvx-recipe/9"}},
      {[](Json& j) { j.erase("title"); }, {"title", "missing"}},
      {[](Json& j) { j["title"] = 7; }, {"title", "7"}},
      {[](Json& j) { j["title"] = "two\nlines"; }, {"title", "one line"}},
      {[](Json& j) { j["title"] = std::string(5000, 'x'); }, {"title", "5000"}},
      {[](Json& j) { j["name"] = "../up"; }, {"name", "../up"}},
      {[](Json& j) { j["extra"] = 1; }, {"extra", "unknown"}},
      {[](Json& j) {
         j["protocol"]["tasks"] = {"ppl", "gsm8k"};
       },
       {"protocol.tasks", "gsm8k"}},
      {[](Json& j) {
         j["protocol"]["tasks"] = {"ppl", "ppl"};
       },
       {"protocol.tasks", "once"}},
      {[](Json& j) { j["protocol"]["modes"] = Json::array(); }, {"protocol.modes", "0 entries"}},
      {[](Json& j) { j["protocol"]["length"] = 1; }, {"protocol.length", "1"}},
      {[](Json& j) { j["protocol"]["length"] = 1e300; }, {"protocol.length"}},
      {[](Json& j) { j["protocol"]["windows"] = -3; }, {"protocol.windows", "-3"}},
      {[](Json& j) { j["protocol"]["windows"] = "3"; }, {"protocol.windows", "3"}},
      {[](Json& j) { j["calibrations"][0]["scheme"] = "int:k4v4"; },
       {"calibrations[0].scheme", "int:k4v4"}},
      {[](Json& j) { j["calibrations"].push_back(j["calibrations"][0]); },
       {"calibrations[1].name", "scales"}},
      {[](Json& j) { j["calibrations"][0]["samples"] = 0; }, {"calibrations[0].samples", "0"}},
      {[](Json& j) { j["tables"] = Json::object(); }, {"tables", "a list"}},
      {[](Json& j) { j["tables"][0] = 4; }, {"tables[0]", "object"}},
      {[](Json& j) { j["tables"][0]["metrics"] = {"ppl/some"}; },
       {"tables[0].metrics", "ppl/some", "ppl/all"}},
      {[](Json& j) { j["tables"][0]["metrics"] = {"ppl"}; }, {"tables[0].metrics", "'ppl'"}},
      {[](Json& j) { j["tables"][0]["metrics"] = Json::array(); }, {"tables[0].metrics"}},
      {[](Json& j) { j["tables"][0]["columns"].push_back(j["tables"][0]["columns"][0]); },
       {"tables[0].columns[1].id", "'c'"}},
      {[](Json& j) { j["tables"][0]["rows"][1]["id"] = "a"; }, {"tables[0].rows[1].id", "'a'"}},
      {[](Json& j) { j["tables"][0]["rows"][1]["id"] = kBaseRow; }, {"rows[1].id", kBaseRow}},
      {[](Json& j) { j["tables"][0]["rows"][0]["scheme"] = "int:k99v4"; },
       {"tables[0].rows[0].scheme", "int:k99v4"}},
      {[](Json& j) { j["tables"][0]["rows"][0]["scheme"] = "nosuch:k2"; },
       {"tables[0].rows[0].scheme", "nosuch"}},
      {[](Json& j) { j["tables"][0]["rows"][1]["scheme"] = "fp8:e4m3,scale=tensor,cal=@other"; },
       {"tables[0].rows[1].scheme", "@other", "scales"}},
      {[](Json& j) {
         j["tables"][0]["rows"][0]["paper"] = {{"d", 1}};
       },
       {"tables[0].rows[0].paper", "'d'", "column"}},
      {[](Json& j) { j["tables"][0]["rows"][0]["paper"]["c"] = "5.5"; },
       {"tables[0].rows[0].paper.c", "a number"}},
      {[](Json& j) { j["tables"][0]["rows"][0]["sheme"] = "x"; }, {"rows[0].sheme", "unknown"}},
      {[](Json& j) { j["claims"][0]["claim"] = "wish"; }, {"claims[0].claim", "wish"}},
      {[](Json& j) { j["claims"][0]["better"] = "z"; }, {"claims[0].better", "'z'"}},
      {[](Json& j) { j["claims"][0]["worse"] = "a"; }, {"claims[0]", "twice"}},
      {[](Json& j) { j["claims"][0]["metric"] = "speed/all"; }, {"claims[0].metric", "speed/all"}},
      {[](Json& j) { j["claims"][1].erase("relative"); }, {"claims[1].absolute", "missing"}},
      {[](Json& j) { j["claims"][1]["absolute"] = 1; }, {"claims[1].relative"}},
      {[](Json& j) { j["claims"][1]["relative"] = -1; }, {"claims[1].relative", "-1"}},
      {[](Json& j) { j["claims"][1]["metric"] = "kl/all"; }, {"claims[1].relative", "kl"}},
      {[](Json& j) { j["claims"][2]["rows"] = {"a"}; }, {"claims[2].rows", "1 entries"}},
      {[](Json& j) {
         j["claims"][2]["rows"] = {"a", 5};
       },
       {"claims[2].rows[1]", "number"}}};
  for (const Bad& bad : all) {
    Json json = small();
    bad.change(json);
    SCOPED_TRACE(bad.words.front());
    std::vector<std::string> words = bad.words;
    words.emplace_back("small.json");
    test::expect_refused([&] { parse(json); }, words);
  }
}

TEST(Recipe, WhatIsNoRecipeIsRefused) {
  const std::string text = small().dump();
  for (const std::string& bad :
       {std::string(), std::string("{"), std::string("[1]"), std::string("null"),
        std::string(5000, '['), text.substr(0, text.size() / 2),
        std::string(R"({"schema": "kvx-recipe/1", "schema": "kvx-recipe/1"})"),
        std::string("{\"schema\": \"\xff\"}"), std::string(R"({"schema": 1e999})")})
    test::expect_refused([&] { parse_recipe(bad, "small.json"); }, {"small.json"});
}

TEST(Recipe, FilesAreReadAndBounded) {
  test::TempDir folder;
  const std::string path = folder / "small.json";
  test::write_file(path, small().dump());
  EXPECT_EQ(open_recipe(path).tables.size(), 1u);
  test::write_file(path, std::string((1 << 20) + 1, ' '));
  test::expect_refused([&] { open_recipe(path); }, {"small.json", "1048577"});
  test::expect_refused([&] { open_recipe(folder / "absent.json"); }, {"absent.json"});
}

// Every descriptor parses: parse_recipe refuses others.
TEST(Shipped, AreWhole) {
  std::set<std::string> names;
  for (const ShippedRecipe& shipped : shipped_recipes()) {
    SCOPED_TRACE(shipped.name);
    const Recipe recipe = open_recipe(std::string(shipped.name));
    EXPECT_EQ(recipe.name, shipped.name);
    EXPECT_FALSE(recipe.claims.empty());
    for (const Calibration& one : recipe.calibrations) EXPECT_TRUE(recipe.uses(one)) << one.name;
    names.insert(recipe.name);
  }
  EXPECT_EQ(names, (std::set<std::string>{"kivi", "kvquant"}));
}

const RecipeRow& row_of(const Recipe& recipe, const std::string& id) {
  for (const RecipeTable& table : recipe.tables)
    for (const RecipeRow& row : table.rows)
      if (row.id == id) return row;
  throw std::runtime_error("no row " + id);
}

// Section 3 of the ablation in the order of the paper, each rung one change.
TEST(Shipped, KvquantHasTheLadderAtThreeWidths) {
  const Recipe recipe = open_recipe("kvquant");
  for (const std::string bits : {"4", "3", "2"}) {
    const auto scheme = [&](const std::string& rung) {
      return row_of(recipe, bits + " bits: " + rung).scheme;
    };
    const std::string paper = ",profile=paper";
    EXPECT_EQ(scheme("per token"), "kvquant:int" + bits + ",s0,kaxis=token,rope=post" + paper);
    EXPECT_EQ(scheme("channel keys"), "kvquant:int" + bits + ",s0,rope=post" + paper + ",cb=@post");
    EXPECT_TRUE(scheme("keys before rotation").starts_with("kvquant:int" + bits + ",s0,profile"));
    EXPECT_TRUE(scheme("nuq").starts_with("kvquant:nuq" + bits + ",s0,profile"));
    EXPECT_TRUE(scheme("1 % outliers").starts_with("kvquant:nuq" + bits + ",o0.01,s0,profile"));
    EXPECT_TRUE(scheme("sink").starts_with("kvquant:nuq" + bits + ",o0.01,s1,profile"));
    EXPECT_TRUE(scheme("Q-Norm").starts_with("kvquant:nuq" + bits + ",o0.01,s1,qnorm,profile"));
  }
  EXPECT_EQ(row_of(recipe, "nuq3-1%").paper.at("7b").value, 5.75);
  EXPECT_EQ(row_of(recipe, "int2").paper.at("7b").value, 11779);
}

}  // namespace
}  // namespace kvx::reproduce
