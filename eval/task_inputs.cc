#include "eval/task_inputs.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "eval/unit.h"
#include "eval/window_record.h"

namespace kvx::eval {
namespace {

constexpr std::array<std::string_view, 1> kTasks{"ppl"};

}  // namespace

std::vector<std::string> parse_tasks(const std::vector<std::string>& texts) {
  std::vector<std::string> names;
  for (const std::string& name : split_commas(texts)) check_choice("--task", name, kTasks);
  for (const std::string_view known : kTasks) {
    const std::vector<std::string> asked = split_commas(texts);
    if (std::find(asked.begin(), asked.end(), known) != asked.end()) names.emplace_back(known);
  }
  if (names.empty()) names.push_back(task_name(kPplTask));
  return names;
}

void add_task_options(boost::program_options::options_description&) {}

std::vector<std::unique_ptr<Task>> make_tasks(const Options&, const std::vector<std::string>&,
                                              const model::Tokenizer&) {
  return {};
}

}  // namespace kvx::eval
