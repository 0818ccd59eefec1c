// How the answer to a word problem is found in an output and compared: the two filters and the
// normalisation of task `gsm8k`, version 3, of lm-evaluation-harness. Texts are bytes; the patterns
// name ASCII alone.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "eval/number.h"
#include "eval/tasks/task.h"

namespace kvx::eval {

inline constexpr std::string_view kInvalid = "[invalid]";

// The group of the first match of `#### (\-?[0-9\.\,]+)`, or kInvalid.
std::string strict_match(std::string_view output);

// The last of the matches, left to right and without overlap, of
// `(-?[$0-9.,]{2,})|(-?[0-9]+)`, or kInvalid.
std::string flexible_extract(std::string_view output);

// What is compared: without `,`, without `$`, without what `.*#### ` matches (`.` is any byte),
// without what `\.$` matches (`$` also stands before a last line end), in this order; lower case.
std::string normalised(std::string_view answer);

// Readings "strict" and "flexible"; score 1 where the normalised extract equals `gold`, which is
// normalised already, else 0.
std::vector<Reading> read_answer(std::string_view output, std::string_view gold);

// The above for run.json.
Json answer_filters();

}  // namespace kvx::eval
