// Where the output of a greedy generation ends.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "eval/sample_record.h"
#include "sim/model/tokenizer.h"

namespace kvx::eval {

// Tokens of one output as they come.
class Output {
 public:
  // At most `most` tokens, one at least; the text ends before the first of `stops`, which are not
  // empty. A token that the model has and the tokenizer has not (padding of the vocabulary) has no
  // text.
  Output(const model::Tokenizer& tokenizer, int64_t most, const std::vector<std::string>& stops)
      : tokenizer_(tokenizer), most_(most), stops_(stops) {}

  // False for a token behind the end, which is not taken.
  bool add(int32_t token);
  bool ended() const { return ended_; }
  int64_t left() const { return ended_ ? 0 : most_ - static_cast<int64_t>(ids_.size()); }

  const std::vector<int32_t>& ids() const { return ids_; }
  const std::string& text() const { return text_; }
  Stop stop() const { return stop_; }

 private:
  const model::Tokenizer& tokenizer_;
  int64_t most_;
  const std::vector<std::string>& stops_;
  std::vector<int32_t> ids_;
  std::vector<int32_t> readable_;  // those that have a text
  std::string text_;
  Stop stop_ = Stop::kLength;
  bool ended_ = false;
};

}  // namespace kvx::eval
