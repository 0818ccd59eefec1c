#include "eval/task_inputs.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>

#include "eval/files.h"
#include "eval/tasks/arith.h"
#include "eval/tasks/gsm8k.h"
#include "eval/tasks/needle.h"
#include "eval/window_record.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;

constexpr std::array<std::string_view, 5> kTasks{"ppl", "error", "needle", "arith", "gsm8k"};

template <class T>
std::vector<T> integers(const Options& options, const std::string& name) {
  std::vector<T> numbers;
  for (const std::string& text : split_commas(options.list(name))) {
    T number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (error != std::errc() || end != text.data() + text.size())
      throw usage_error(fmt::format("--{} {}: not an integer", name, text));
    numbers.push_back(number);
  }
  return numbers;
}

uint32_t prompt_seed(const Options& options) {
  return static_cast<uint32_t>(options.integer("prompt-seed", 0, UINT32_MAX));
}

std::unique_ptr<Task> needle(const Options& options, const model::Tokenizer& tokenizer) {
  NeedleSettings settings;
  settings.kinds = split_commas(options.list("needle-kinds"));
  settings.lengths = integers<int64_t>(options, "needle-lengths");
  settings.depths = integers<int>(options, "needle-depths");
  settings.samples = options.integer("needle-samples", 1, INT32_MAX);
  settings.seed = prompt_seed(options);
  if (options.has("haystack")) {
    settings.haystack_path = options.required("haystack");
    settings.haystack = read_file(settings.haystack_path);
  } else if (std::ranges::any_of(settings.kinds,
                                 [](const auto& kind) { return kind != "passkey"; }))
    throw usage_error("--haystack: needed, a text file that needles are hidden in");
  if (options.has("words")) settings.words = read_needle_words(options.required("words"));
  return make_needle(settings, tokenizer);
}

std::unique_ptr<Task> arith(const Options& options, const model::Tokenizer&) {
  return make_arith({.shots = options.integer("arith-shots", 0, kMostArithShots),
                     .samples = options.integer("arith-samples", 1, kMostArithSamples),
                     .seed = prompt_seed(options)});
}

std::unique_ptr<Task> gsm8k(const Options& options, const model::Tokenizer& tokenizer) {
  const std::filesystem::path folder = options.required("gsm8k");
  Gsm8kSettings settings{.test_path = (folder / "test.jsonl").string(),
                         .train_path = (folder / "train.jsonl").string(),
                         .shots = options.integer("gsm8k-shots", 0, 64),
                         .limit = options.integer("gsm8k-limit", 0, INT32_MAX)};
  if (tokenizer.eos() >= 0) settings.end_of_text = tokenizer.piece(tokenizer.eos());
  return make_gsm8k(settings);
}

}  // namespace

std::vector<std::string> parse_tasks(const std::vector<std::string>& texts) {
  const std::vector<std::string> asked = split_commas(texts);
  for (const std::string& name : asked) check_choice("--task", name, kTasks);
  std::vector<std::string> names;
  for (const std::string_view known : kTasks)
    if (std::ranges::find(asked, known) != asked.end()) names.emplace_back(known);
  if (names.empty()) names.push_back(task_name(kPplTask));
  return names;
}

void add_task_options(po::options_description& options) {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  const auto list = [](const char* standard) {
    return po::value<std::vector<std::string>>()->value_name("X")->default_value(
        std::vector<std::string>{standard}, standard);
  };
  auto add = options.add_options();
  add("haystack", text(), "needle: text file, UTF-8, that needles are hidden in");
  add("needle-kinds", list("single,multikey4,multivalue4,multiquery4,passkey"),
      "needle: what is hidden: single, passkey, or multikeyN, multivalueN, multiqueryN");
  add("needle-lengths", list("1024,2048,4096"), "needle: tokens of prompt and answer");
  add("needle-depths", list("0,25,50,75,100"), "needle: places in the haystack, per cent");
  add("needle-samples", text()->default_value("1"), "needle: samples of every kind, length, depth");
  add("words", text(),
      "needle: words of the keys: a JSON file, or a folder of wonderwords' two lists (default: "
      "the program's own)");
  add("arith-shots", text()->default_value("8"), "arith: solved problems before each question");
  add("arith-samples", text()->default_value("200"), "arith: questions");
  add("gsm8k", text(), "gsm8k: folder with test.jsonl and train.jsonl");
  add("gsm8k-shots", text()->default_value("5"), "gsm8k: solved problems before each question");
  add("gsm8k-limit", text()->default_value("0"), "gsm8k: only so many of the first; 0: all");
  add("prompt-seed", text()->default_value("1"), "needle, arith: of what is drawn");
}

std::vector<std::unique_ptr<Task>> make_tasks(const Options& options,
                                              const std::vector<std::string>& names,
                                              const model::Tokenizer& tokenizer) {
  std::vector<std::unique_ptr<Task>> tasks;
  for (const std::string& name : names) {
    if (name == "needle") tasks.push_back(needle(options, tokenizer));
    if (name == "arith") tasks.push_back(arith(options, tokenizer));
    if (name == "gsm8k") tasks.push_back(gsm8k(options, tokenizer));
  }
  return tasks;
}

}  // namespace kvx::eval
