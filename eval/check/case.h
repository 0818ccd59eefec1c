// A case of `kvx check` as data: everything that decides what a cache is asked and what it must
// show. Its text is one line of key=value words:
//
//   scheme=kivi:k2v2 heads=8/2 dim=64 k=ties v=heavy seed=3 steps=254,1x4
//
// Keys with a default (check.md) may be absent. The same keys stand in a saved case's JSON.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/api/cache.h"
#include "sim/gen/fill.h"

namespace kvx::check {

// What is done to all sequences of a case, in order.
struct Step {
  enum Kind : uint8_t {
    kAppend,  // `count` tokens to sequence 0, max(1, count - i) to sequence i
    kFork,    // a fork of sequence 0 joins the others
    kCut,     // the last `count` tokens are dropped
    kSettle
  };
  Kind kind = kAppend;
  int64_t count = 0;
  bool operator==(const Step&) const = default;
};

// What the letters of a step's count stand for: a group along tokens and a window.
struct StepLetters {
  int64_t g = 32;
  int64_t r = 128;
};

// "254,1x4,fork,cut3,settle"; a count may be "g", "r-1", "2r+1". Throws a usage Error naming the
// word.
std::vector<Step> parse_steps(std::string_view text, const StepLetters& letters = {});
std::string steps_text(const std::vector<Step>& steps);

struct Case {
  std::string name;    // "kivi/borders/12"; not part of the text
  std::string scheme;  // descriptor
  int q_heads = 2;
  int kv_heads = 1;
  int dim = 64;
  gen::Fill k = gen::Fill::kNormal;
  gen::Fill v = gen::Fill::kNormal;
  gen::Fill q = gen::Fill::kNormal;
  uint64_t seed = 1;  // an odd one pads the rows of every tensor given and returned
  std::vector<Step> steps;
  int batch = 1;  // sequences that are open from the start
  Windows windows = Windows::kKept;
  NonFinite nonfinite = NonFinite::kRefuse;
  Arithmetic arithmetic = Arithmetic::kIeee;  // of attention
  bool inspect_each = false;                  // content after every append, not only the last
  bool attend_each = false;                   // attention after every append, not only the last

  bool operator==(const Case&) const = default;
  int64_t tokens() const;  // of sequence 0 at the end
};

// Throws a usage Error naming key and value.
Case parse_case(std::string_view text);
std::string case_text(const Case& one);

// A file with a "case": {"scheme": ..., ...}. read_case throws a usage Error naming the file,
// write_case a not-saved Error.
Case read_case(const std::string& path);
void write_case(const std::string& path, const Case& one, const std::string& why);

// What the keys of a case's text accept.
std::pair<int, int> parse_heads(std::string_view text);  // "8/2": query heads, KV heads
Windows parse_windows(std::string_view text);            // kept, none
NonFinite parse_nonfinite(std::string_view text);        // refuse, propagate
Arithmetic parse_arithmetic(std::string_view text);      // ieee, fixed

}  // namespace kvx::check
