#include "eval/output.h"

#include <algorithm>

namespace kvx::eval {

bool Output::add(int32_t token) {
  if (ended_) return false;
  ids_.push_back(token);
  if (token == tokenizer_.eos()) {
    stop_ = Stop::kEos;
    ended_ = true;
    return true;
  }
  if (token < tokenizer_.vocab_size()) readable_.push_back(token);
  text_ = tokenizer_.decode(readable_);
  size_t end = std::string::npos;
  for (const std::string& stop : stops_) end = std::min(end, text_.find(stop));
  if (end != std::string::npos) {
    text_.resize(end);
    stop_ = Stop::kStop;
    ended_ = true;
  } else {
    ended_ = static_cast<int64_t>(ids_.size()) >= most_;
  }
  return true;
}

}  // namespace kvx::eval
