#include "eval/model_text.h"

#include <fmt/core.h>

#include <algorithm>

#include "eval/files.h"
#include "eval/text.h"
#include "sim/api/error.h"
#include "sim/model/tokenizer.h"

namespace kvx::eval {
namespace po = boost::program_options;

void add_model_text_options(po::options_description& options) {
  const auto text = [] { return po::value<std::string>()->value_name("X"); };
  auto add = options.add_options();
  add("model", text(), "Hugging Face folder or .gguf file");
  add("data", po::value<std::vector<std::string>>()->value_name("X"),
      "text file, UTF-8, or folder of them, taken in the order of their names; may be repeated");
  add("format", text()->default_value("text"), kTextFormatsHelp);
  add("tokens", text(), "tokens from the start of the text (default: all, to the model's longest)");
  add("threads", text()->default_value("0"),
      "threads; 0: as many as OpenMP says; results do not depend on it");
}

ModelText read_model_text(const Options& options, int64_t longest, int64_t enough) {
  const std::string model_path = options.required("model");
  const std::vector<std::string> paths = options.list("data");
  if (paths.empty()) throw usage_error("--data is required");
  const std::string format = options.choice("format", kTextFormats);
  ModelText in;
  in.threads = static_cast<int>(options.integer("threads", 0, 4096));
  const int64_t wanted = options.has("tokens") ? options.integer("tokens", 1, int64_t{1} << 24) : 0;
  const std::vector<std::string> files = text_files(paths);
  std::string text = read_file(files.front());
  in.checkpoint = model::Checkpoint::open(model_path);
  const model::ModelConfig& config = in.checkpoint->config();
  if (longest == 0) longest = config.max_positions;
  if (wanted > longest)
    throw usage_error(fmt::format("--tokens {}: {} has {} positions", wanted, model_path, longest));
  const auto tokenizer = model::Tokenizer::open(model_path);
  std::string all;
  for (size_t file = 0; file < files.size() && std::ssize(in.tokens) < enough; ++file) {
    if (file > 0) text = read_file(files[file]);
    if (format == "wikitext-raw") text = wikitext_rows_joined(text);
    const std::vector<int32_t> ids =
        token_ids(*tokenizer, text, files[file], model_path, config.vocab, file == 0);
    in.tokens.insert(in.tokens.end(), ids.begin(), ids.end());
    all += text;
  }
  const auto count = static_cast<int64_t>(in.tokens.size());
  if (count == 0) throw environment_error(fmt::format("{}: no tokens", paths.front()));
  if (wanted > count)
    throw usage_error(fmt::format("--tokens {}: {} has {}", wanted, paths.front(), count));
  in.tokens.resize(static_cast<size_t>(wanted > 0 ? wanted : std::min(count, longest)));
  in.identity = {{"model_sha256", in.checkpoint->sha256()},
                 {"tokenizer_sha256", tokenizer->sha256()},
                 {"text_sha256", sha256_hex(all)},
                 {"tokens", fmt::format("{}", in.tokens.size())}};
  return in;
}

void run_through(const ModelText& in, const CacheFactory& factory, model::CacheMode mode,
                 NonFinite nonfinite, const std::function<void(const model::LayerTap&)>& tap) {
  const int64_t last = static_cast<int64_t>(in.tokens.size()) - 1;
  model::require_in_window(in.checkpoint->config(), last + 1);
  const model::Model model(*in.checkpoint);
  model::Engine engine(model, factory, mode, in.threads, nonfinite);
  engine.set_tap(tap);
  const model::Chunk chunk{.seq = engine.open(), .tokens = in.tokens};
  // The engine takes an empty list of wanted logits for all of them.
  engine.forward({&chunk, 1}, [](int64_t, int64_t, const float*) {}, {&last, 1});
}

}  // namespace kvx::eval
