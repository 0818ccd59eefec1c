#include "eval/ppl_inputs.h"

#include <fmt/core.h>

#include "eval/files.h"
#include "eval/model_text.h"
#include "eval/ppl.h"
#include "eval/text.h"
#include "eval/window_record.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

namespace po = boost::program_options;
using model::CacheMode;

Json make_identity(const PplInputs& in, const model::Tokenizer& tokenizer,
                   const std::string& format, const std::string& data, const std::string& text) {
  return {{"task", kPplTask},
          {"data_sha256", sha256_hex(data)},
          {"format", format},
          {"text_sha256", sha256_hex(text)},
          {"tokens_sha256", sha256_hex(std::as_bytes(std::span(in.tokens)))},
          {"tokens", in.tokens.size()},
          {"bos", tokenizer.adds_bos()},
          {"protocol", protocol_name(in.cut.protocol)},
          {"length", in.cut.length},
          {"context", in.cut.context}};
}

}  // namespace

void add_ppl_options(po::options_description& options) {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  auto add = options.add_options();
  add("data", text(), "ppl, error: text file, UTF-8");
  add("format", text()->default_value("text"), kTextFormatsHelp);
  add("protocol", text()->default_value("gptq"),
      "ppl: gptq: every position is scored; llama.cpp: a BOS in front of every window, second "
      "halves");
  add("length", text(),
      "ppl, error: tokens in a window, L (default: 2048; llama.cpp's protocol: 512)");
  add("context", text(),
      "ppl: tokens of each window that prefill-exact and context-exact read exactly");
  add("windows", text()->default_value("all"), "ppl: number of windows, from the start");
}

Cut read_cut(const Options& options, const std::vector<CacheMode>& modes) {
  const std::string protocol = options.choice("protocol", kProtocolNames);
  Cut cut;
  cut.protocol = protocol == kProtocolNames[0] ? Protocol::kGptq : Protocol::kLlamaCpp;
  cut.length = options.has("length") ? options.integer("length", 2, int64_t{1} << 24)
                                     : default_length(cut.protocol);
  if (options.has("context")) cut.context = options.integer("context", 1, cut.length - 1);
  for (const CacheMode mode : modes)
    if (first_scored(cut, mode) >= cut.length - 1)
      throw usage_error(
          fmt::format("--length {}, --context {}: mode {} scores no position of protocol {}",
                      cut.length, cut.context, model::cache_mode_name(mode), protocol));
  return cut;
}

PplInputs read_ppl_inputs(const Options& options, const std::vector<model::CacheMode>& modes,
                          const model::Tokenizer& tokenizer, const model::ModelConfig& config) {
  PplInputs in;
  in.modes = modes;
  in.cut = read_cut(options, modes);
  const std::string model_path = options.required("model");
  const std::string data_path = options.required("data");
  const std::string format = options.choice("format", kTextFormats);
  if (in.cut.protocol == Protocol::kLlamaCpp && format != "text")
    throw usage_error(
        fmt::format("--format {}: protocol llama.cpp takes the bytes of the file", format));
  const bool all_windows = options.text("windows") == "all";
  if (!all_windows) in.windows = options.integer("windows", 1, INT64_MAX);
  const std::string data = read_file(data_path);
  const std::string text = format == "text" ? std::string(protocol_text(in.cut.protocol, data))
                                            : wikitext_rows_joined(data);
  if (in.cut.length > config.max_positions)
    throw usage_error(fmt::format("--length {}: {} has {} positions", in.cut.length, model_path,
                                  config.max_positions));
  model::require_in_window(config, in.cut.length);

  in.cut.bos = tokenizer.adds_bos() ? tokenizer.bos() : -1;
  in.tokens = token_ids(tokenizer, text, data_path, model_path, config.vocab);
  const int64_t count = static_cast<int64_t>(in.tokens.size());
  const int64_t available = count / in.cut.length;
  if (const int64_t least = least_windows(in.cut.protocol); available < least)
    throw environment_error(fmt::format("{}: {} tokens, fewer than {} of {}", data_path, count,
                                        least == 1 ? "one window" : "the two windows",
                                        in.cut.length));
  if (all_windows) in.windows = available;
  if (in.windows > available)
    throw usage_error(fmt::format("--windows {}: {} has {} tokens, which make {} windows of {}",
                                  in.windows, data_path, count, available, in.cut.length));
  in.identity = make_identity(in, tokenizer, format, data, text);
  in.data = {{"path", data_path}, {"bytes", data.size()}};
  return in;
}

}  // namespace kvx::eval
