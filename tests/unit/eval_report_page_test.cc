// `kvx report` as a person runs it: pages, tables, and comparisons with a baseline.
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <regex>
#include <set>
#include <sstream>

#include "tests/support/program.h"
#include "tests/support/run_folder.h"

namespace kvx::report {
namespace {

namespace fs = std::filesystem;
using eval::Json;
using test::error_line;
using test::kvx_run;
using test::Outcome;
using test::run_header;
using test::sample_line;
using test::window_line;
using test::write_run;

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = 0; (at = text.find(part, at)) != std::string::npos; at += part.size()) ++found;
  return found;
}

// Every opened element is closed in order, but for those that HTML never closes.
bool well_formed(const std::string& html) {
  static const std::set<std::string> kVoid{"meta", "!DOCTYPE"};
  static const std::regex kTag("<(/?)([!A-Za-z0-9]+)[^<>]*?(/?)>");
  std::vector<std::string> open;
  for (std::sregex_iterator at(html.begin(), html.end(), kTag), end; at != end; ++at) {
    const std::string name = (*at)[2];
    if (kVoid.contains(name) || (*at)[3].length() > 0) continue;
    if ((*at)[1].length() == 0) {
      open.push_back(name);
    } else {
      if (open.empty() || open.back() != name) return false;
      open.pop_back();
    }
  }
  return open.empty();
}

// Every row of a table has a cell for each column.
void expect_even_tables(const std::string& html) {
  for (size_t at = 0; (at = html.find("<table>", at)) != std::string::npos; ++at) {
    std::istringstream lines(html.substr(at, html.find("</table>", at) - at));
    size_t columns = 0;
    for (std::string line; std::getline(lines, line);) {
      if (const size_t heads = count(line, "</th>"); heads > 0) columns = heads;
      if (const size_t cells = count(line, "</td>"); cells > 0) {
        EXPECT_EQ(cells, columns) << line;
      }
    }
    EXPECT_GT(columns, 0u);
  }
}

const std::vector<std::string> kSchemes{"int@1:k4v4", "kivi@1:k2v2"};

// All tasks, the base and two schemes. nll: added to perplexity's; right: of 20 samples of a task.
std::vector<Json> all_tasks(double nll = 0, int right = 16) {
  std::vector<Json> lines;
  std::vector<std::string> schemes{"fp@1:f32"};
  schemes.insert(schemes.end(), kSchemes.begin(), kSchemes.end());
  for (const std::string& scheme : schemes) {
    const bool base = scheme == schemes.front();
    const double bits = base ? 32 : scheme == kSchemes.front() ? 4 : 2, loss = base ? 0 : 1 / bits;
    for (int window = 0; window < 8; ++window)
      lines.push_back(window_line(scheme, window,
                                  2 + 0.1 * window + loss + (base ? 0 : nll + 1e-3 * window * nll),
                                  loss, bits));
    for (int i = 0; i < 20; ++i)
      lines.push_back(sample_line("arith@1", scheme, std::to_string(i), {{"shots", "8"}},
                                  {base || i < right ? 1. : 0., 1.}, bits));
    for (const char* length : {"256", "512"})
      for (const char* depth : {"0", "100"})
        lines.push_back(sample_line("needle@1", scheme, std::string(length) + "-" + depth,
                                    {{"kind", "single"}, {"length", length}, {"depth", depth}},
                                    {base || *depth == '0' ? 1. : 0.}, bits));
    lines.push_back(error_line(scheme, 0, {{loss, loss, loss, loss}, {0, 0, 0, loss / 2}}, bits));
  }
  return lines;
}

const std::vector<std::string> kTasks{"ppl", "arith", "needle", "error"};

class ReportTest : public testing::Test {
 protected:
  std::string run(const std::string& name, const std::vector<Json>& lines,
                  const Json& header = run_header(kSchemes, kTasks)) {
    return write_run(folder_ / name, header, lines);
  }
  test::TempDir folder_;
};

TEST_F(ReportTest, WritesPagesThatStandAlone) {
  const std::string out = folder_ / "page";
  const Outcome outcome = kvx_run({"report", run("a", all_tasks()), "--out", out});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  std::set<std::string> pages;
  for (const auto& entry : fs::directory_iterator(out))
    if (entry.path().extension() == ".html") pages.insert(entry.path().filename());
  EXPECT_EQ(pages, (std::set<std::string>{"index.html", "scheme-fp-f32.html",
                                          "scheme-int-k4v4.html", "scheme-kivi-k2v2.html"}));
  for (const std::string& page : pages) {
    SCOPED_TRACE(page);
    const std::string html = test::read_file(out + "/" + page);
    EXPECT_TRUE(well_formed(html));
    expect_even_tables(html);
    for (const char* outer : {"<script", "http:", "https:", "src=", "@import", "url("})
      EXPECT_EQ(count(html, outer), 0u) << outer;
    EXPECT_EQ(count(html, "nan"), 0u);
    static const std::regex kLink("href=\"([^\"]+)\"");
    for (std::sregex_iterator at(html.begin(), html.end(), kLink), end; at != end; ++at) {
      const std::string link = (*at)[1];
      if (link.front() == '#') {
        EXPECT_EQ(count(html, "id=\"" + link.substr(1) + "\""), 1u) << link;
      } else {
        EXPECT_TRUE(fs::exists(out + "/" + link)) << link;
      }
    }
  }
  const std::string index = test::read_file(out + "/index.html");
  // Perplexity, divergence, arith, needle, error; a needle map a scheme; four strips.
  EXPECT_EQ(count(index, "<svg"), 5u + 3 + 4);
  EXPECT_NE(index.find("kvx eval --data 'a text.txt'"), std::string::npos);
  EXPECT_NE(index.find(test::kHash), std::string::npos);
  EXPECT_NE(index.find("No unit was computed by two backends."), std::string::npos);
  const std::string scheme = test::read_file(out + "/scheme-kivi-k2v2.html");
  EXPECT_NE(scheme.find("k.head0"), std::string::npos);
}

TEST_F(ReportTest, TheSameRunsGiveTheSameBytes) {
  const std::string a = run("a", all_tasks());
  for (const char* out : {"one", "two"})
    ASSERT_EQ(kvx_run({"report", a, "--out", folder_ / out}).code, 0);
  for (const auto& entry : fs::directory_iterator(folder_ / "one")) {
    const std::string name = entry.path().filename();
    std::string one = test::read_file(entry.path()), two = test::read_file(folder_ / "two/" + name);
    // The command that made it is on the page.
    if (name == "index.html")
      two.replace(two.find(folder_ / "two"), (folder_ / "two").size(), folder_ / "one");
    EXPECT_EQ(one, two) << name;
  }
}

TEST_F(ReportTest, TableHasEveryTaskModeSchemeAndReading) {
  ASSERT_EQ(kvx_run({"report", run("a", all_tasks()), "--out", folder_ / "page"}).code, 0);
  const std::string csv = test::read_file(folder_ / "page/table.csv");
  // The head; of 3 schemes ppl, two readings of arith, needle, error.
  EXPECT_EQ(count(csv, "\n"), 1u + 3 * (1 + 2 + 1 + 1));
  const size_t fields = count(csv.substr(0, csv.find('\n')), ",");
  std::istringstream lines(csv);
  for (std::string line; std::getline(lines, line);) EXPECT_EQ(count(line, ","), fields) << line;
  EXPECT_NE(csv.find(",arith,streamed,\"int@1:k4v4\",20,20,1,4,4,4,4,4,score,strict,0.8,"),
            std::string::npos);
}

TEST_F(ReportTest, EscapesWhatItIsTold) {
  Json header = run_header(kSchemes, kTasks);
  header["model"]["path"] = "<b>&\"m\".gguf";
  header["sessions"][0]["command"] = {"kvx", "</pre><script>"};
  std::vector<Json> lines = all_tasks();
  lines.push_back(window_line("<i>@1:x", 0, 2, 0.1));
  ASSERT_EQ(kvx_run({"report", run("a", lines, header), "--out", folder_ / "page"}).code, 0);
  const std::string index = test::read_file(folder_ / "page/index.html");
  EXPECT_TRUE(well_formed(index));
  EXPECT_EQ(count(index, "<script") + count(index, "<b>&") + count(index, "<i>"), 0u);
  EXPECT_NE(index.find("&lt;b&gt;&amp;&quot;m&quot;.gguf"), std::string::npos);
  EXPECT_NE(test::read_file(folder_ / "page/scheme--i--x.html").find("not shown"),
            std::string::npos);
}

TEST_F(ReportTest, ReadsEveryPublishedRun) {
  std::vector<std::string> words{"report"};
  for (const auto& entry : fs::directory_iterator(KVX_PUBLISHED))
    if (fs::exists(entry.path() / "results.jsonl")) words.push_back(entry.path());
  words.insert(words.end(), {"--out", folder_ / "page"});
  const Outcome outcome = kvx_run(words);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::string index = test::read_file(folder_ / "page/index.html");
  EXPECT_TRUE(well_formed(index));
  EXPECT_EQ(count(index, "<h2>"), 4u);  // three models and the last section
  EXPECT_TRUE(fs::exists(folder_ / "page/scheme-m2-kivi-k2v2.html") ||
              fs::exists(folder_ / "page/scheme-kivi-k2v2.html"));
}

TEST_F(ReportTest, EqualRunsHaveNoRegression) {
  const std::string a = run("a", all_tasks()), b = run("b", all_tasks());
  const Outcome outcome = kvx_run({"report", a, "--baseline", b, "--junit", folder_ / "j.xml"});
  EXPECT_EQ(outcome.code, 0) << outcome.out << outcome.err;
  EXPECT_EQ(count(outcome.out, "equal bits"), 12u);  // 3 schemes, 4 tasks
  EXPECT_NE(outcome.out.find("12 compared, 0 worse"), std::string::npos);
  const std::string junit = test::read_file(folder_ / "j.xml");
  EXPECT_EQ(count(junit, "<testcase "), 12u);
  EXPECT_EQ(count(junit, "<failure"), 0u);
}

TEST_F(ReportTest, NamesWhatBecameWorse) {
  const std::string before = run("before", all_tasks());
  // Every window of both schemes is 0.05 nats worse: 3 of 12 rows stay, of arith 8 of 16 samples
  // are lost, p = 2 / 2^8 = 0.0078.
  const std::string after = run("after", all_tasks(0.05, 8));
  const Outcome outcome =
      kvx_run({"report", after, "--baseline", before, "--junit", folder_ / "j.xml"});
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  EXPECT_NE(outcome.out.find("WORSE    ppl, streamed: int:k4v4: perplexity "), std::string::npos);
  EXPECT_NE(outcome.out.find("WORSE    arith, streamed: kivi:k2v2: mean score 0.8 -> 0.4"),
            std::string::npos);
  EXPECT_NE(outcome.out.find("p 0.0078"), std::string::npos);
  EXPECT_NE(outcome.out.find("12 compared, 4 worse"), std::string::npos);
  EXPECT_EQ(count(test::read_file(folder_ / "j.xml"), "<failure"), 4u);

  const Outcome better = kvx_run({"report", before, "--baseline", after});
  EXPECT_EQ(better.code, 0);
  EXPECT_NE(better.out.find("changed  ppl, streamed: int:k4v4: perplexity "), std::string::npos);
}

TEST_F(ReportTest, AChangeThatMayBeChanceIsNone) {
  // Of 16 right answers 4 are lost: p = 2 / 2^4 = 0.125.
  const Outcome outcome =
      kvx_run({"report", run("after", all_tasks(0, 12)), "--baseline", run("before", all_tasks())});
  EXPECT_EQ(outcome.code, 0) << outcome.out;
  EXPECT_NE(outcome.out.find("p 0.12"), std::string::npos);
}

TEST_F(ReportTest, ComparesBitsAndSpeed) {
  const Json here = run_header({}, {"ppl"}), there = run_header({}, {"ppl"}, "there");
  const auto line = [](double bits, double seconds) {
    Json one = window_line("int@1:k4v4", 0, 2, 0.1, bits);
    one["backends"][0]["timing"]["seconds"] = seconds;
    return std::vector<Json>{one};
  };
  const std::string base = run("base", line(4, 1), here);
  const auto compared = [&](const std::string& with) {
    return kvx_run({"report", with, "--baseline", base});
  };
  Outcome outcome = compared(run("bigger", line(4.5, 1), here));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.out.find("bits per value 4 -> 4.5"), std::string::npos);
  outcome = compared(run("slower", line(4, 1.25), here));
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.out.find("WORSE    ppl, streamed: int:k4v4: cpu 0.8 times as fast\n"),
            std::string::npos);
  outcome = compared(run("elsewhere", line(4, 1.25), there));
  EXPECT_EQ(outcome.code, 0);
  EXPECT_NE(outcome.out.find("not known to be the same machine"), std::string::npos);
  EXPECT_EQ(compared(run("little", line(4, 1.05), here)).code, 0);
}

TEST_F(ReportTest, NothingInCommonIsAVerdict) {
  const std::string a = run("a", {window_line("int@1:k4v4", 0, 1)}, run_header({}, {"ppl"}));
  const std::string b = run("b", {window_line("int@1:k8v8", 0, 1)}, run_header({}, {"ppl"}));
  const Outcome outcome = kvx_run({"report", a, "--baseline", b});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.out.find("nothing in common"), std::string::npos);
  EXPECT_NE(outcome.out.find("baseline alone  tiny.gguf: ppl, streamed: int:k8v8"),
            std::string::npos);
}

TEST_F(ReportTest, RunsThatContradictEachOtherAreAVerdict) {
  const Json header = run_header({}, {"ppl"});
  const std::string a = run("a", {window_line("fp@1:f32", 0, 1)}, header);
  const std::string b = run("b", {window_line("fp@1:f32", 0, std::nextafter(1.0, 2.0))}, header);
  const Outcome outcome = kvx_run({"report", a, b});
  EXPECT_EQ(outcome.code, 1);
  EXPECT_NE(outcome.err.find("ppl@1/streamed/0/fp@1:f32"), std::string::npos);
}

TEST_F(ReportTest, RefusesWrongCommandLines) {
  const std::string a = run("a", all_tasks());
  const std::vector<std::pair<std::vector<std::string>, std::string>> wrong{
      {{"report"}, "run folder"},
      {{"report", folder_ / "none"}, "none"},
      {{"report", a, "--out", a}, "--out"},
      {{"report", a, "--junit", "x"}, "--baseline"},
      {{"report", a, "--bseline", a}, "--baseline"}};
  for (const auto& [words, part] : wrong) {
    const Outcome outcome = kvx_run(words);
    EXPECT_EQ(outcome.code, 2) << part;
    EXPECT_NE(outcome.err.find(part), std::string::npos) << outcome.err;
    EXPECT_EQ(count(outcome.err, "\n"), 1u);
  }
  test::write_file(folder_ / "file", "");
  EXPECT_EQ(kvx_run({"report", a, "--out", folder_ / "file"}).code, 4);
}

}  // namespace
}  // namespace kvx::report
