#include "eval/generate.h"

#include <algorithm>
#include <optional>

#include "eval/logits_hash.h"
#include "eval/output.h"
#include "eval/place.h"
#include "sim/num/reduce.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

constexpr int64_t kPassRows = 2048;  // of passes that may be cut anywhere
constexpr int64_t kBurst = 8;        // tokens between looks at who is done

int64_t rounded_up(int64_t count, int64_t step) { return (count + step - 1) / step * step; }

// Prompts that wait to be fed, in passes of limited size; a sequence's tokens in order.
struct Feed {
  SeqId seq;
  size_t prompt;
  std::span<const int32_t> tokens;
  bool exact;  // one pass of its own kind: not to be cut
};

class Batch {
 public:
  Batch(Backend& backend, const Descriptor& scheme, std::span<const Prompt> prompts,
        std::span<const Context> contexts, const model::Tokenizer& tokenizer,
        const GenerateSettings& settings)
      : config_(backend.config()),
        prompts_(prompts),
        mode_(settings.mode),
        engine_(backend.engine(needs(scheme, prompts, contexts, settings))),
        traits_(engine_.cache(0).traits()),
        outputs_(prompts.size()) {
    for (const Prompt& prompt : prompts)
      texts_.emplace_back(tokenizer, prompt.new_tokens, prompt.stops);
    open(contexts);
  }

  std::vector<Generation> run() {
    feed();
    decode();
    for (size_t i = 0; i < outputs_.size(); ++i) {
      outputs_[i].ids = texts_[i].ids();
      outputs_[i].text = texts_[i].text();
      outputs_[i].stop = texts_[i].stop();
      engine_.close(seqs_[i]);
    }
    return std::move(outputs_);
  }

 private:
  static EngineNeeds needs(const Descriptor& scheme, std::span<const Prompt> prompts,
                           std::span<const Context> contexts, const GenerateSettings& settings) {
    int64_t tokens = 0, whole = 0;
    for (const Prompt& prompt : prompts) {
      const int64_t length = static_cast<int64_t>(prompt.tokens.size());
      tokens = std::max(tokens, length + prompt.new_tokens);
      whole = std::max(whole, settings.mode == CacheMode::kPrefillExact ? length : prompt.context);
    }
    // Rounded, so that batches of a task share an engine.
    return {.scheme = scheme,
            .mode = settings.mode,
            .nonfinite = settings.nonfinite,
            .arithmetic = scheme_arithmetic(scheme, settings.arithmetic),
            .artifacts = settings.artifacts,
            .sequences = rounded_up(std::ssize(prompts) + std::ssize(contexts), 8),
            .tokens = rounded_up(tokens, 512),
            .pass_rows = rounded_up(std::max(whole, kPassRows), 2048)};
  }

  // A sequence for each prompt, with its context in it, and what is still to be fed.
  void open(std::span<const Context> contexts) {
    std::vector<std::optional<SeqId>> shared(contexts.size());
    for (size_t i = 0; i < prompts_.size(); ++i) {
      const Prompt& prompt = prompts_[i];
      const std::span<const int32_t> tokens(prompt.tokens);
      size_t fed = 0;
      if (mode_ == CacheMode::kContextExact && prompt.context > 0) {
        std::optional<SeqId>& context = shared[prompt.context_index];
        fed = static_cast<size_t>(prompt.context);
        if (!context) context = open_context(tokens.first(fed), contexts[prompt.context_index]);
        seqs_.push_back(engine_.fork(*context));
      } else {
        seqs_.push_back(engine_.open());
      }
      waiting_.push_back({seqs_.back(), i, tokens.subspan(fed), mode_ == CacheMode::kPrefillExact});
    }
    for (const std::optional<SeqId>& context : shared)
      if (context) engine_.close(*context);
  }

  SeqId open_context(std::span<const int32_t> tokens, const Context& context) {
    const SeqId seq = engine_.open();
    if (traits_.keys != KeySpace::kRotated) {
      const model::Chunk chunk{.seq = seq, .tokens = tokens, .prompt_end = true, .exact = true};
      const int64_t last = std::ssize(tokens) - 1;
      engine_.forward({&chunk, 1}, [](int64_t, int64_t, const float*) {}, {&last, 1});
      return seq;
    }
    append_context(engine_, seq, context, std::ssize(tokens));
    return seq;
  }

  void feed() {
    const bool any_chunks = claims(traits_.laws, Law::kChunk);
    size_t next = 0;
    while (next < waiting_.size()) {
      std::vector<model::Chunk> chunks;
      std::vector<int64_t> want;
      std::vector<size_t> ending;  // prompts whose last row is in the pass
      int64_t rows = 0;
      while (next < waiting_.size()) {
        Feed& feed = waiting_[next];
        const int64_t all = std::ssize(feed.tokens), room = kPassRows - rows;
        const bool cut = all > room && any_chunks && !feed.exact;
        if (rows > 0 && (room == 0 || (all > room && !cut))) break;
        const int64_t count = cut ? room : all;
        chunks.push_back({.seq = feed.seq,
                          .tokens = feed.tokens.first(static_cast<size_t>(count)),
                          .prompt_end = feed.exact,
                          .exact = feed.exact});
        rows += count;
        feed.tokens = feed.tokens.subspan(static_cast<size_t>(count));
        if (cut) break;
        want.push_back(rows - 1);
        ending.push_back(feed.prompt);
        ++next;
      }
      if (want.empty()) want.push_back(rows - 1);  // no rows at all would mean every row
      engine_.forward(
          chunks,
          [&](int64_t first, int64_t count, const float* logits) {
            for (int64_t row = first; row < first + count; ++row)
              if (row < std::ssize(ending))
                begin(ending[static_cast<size_t>(row)],
                      {logits + (row - first) * config_.vocab, static_cast<size_t>(config_.vocab)});
          },
          want);
    }
    for (size_t i = 0; i < prompts_.size(); ++i) outputs_[i].use = cache_use(engine_, seqs_[i]);
  }

  void begin(size_t prompt, std::span<const float> logits) {
    outputs_[prompt].logits = row_hash(logits);
    texts_[prompt].add(static_cast<int32_t>(num::argmax(logits)));
  }

  void decode() {
    for (;;) {
      std::vector<size_t> running;
      std::vector<SeqId> seqs;
      std::vector<int32_t> tokens;
      int64_t steps = kBurst;
      for (size_t i = 0; i < texts_.size(); ++i) {
        if (texts_[i].ended()) continue;
        running.push_back(i);
        seqs.push_back(seqs_[i]);
        tokens.push_back(texts_[i].ids().back());
        steps = std::min(steps, texts_[i].left());
      }
      if (running.empty()) return;
      const std::vector<int32_t> chosen = engine_.greedy(seqs, tokens, steps);
      for (size_t at = 0; at < chosen.size(); ++at)
        texts_[running[at % running.size()]].add(chosen[at]);
    }
  }

  const model::ModelConfig& config_;
  std::span<const Prompt> prompts_;
  CacheMode mode_;
  model::Transformer& engine_;
  Traits traits_;
  std::vector<SeqId> seqs_;
  std::vector<Feed> waiting_;
  std::vector<Output> texts_;
  std::vector<Generation> outputs_;
};

}  // namespace

std::vector<Context> compute_contexts(Backend& backend, std::span<const Prompt> prompts,
                                      const GenerateSettings& settings) {
  std::vector<Context> contexts;
  if (settings.mode != CacheMode::kContextExact) return contexts;
  int64_t longest = 0;
  size_t count = 0;
  for (const Prompt& prompt : prompts) {
    longest = std::max(longest, prompt.context);
    if (prompt.context > 0) count = std::max(count, prompt.context_index + 1);
  }
  if (count == 0) return contexts;
  contexts.resize(count);
  model::Transformer& engine = backend.engine({.scheme = Descriptor::parse(kBaseScheme),
                                               .mode = settings.mode,
                                               .nonfinite = settings.nonfinite,
                                               .artifacts = settings.artifacts,
                                               .tokens = rounded_up(longest, 512),
                                               .pass_rows = rounded_up(longest, 512)});
  for (const Prompt& prompt : prompts) {
    if (prompt.context == 0) continue;
    Context& context = contexts[prompt.context_index];
    if (!context.empty()) continue;
    context.resize(static_cast<size_t>(backend.config().layers));
    engine.set_tap([&](const model::LayerTap& tap) {
      context[static_cast<size_t>(tap.layer)] = {dense_values(tap.k), dense_values(tap.v)};
    });
    const SeqId seq = engine.open();
    const model::Chunk chunk{
        .seq = seq,
        .tokens = std::span(prompt.tokens).first(static_cast<size_t>(prompt.context)),
        .prompt_end = true,
        .exact = true};
    const int64_t last = prompt.context - 1;
    engine.forward({&chunk, 1}, [](int64_t, int64_t, const float*) {}, {&last, 1});
    engine.set_tap({});
    engine.close(seq);
  }
  return contexts;
}

std::vector<Generation> generate(Backend& backend, const Descriptor& scheme,
                                 std::span<const Prompt> prompts, std::span<const Context> contexts,
                                 const model::Tokenizer& tokenizer,
                                 const GenerateSettings& settings) {
  return Batch(backend, scheme, prompts, contexts, tokenizer, settings).run();
}

}  // namespace kvx::eval
