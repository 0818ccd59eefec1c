// The program: verbs, and errors turned into one line and an exit code.
#pragma once

#include <string>
#include <vector>

namespace kvx::eval {

// Runs `kvx` with the words after the program's name; returns the exit code (sim/api/error.h).
int run_program(const std::vector<std::string>& words);

// One per verb, in cmd_VERB.cc: the words after the verb; returns the exit code, throws kvx::Error.
int cmd_eval(const std::vector<std::string>& words);
int cmd_encode(const std::vector<std::string>& words);
int cmd_decode(const std::vector<std::string>& words);
int cmd_capture(const std::vector<std::string>& words);
int cmd_gen(const std::vector<std::string>& words);
int cmd_check(const std::vector<std::string>& words);
int cmd_verify(const std::vector<std::string>& words);
int cmd_calibrate(const std::vector<std::string>& words);
int cmd_list(const std::vector<std::string>& words);
int cmd_explain(const std::vector<std::string>& words);
int cmd_report(const std::vector<std::string>& words);
int cmd_reproduce(const std::vector<std::string>& words);
int cmd_bench(const std::vector<std::string>& words);
int cmd_doctor(const std::vector<std::string>& words);

}  // namespace kvx::eval
