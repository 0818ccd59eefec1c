#include "eval/sample_part.h"

#include <fmt/core.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <set>
#include <vector>

#include "eval/files.h"
#include "eval/interrupt.h"
#include "eval/prompt.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

using Clock = std::chrono::steady_clock;
using model::CacheMode;

// The first value of a sample that two backends do not share; empty: none.
std::string difference(const SampleRecord& expected, const SampleRecord& found) {
  if (expected.logits && expected.logits != found.logits)
    return fmt::format("logits of the first token: expected {:016x}, found {:016x}",
                       *expected.logits, *found.logits);
  const auto [at, other] = std::mismatch(expected.output_ids.begin(), expected.output_ids.end(),
                                         found.output_ids.begin(), found.output_ids.end());
  if (at != expected.output_ids.end() || other != found.output_ids.end()) {
    const auto id = [](auto token, auto end) {
      return token == end ? "none" : std::to_string(*token);
    };
    return fmt::format("token {} of the output: expected {}, found {}",
                       at - expected.output_ids.begin(), id(at, expected.output_ids.end()),
                       id(other, found.output_ids.end()));
  }
  for (const Side side : {Side::kK, Side::kV})
    for (int i = 0; i < kItems; ++i) {
      const Item item = static_cast<Item>(i);
      const size_t at_side = static_cast<size_t>(side);
      const int64_t x = expected.bytes[at_side][item], y = found.bytes[at_side][item];
      if (x != y)
        return fmt::format("bytes.{}.{}: expected {}, found {}", side_name(side), item_name(item),
                           x, y);
    }
  return "";
}

class SamplePart final : public RunPart {
 public:
  SamplePart(RunContext& run, const TaskInputs& task)
      : run_(run),
        in_(run.in),
        task_(*task.task),
        modes_(task.modes),
        versioned_(task.versioned()) {
    schemes_.push_back(Descriptor::parse(kBaseScheme));
    for (const Descriptor& scheme : in_.schemes)
      if (!(scheme == schemes_.front())) schemes_.push_back(scheme);
  }

  int64_t missing() const override {
    int64_t count = 0;
    for (const CacheMode mode : modes_)
      for (int64_t index = 0; index < task_.size(); ++index)
        for (const Descriptor& scheme : schemes_)
          for (const std::string& backend : in_.backends)
            if (run_.lacks(key(mode, task_.id(index), scheme), backend)) ++count;
    return count;
  }

  bool run() override {
    for (const CacheMode mode : modes_)
      for (int64_t index = 0; index < task_.size();)
        if (!run_batch(mode, index)) return false;
    return true;
  }

 private:
  UnitKey key(CacheMode mode, const std::string& id, const Descriptor& scheme) const {
    return {versioned_, model::cache_mode_name(mode), id, scheme.versioned()};
  }

  struct Batch {
    std::vector<SamplePrompt> samples;
    std::map<std::string, std::vector<Context>> contexts;  // by backend, once it needed them
  };

  bool run_batch(CacheMode mode, int64_t& index) {
    Batch batch{collect(mode, index), {}};
    for (const Descriptor& scheme : schemes_)
      if (!run_scheme(mode, scheme, batch)) return false;
    return true;
  }

  // Samples from `index` on that some scheme lacks, as many as go together; `index` is behind them
  // then.
  std::vector<SamplePrompt> collect(CacheMode mode, int64_t& index) const {
    const model::ModelConfig& config = in_.checkpoint->config();
    const int64_t token_bytes =
        2 * config.layers * config.kv_heads * config.head_dim * int64_t{sizeof(float)};
    std::vector<SamplePrompt> batch;
    std::set<std::string> contexts;
    int64_t kept = 0;
    for (; index < task_.size() && std::ssize(batch) < in_.batch; ++index) {
      if (!lacks_any(mode, task_.id(index))) continue;
      std::optional<SamplePrompt> next;
      try {
        next = make_prompt(task_, index, *in_.tokenizer, config);
      } catch (const Error&) {
        if (batch.empty()) throw;
        break;  // what comes before it is measured first
      }
      const bool another = mode == CacheMode::kContextExact && next->prompt.context > 0 &&
                           contexts.insert(next->sample.context).second;
      if (another) kept += next->prompt.context * token_bytes;
      if (another && !batch.empty() && kept > default_kept_bytes()) break;
      batch.push_back(std::move(*next));
    }
    return batch;
  }

  // On every backend that lacks samples of the batch; the first result, or the recorded one, is
  // what the others must be. False: interrupted.
  bool run_scheme(CacheMode mode, const Descriptor& scheme, Batch& batch) {
    std::map<std::string, SampleRecord> fresh;  // by sample
    std::vector<std::string> differences;
    bool stopped = false;
    for (const std::string& backend : in_.backends) {
      std::vector<const SamplePrompt*> lacking;
      for (const SamplePrompt& sample : batch.samples)
        if (run_.lacks(key(mode, sample.id, scheme), backend)) lacking.push_back(&sample);
      if (lacking.empty()) continue;
      stopped = interrupted();
      if (stopped) break;
      run_.progress->start(fmt::format("{} {} {} {}{}", task_.name(), lacking.front()->id,
                                       model::cache_mode_name(mode), scheme.str(),
                                       run_.backend_label(backend)));
      if (!batch.contexts.contains(backend))
        batch.contexts[backend] = contexts_of(mode, backend, batch.samples);
      for (SampleRecord& found : outputs(mode, scheme, backend, lacking, batch.contexts[backend])) {
        const std::string id = found.key.item;
        const SampleRecord* const recorded = run_.folder.find_sample(found.key);
        if (recorded == nullptr && !fresh.contains(id)) {
          fresh.emplace(id, std::move(found));
          continue;
        }
        const SampleRecord& expected = recorded != nullptr ? *recorded : fresh.at(id);
        if (const std::string value = difference(expected, found); !value.empty()) {
          differences.push_back(run_.add_difference(expected, found, value));
          fresh.erase(id);
        } else if (recorded != nullptr) {
          run_.folder.add_run(found);
        } else {
          fresh.at(id).runs.push_back(found.runs.front());
        }
      }
      for (size_t i = 0; i < lacking.size(); ++i) run_.progress->finish();
    }
    save(batch, std::move(fresh));
    if (!differences.empty()) throw Error(Exit::kVerdict, differences.front());
    return !stopped;
  }

  // In the order of the task.
  void save(const Batch& batch, std::map<std::string, SampleRecord> fresh) {
    std::vector<SampleRecord> records;
    for (const SamplePrompt& sample : batch.samples)
      if (const auto found = fresh.find(sample.id); found != fresh.end())
        records.push_back(std::move(found->second));
    if (!records.empty()) run_.folder.add(std::move(records));
  }

  bool lacks_any(CacheMode mode, const std::string& id) const {
    for (const Descriptor& scheme : schemes_)
      for (const std::string& backend : in_.backends)
        if (run_.lacks(key(mode, id, scheme), backend)) return true;
    return false;
  }

  GenerateSettings settings(CacheMode mode) const {
    return {mode, in_.nonfinite, in_.artifacts.artifacts(), in_.arithmetic};
  }

  std::vector<Context> contexts_of(CacheMode mode, const std::string& backend,
                                   std::vector<SamplePrompt>& batch) {
    std::vector<Prompt> prompts;
    for (const SamplePrompt& sample : batch) prompts.push_back(sample.prompt);
    share_contexts(prompts);
    for (size_t i = 0; i < batch.size(); ++i)
      batch[i].prompt.context_index = prompts[i].context_index;
    return compute_contexts(run_.opened(backend), prompts, settings(mode));
  }

  // Of these samples on one backend.
  std::vector<SampleRecord> outputs(CacheMode mode, const Descriptor& scheme,
                                    const std::string& backend,
                                    const std::vector<const SamplePrompt*>& samples,
                                    const std::vector<Context>& contexts) {
    std::vector<Prompt> prompts;
    for (const SamplePrompt* sample : samples) prompts.push_back(sample->prompt);
    const Clock::time_point begin = Clock::now();
    const std::vector<Generation> generated =
        generate(run_.opened(backend), scheme, prompts, contexts, *in_.tokenizer, settings(mode));
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count() /
                           static_cast<double>(samples.size());
    std::vector<SampleRecord> records;
    for (size_t i = 0; i < samples.size(); ++i) {
      records.push_back(make_record(mode, scheme, *samples[i], generated[i]));
      records.back().runs = {{.backend = backend, .seconds = seconds, .shadow = {}}};
    }
    return records;
  }

  SampleRecord make_record(CacheMode mode, const Descriptor& scheme, const SamplePrompt& sample,
                           const Generation& output) const {
    const model::ModelConfig& config = in_.checkpoint->config();
    const Prompt& prompt = sample.prompt;
    SampleRecord record;
    record.key = key(mode, sample.id, scheme);
    record.cell = sample.sample.cell;
    record.prompt_sha256 = sha256_hex(sample.sample.context + sample.sample.question);
    record.prompt_tokens = std::ssize(prompt.tokens);
    record.context_tokens = mode == CacheMode::kContextExact   ? prompt.context
                            : mode == CacheMode::kPrefillExact ? record.prompt_tokens
                                                               : 0;
    record.expected = sample.sample.expected;
    record.output_ids = output.ids;
    record.output = output.text;
    record.stop = output.stop;
    record.readings = task_.judge(sample.sample, output.text);
    record.tokens = record.prompt_tokens + std::ssize(output.ids) -
                    (mode == CacheMode::kContextExact ? prompt.context : 0);
    record.bytes = output.use.bytes;
    record.nominal = output.use.nominal;
    record.values = config.layers * config.kv_heads * config.head_dim * record.prompt_tokens;
    record.logits = output.logits;
    return record;
  }

  RunContext& run_;
  const Inputs& in_;
  const Task& task_;
  const std::vector<CacheMode>& modes_;
  std::string versioned_;
  std::vector<Descriptor> schemes_;  // the base first
};

}  // namespace

std::unique_ptr<RunPart> sample_part(RunContext& run, const TaskInputs& task) {
  return std::make_unique<SamplePart>(run, task);
}

}  // namespace kvx::eval
