// The program from outside: exit codes, one line for people, data on standard output.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "eval/backend.h"
#include "eval/plan.h"
#include "eval/progress.h"
#include "eval/text_table.h"
#include "sim/api/error.h"
#include "tests/support/program.h"
#include "tests/support/tiny_model.h"

namespace kvx {
namespace {

namespace fs = std::filesystem;
using Words = std::vector<std::string>;

using test::kvx_run;
using test::Outcome;

struct Bad {
  const char* name;
  Words words;  // {model}, {text}, {dir} stand for a good model, a good text, a fresh folder
  int code;
  std::vector<std::string> says;
};

void PrintTo(const Bad& bad, std::ostream* out) { *out << bad.name; }

Words good_eval(const Words& more) {
  Words words{"eval",     "--model", "{model}", "--data",   "{text}",
              "--length", "64",      "--out",   "{dir}/run"};
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

std::string replaced(std::string text, const std::string& what, const std::string& with) {
  if (const size_t at = text.find(what); at != std::string::npos)
    text.replace(at, what.size(), with);
  return text;
}

class BadInput : public testing::TestWithParam<Bad> {};

TEST_P(BadInput, IsOneLineAndAnExitCode) {
  const Bad& bad = GetParam();
  test::TempDir dir;
  const std::string model = dir / "model", text = dir / "text.txt";
  test::TinyModelSpec spec;
  spec.head_dim = 32;
  test::write_tiny_model(model, spec);
  std::string words_of_text;
  for (int i = 0; i < 400; ++i) words_of_text += "word" + std::to_string(i * 37 % 101) + " ";
  test::write_file(text, words_of_text);
  test::write_file(dir / "latin1.txt", words_of_text + "\xe9 end");
  test::write_file(dir / "short.txt", "one two");
  test::write_file(dir / "file", "x");

  Words words;
  for (const std::string& word : bad.words)
    words.push_back(replaced(replaced(replaced(word, "{model}", model), "{text}", text), "{dir}",
                             dir.path().string()));
  const Outcome outcome = kvx_run(words);
  EXPECT_EQ(outcome.code, bad.code) << outcome.err;
  EXPECT_EQ(outcome.out, "");
  EXPECT_TRUE(outcome.err.starts_with("kvx: ")) << outcome.err;
  EXPECT_EQ(outcome.err.find('\n'), outcome.err.size() - 1) << outcome.err;
  for (const std::string& part : bad.says)
    EXPECT_NE(outcome.err.find(replaced(part, "{dir}", dir.path().string())), std::string::npos)
        << outcome.err;
  EXPECT_FALSE(fs::exists(dir / "run"));
}

INSTANTIATE_TEST_SUITE_P(
    All, BadInput,
    testing::Values(
        Bad{"Verb", {"evl"}, 2, {"unknown verb 'evl'", "'eval'"}},
        Bad{"Option",
            good_eval({"--shceme", "int4"}),
            2,
            {"unknown option '--shceme'", "'--scheme'"}},
        Bad{"OptionPrefix", good_eval({"--sch", "int4"}), 2, {"unknown option '--sch'"}},
        Bad{"OptionTwice", good_eval({"--length", "8"}), 2, {"--length"}},
        Bad{"OptionWithoutValue", good_eval({"--scheme"}), 2, {"--scheme"}},
        Bad{"StrayWord", good_eval({"int4"}), 2, {"unexpected word 'int4'"}},
        Bad{"NoModel", {"eval", "--data", "{text}"}, 2, {"--model is required"}},
        Bad{"NoData", {"eval", "--model", "{model}"}, 2, {"--data is required"}},
        Bad{"Task", good_eval({"--task", "pppl"}), 2, {"--task 'pppl'", "'ppl'"}},
        Bad{"Mode", good_eval({"--mode", "streemed"}), 2, {"--mode 'streemed'", "'streamed'"}},
        Bad{"ModeThatReadsNothing",
            good_eval({"--mode", "prefill-exact"}),
            2,
            {"--mode prefill-exact", "nothing quantised", "--context N"}},
        Bad{"ContextWithoutItsMode",
            good_eval({"--context", "8"}),
            2,
            {"--context", "prefill-exact and context-exact"}},
        Bad{"ContextOfTheWholeWindow",
            good_eval({"--mode", "context-exact", "--context", "64"}),
            2,
            {"--context '64'", "1 to 63"}},
        Bad{"ContextThatLeavesNothing",
            good_eval({"--mode", "context-exact", "--context", "63"}),
            2,
            {"--length 64, --context 63", "mode context-exact scores no position"}},
        Bad{"Protocol", good_eval({"--protocol", "gptk"}), 2, {"--protocol 'gptk'", "'gptq'"}},
        Bad{"ProtocolWithoutSecondHalf",
            {"eval", "--model", "{model}", "--data", "{text}", "--protocol", "llama.cpp",
             "--length", "2"},
            2,
            {"--length 2", "scores no position of protocol llama.cpp"}},
        Bad{"ProtocolAndFormat",
            good_eval({"--protocol", "llama.cpp", "--format", "wikitext-raw"}),
            2,
            {"--format wikitext-raw", "llama.cpp takes the bytes of the file"}},
        Bad{"ProtocolNeedsTwoWindows",
            {"eval", "--model", "{model}", "--data", "{dir}/short.txt", "--length", "7",
             "--protocol", "llama.cpp"},
            3,
            {"{dir}/short.txt: 6 tokens, fewer than the two windows of 7"}},
        Bad{"Bins", good_eval({"--bins", "0"}), 2, {"--bins '0'"}},
        Bad{"Scheme", good_eval({"--scheme", "kivvi:k2v2"}), 2, {"kivvi", "kivi"}},
        Bad{"SchemeKey",
            good_eval({"--scheme", "kivi:k2v2,profil=paper"}),
            2,
            {"profil", "profile"}},
        Bad{"SchemeValue", good_eval({"--scheme", "kivi:k3v2"}), 2, {"3"}},
        Bad{"SchemeForThisModel", good_eval({"--scheme", "kivi:k2v2,g64"}), 2, {"64", "32"}},
        Bad{"Braces", good_eval({"--scheme", "int:k{2,4v2"}), 2, {"{"}},
        Bad{"LengthNoNumber", good_eval({"--windows", "3x"}), 2, {"--windows '3x'"}},
        Bad{"WindowsZero", good_eval({"--windows", "0"}), 2, {"--windows '0'"}},
        Bad{"WindowsTooMany",
            good_eval({"--windows", "1000000"}),
            2,
            {"--windows 1000000", "text.txt"}},
        Bad{"LengthBeyondTheModel",
            {"eval", "--model", "{model}", "--data", "{text}", "--length", "513"},
            2,
            {"--length 513", "512 positions"}},
        Bad{"Threads", good_eval({"--threads", "-1"}), 2, {"-1"}},
        Bad{"NonFinite",
            good_eval({"--nonfinite", "ignore"}),
            2,
            {"--nonfinite 'ignore'", "refuse, propagate"}},
        Bad{"Arithmetic",
            good_eval({"--arithmetic", "fixt"}),
            2,
            {"--arithmetic 'fixt'", "'fixed'"}},
        Bad{"ArithmeticOfTheScheme",
            good_eval({"--arithmetic", "fixed", "--scheme", "int:k4v4", "--scheme", "fp8:e4m3"}),
            2,
            {"fp8:e4m3 has no arithmetic fixed: its codes are floats"}},
        Bad{"ArithmeticOfVPerChannel",
            good_eval({"--arithmetic", "fixed", "--scheme", "int:k4v4,vaxis=channel"}),
            2,
            {"int:k4v4,vaxis=channel has no arithmetic fixed"}},
        Bad{"ArithmeticAndNonFinite",
            good_eval({"--arithmetic", "fixed", "--scheme", "int:k4v4", "--nonfinite",
                       "propagate"}),
            2,
            {"int:k4v4 has no arithmetic fixed", "finite"}},
        Bad{"ModelMissing",
            {"eval", "--model", "{dir}/absent", "--data", "{text}"},
            3,
            {"{dir}/absent"}},
        Bad{"ModelNotAModel",
            {"eval", "--model", "{dir}/file", "--data", "{text}"},
            3,
            {"{dir}/file"}},
        Bad{"DataMissing",
            {"eval", "--model", "{model}", "--data", "{dir}/absent"},
            3,
            {"{dir}/absent", "No such file"}},
        Bad{"DataIsAFolder",
            {"eval", "--model", "{model}", "--data", "{dir}"},
            3,
            {"{dir}", "directory"}},
        Bad{"DataNotUtf8",
            {"eval", "--model", "{model}", "--data", "{dir}/latin1.txt", "--length", "64"},
            3,
            {"{dir}/latin1.txt"}},
        Bad{"DataTooShort",
            {"eval", "--model", "{model}", "--data", "{dir}/short.txt", "--length", "64"},
            3,
            {"{dir}/short.txt", "tokens, fewer than one window of 64"}},
        Bad{"BackendWord",
            good_eval({"--backend", "cpu,cud"}),
            2,
            {"--backend 'cud'", "did you mean 'cuda'?"}},
        Bad{"ShadowOfTheCpu", good_eval({"--shadow", "1"}), 2, {"--shadow: of --backend cuda"}},
        Bad{"OutUnderAFile",
            {"eval", "--model", "{model}", "--data", "{text}", "--length", "64", "--out",
             "{dir}/file/run"},
            4,
            {"{dir}/file/run", "Not a directory"}},
        Bad{"OutIsAFile",
            {"eval", "--model", "{model}", "--data", "{text}", "--length", "64", "--out",
             "{dir}/file"},
            2,
            {"{dir}/file", "not a folder"}},
        Bad{"OutUnwritable",
            {"eval", "--model", "{model}", "--data", "{text}", "--length", "64", "--out",
             "/proc/kvx"},
            4,
            {"/proc/kvx"}},
        Bad{"ExplainNothing", {"explain"}, 2, {"descriptor"}},
        Bad{"ExplainTwo", {"explain", "int4", "int8"}, 2, {"unexpected word 'int8'"}},
        Bad{"ExplainTooLong",
            {"explain", "int4", "--length", "1000000", "--kv-heads", "8"},
            2,
            {"--length 1000000", "--kv-heads 8"}},
        Bad{"ExplainHeadDim", {"explain", "kivi:k2v2", "--head-dim", "48"}, 2, {"48"}},
        Bad{"DoctorModel", {"doctor", "--model", "{dir}/absent"}, 3, {"{dir}/absent"}}),
    [](const testing::TestParamInfo<Bad>& param) { return param.param.name; });

TEST(Program, WithoutVerbPrintsUsageToPeople) {
  const Outcome outcome = kvx_run({});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("usage: kvx VERB"), std::string::npos);
}

TEST(Program, HelpOfEveryVerbIsData) {
  for (const Words& words : {Words{"help"},
                             {"--help"},
                             {"eval", "--help"},
                             {"list", "--help"},
                             {"explain", "--help"},
                             {"encode", "--help"},
                             {"decode", "--help"},
                             {"capture", "--help"},
                             {"calibrate", "--help"},
                             {"gen", "--help"},
                             {"verify", "--help"},
                             {"doctor", "--help"},
                             {"help", "eval"}}) {
    const Outcome outcome = kvx_run(words);
    EXPECT_EQ(outcome.code, 0) << words.front();
    EXPECT_NE(outcome.out.find("usage: kvx"), std::string::npos) << words.front();
    EXPECT_EQ(outcome.err, "");
  }
  EXPECT_EQ(kvx_run({"--version"}).out.rfind("kvx ", 0), 0u);
}

TEST(Program, ListNamesEverySchemeAndAlias) {
  const auto json = nlohmann::json::parse(kvx_run({"list", "--json"}).out);
  const std::string text = kvx_run({"list"}).out;
  ASSERT_EQ(json.at("schemes").size(), schemes().size());
  for (size_t i = 0; i < schemes().size(); ++i) {
    const SchemeSchema& scheme = schemes()[i];
    EXPECT_EQ(json.at("schemes")[i].at("name"), scheme.name);
    EXPECT_EQ(json.at("schemes")[i].at("keys").size(), scheme.keys.size());
    EXPECT_NE(text.find(std::string(scheme.summary)), std::string::npos);
  }
  EXPECT_EQ(json.at("aliases").size(), aliases().size());
}

// Whether CUDA can run is said the same way everywhere; where it cannot, asking for it is an error
// outside the program.
TEST(Program, CudaIsReadyOrSaysWhyNot) {
  const std::string reason = eval::backend_unavailable(eval::kCuda);
  const auto json = nlohmann::json::parse(kvx_run({"list", "--json"}).out);
  EXPECT_EQ(json.at("backends")[0].at("ready"), true);
  EXPECT_EQ(json.at("backends")[1].at("ready"), reason.empty());
  const auto doctor = nlohmann::json::parse(kvx_run({"doctor", "--json"}).out);
  const std::string names = " " + doctor.at("cuda_schemes").get<std::string>() + " ";
  for (const auto& scheme : json.at("schemes"))
    EXPECT_EQ(scheme.at("cuda").get<bool>(),
              names.find(" " + scheme.at("name").get<std::string>() + " ") != std::string::npos);
  if (reason.empty()) GTEST_SKIP() << "there is a device";
  EXPECT_EQ(json.at("backends")[1].at("reason"), reason);
  EXPECT_NE(kvx_run({"list"}).out.find(reason), std::string::npos);
  test::TempDir dir;
  for (const char* backends : {"cuda", "cpu,cuda"}) {
    const Outcome outcome = kvx_run({"eval", "--model", dir / "model", "--data", dir / "text.txt",
                                     "--out", dir / "run", "--backend", backends});
    EXPECT_EQ(outcome.code, 3);
    EXPECT_EQ(outcome.err, "kvx: --backend cuda: " + reason + "\n");
    EXPECT_FALSE(fs::exists(dir / "run"));
  }
}

// 2048 tokens, 3 heads of 64, groups of 32: 4 bits and two fp16 per 32 values make 5 bits.
TEST(Program, ExplainCountsTheBytesOfTheLayout) {
  const auto json = nlohmann::json::parse(kvx_run({"explain", "kivi:k4v4,r0", "--json"}).out);
  EXPECT_EQ(json.at("scheme"), "kivi:k4v4,r0");
  EXPECT_EQ(json.at("k").at("bits_per_value"), 5);
  EXPECT_EQ(json.at("k").at("bits_per_value_fraction"), "5");
  int64_t end = 0, total = 0;
  for (const auto& entry : json.at("layout")) {
    EXPECT_EQ(entry.at("offset"), end) << entry;
    end = entry.at("offset").get<int64_t>() + entry.at("bytes").get<int64_t>();
    total += entry.at("bytes").get<int64_t>();
  }
  EXPECT_EQ(total,
            json.at("k").at("bytes").get<int64_t>() + json.at("v").at("bytes").get<int64_t>());
  EXPECT_EQ(total, 2 * 2048 * 3 * 64 * 5 / 8);
}

TEST(Program, ExplainKeepsOrDropsTheWindow) {
  const auto bits = [](const char* windows) {
    const auto json = nlohmann::json::parse(
        kvx_run({"explain", "kivi:k2v2", "--length", "256", "--windows", windows, "--json"}).out);
    return json.at("v").at("bits_per_value").get<double>();
  };
  EXPECT_EQ(bits("none"), 3);
  EXPECT_EQ(bits("kept"), 3 + (16 - 3) * 0.5);  // 128 of 256 tokens are held in fp16
}

TEST(Program, ExplainShortensRunsOfBlocksUnlessAskedNot) {
  const std::string brief = kvx_run({"explain", "int4"}).out,
                    whole = kvx_run({"explain", "int4", "--all"}).out;
  EXPECT_NE(brief.find("more of these"), std::string::npos);
  EXPECT_EQ(whole.find("more of these"), std::string::npos);
  EXPECT_LT(std::count(brief.begin(), brief.end(), '\n'), 40);
  EXPECT_GT(std::count(whole.begin(), whole.end(), '\n'), 1000);
}

TEST(Program, DoctorOpensAModel) {
  test::TempDir dir;
  test::write_tiny_model(dir / "model", {});
  const Outcome outcome = kvx_run({"doctor", "--model", dir / "model", "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const auto json = nlohmann::json::parse(outcome.out);
  EXPECT_EQ(json.at("model").at("architecture"), "LlamaForCausalLM");
  EXPECT_EQ(json.at("model").at("sha256").get<std::string>().size(), 64u);
  EXPECT_NE(json.at("arithmetic").get<std::string>().find("nearest even"), std::string::npos);
  EXPECT_EQ(kvx_run({"doctor"}).code, 0);
}

TEST(Plan, SchemesAreExpandedAndMerged) {
  std::vector<std::string> notes;
  eval::ArtifactStore store;
  const auto schemes = eval::parse_schemes({"int:k{4,8}v4", "int4", "kivi:k2v2,g32"}, store,
                                           [&](const std::string& note) { notes.push_back(note); });
  Words texts;
  for (const Descriptor& scheme : schemes) texts.push_back(scheme.str());
  EXPECT_EQ(texts, (Words{"int:k4v4", "int:k8v4", "kivi:k2v2"}));
  ASSERT_EQ(notes.size(), 1u);
  EXPECT_NE(notes.front().find("int:k4v4 is named twice"), std::string::npos);
}

TEST(Plan, ModesByCommaOrRepeated) {
  using model::CacheMode;
  using Modes = std::vector<CacheMode>;
  const auto ppl = [](const Words& texts, bool context) {
    return eval::parse_modes(texts, {.ppl = true, .context = context}).ppl;
  };
  EXPECT_EQ(ppl({}, false), (Modes{CacheMode::kStreamed}));
  EXPECT_EQ(ppl({"all,streamed", "all"}, false), (Modes{CacheMode::kAll, CacheMode::kStreamed}));
  EXPECT_EQ(ppl({"streamed,context-exact", "prefill-exact"}, true),
            (Modes{CacheMode::kStreamed, CacheMode::kContextExact, CacheMode::kPrefillExact}));
  EXPECT_THROW(ppl({"all,"}, false), Error);
  EXPECT_THROW(ppl({"context-exact"}, false), Error);
  EXPECT_THROW(ppl({"all"}, true), Error);
}

TEST(Plan, EveryTaskTakesTheModesItKnows) {
  using model::CacheMode;
  using Modes = std::vector<CacheMode>;
  const auto both = [](const Words& texts) {
    return eval::parse_modes(texts, {.ppl = true, .generated = true});
  };
  EXPECT_EQ(both({}).ppl, (Modes{CacheMode::kStreamed}));
  EXPECT_EQ(both({}).generated, (Modes{CacheMode::kContextExact}));
  EXPECT_EQ(both({"all"}).ppl, (Modes{CacheMode::kAll}));
  EXPECT_EQ(both({"all"}).generated, (Modes{CacheMode::kContextExact}));
  EXPECT_EQ(both({"prefill-exact"}).ppl, (Modes{CacheMode::kStreamed}));
  EXPECT_EQ(both({"prefill-exact"}).generated, (Modes{CacheMode::kPrefillExact}));
  EXPECT_EQ(both({"streamed"}).ppl, both({"streamed"}).generated);
  EXPECT_THROW(eval::parse_modes({"all"}, {.generated = true}), Error);
  const auto error = [](const Words& texts, bool generated) {
    return eval::parse_modes(texts, {.error = true, .generated = generated}).error;
  };
  EXPECT_EQ(error({}, false), (Modes{CacheMode::kStreamed}));
  EXPECT_EQ(error({"all,streamed"}, false), (Modes{CacheMode::kAll, CacheMode::kStreamed}));
  EXPECT_EQ(error({"all"}, true), (Modes{CacheMode::kAll}));
  EXPECT_EQ(error({"context-exact"}, true), (Modes{CacheMode::kStreamed}));
  EXPECT_THROW(error({"context-exact"}, false), Error);
}

TEST(ProgressLine, ShowsShareAndTimeLeft) {
  EXPECT_EQ(eval::progress_line(0, 4, -1, "x", 8), "[........] 0/4  x");
  EXPECT_EQ(eval::progress_line(1, 4, 30, "x", 8), "[##......] 1/4  30 s left  x");
  EXPECT_EQ(eval::progress_line(4, 4, 600, "x", 8), "[########] 4/4  10 min left  x");
}

TEST(TextTable, AlignsAndEndsLinesCleanly) {
  EXPECT_EQ(eval::align_columns({{"a", "bb", "c"}, {"long", "1", ""}, {"x"}}, 1),
            "a     bb  c\nlong   1\nx\n");
  EXPECT_EQ(eval::thousands(-1234567), "-1,234,567");
  EXPECT_EQ(eval::thousands(123), "123");
  EXPECT_EQ(eval::thousands(-123), "-123");
}

}  // namespace
}  // namespace kvx
