#include "eval/ppl.h"

#include <omp.h>

#include <algorithm>
#include <span>

#include "eval/logits_hash.h"
#include "sim/num/likelihood.h"
#include "sim/num/reduce.h"

namespace kvx::eval {
namespace {

[[maybe_unused]] int team(const PassSettings& settings) {
  return settings.threads > 0 ? settings.threads : omp_get_max_threads();
}

double target_nll(const Window& window, size_t target, std::span<const float> logits, double lse) {
  const size_t position = static_cast<size_t>(window.first) + target;
  return num::nll(lse, logits[static_cast<size_t>(window.tokens[position + 1])]);
}

// Keeps K and V of all layers of the context's pass.
class ContextRecorder final : public PassListener {
 public:
  ContextRecorder(int64_t layers, std::vector<ContextRows>& context) : context_(context) {
    context_.resize(static_cast<size_t>(layers));
  }
  bool wants(const Piece& piece, int) const override { return piece.exact; }
  void tap(const Piece&, const model::LayerTap& tap) override {
    context_[static_cast<size_t>(tap.layer)] = {dense_values(tap.k), dense_values(tap.v)};
  }

 private:
  std::vector<ContextRows>& context_;
};

// One pass with its shadow, if there is one.
void judged_pass(Backend& backend, const Descriptor& scheme, const Window& window,
                 const PassSettings& settings, PassHooks& hooks, PassResult& result) {
  std::optional<Shadow> shadow;
  if (settings.shadow.layers > 0) {
    shadow.emplace(scheme, backend.config(), settings);
    hooks.listeners.push_back(&*shadow);
  }
  result.record = run_pass(backend, scheme, window, settings, hooks);
  result.record.summarise(result.scores);
  result.record.logits = logits_hash(result.rows);
  if (shadow) {
    result.record.runs.front().shadow = shadow->count();
    result.mismatch = shadow->first();
  }
}

PassResult empty_result(const Window& window) {
  const size_t targets = static_cast<size_t>(window.targets());
  return {{}, PositionScores(targets), std::vector<uint64_t>(targets), {}};
}

}  // namespace

PassResult run_base(Backend& backend, const Window& window, const PassSettings& settings,
                    bool for_schemes, BaseWindow& base) {
  const model::ModelConfig& config = backend.config();
  const size_t targets = static_cast<size_t>(window.targets());
  const size_t vocab = static_cast<size_t>(config.vocab);
  const size_t width = static_cast<size_t>(config.hidden);
  const int64_t kept_floats = settings.kept_bytes / int64_t{sizeof(float)};
  const bool keep_logits = for_schemes && window.targets() * config.vocab <= kept_floats;
  base.logits.resize(keep_logits ? targets * vocab : 0);
  base.hidden.resize(for_schemes && !keep_logits ? targets * width : 0);
  base.lse.resize(targets);
  base.top.resize(targets);
  base.context.clear();
  PassResult result = empty_result(window);
  std::fill(result.scores.same_top.begin(), result.scores.same_top.end(), 1.0);
  PassHooks hooks;
  hooks.judge = [&](const model::Transformer& engine, int64_t first, int64_t count,
                    const float* rows) {
    const size_t begin = static_cast<size_t>(first), size = static_cast<size_t>(count);
    if (!base.hidden.empty())
      std::copy_n(engine.hidden(), size * width, base.hidden.at(begin * width));
#pragma omp parallel for schedule(static) num_threads(team(settings))
    for (size_t row = 0; row < size; ++row) {
      const size_t t = begin + row;
      const std::span<const float> logits(rows + row * vocab, vocab);
      if (!base.logits.empty()) std::copy_n(logits.data(), vocab, base.logits.at(t * vocab));
      base.lse[t] = num::log_sum_exp(logits);
      base.top[t] = num::argmax(logits);
      result.scores.nll[t] = target_nll(window, t, logits, base.lse[t]);
      result.rows[t] = row_hash(logits);
    }
  };
  std::optional<ContextRecorder> recorder;
  const int64_t floats = 2 * config.layers * window.context * config.kv_heads * config.head_dim;
  if (for_schemes && has_context(settings.mode) && floats <= kept_floats)
    hooks.listeners.push_back(&recorder.emplace(config.layers, base.context));
  judged_pass(backend, Descriptor::parse(kBaseScheme), window, settings, hooks, result);
  return result;
}

PassResult run_scheme(Backend& backend, const Descriptor& scheme, const Window& window,
                      const PassSettings& settings, const BaseWindow& base) {
  const size_t vocab = static_cast<size_t>(backend.config().vocab);
  const size_t width = static_cast<size_t>(backend.config().hidden);
  PassResult result = empty_result(window);
  KeptFloats projected;
  const auto base_logits = [&](model::Transformer& engine, int64_t first, int64_t count) {
    const size_t begin = static_cast<size_t>(first);
    if (!base.logits.empty()) return base.logits.at(begin * vocab);
    projected.resize(static_cast<size_t>(count) * vocab);
    engine.project(base.hidden.at(begin * width), count, projected.at(0));
    return projected.at(0);
  };
  PassHooks hooks;
  hooks.judge = [&](model::Transformer& engine, int64_t first, int64_t count, const float* rows) {
    const size_t begin = static_cast<size_t>(first), size = static_cast<size_t>(count);
    const float* const base_rows = base_logits(engine, first, count);
#pragma omp parallel for schedule(static) num_threads(team(settings))
    for (size_t row = 0; row < size; ++row) {
      const size_t t = begin + row;
      const std::span<const float> logits(rows + row * vocab, vocab);
      const double lse = num::log_sum_exp(logits);
      result.scores.nll[t] = target_nll(window, t, logits, lse);
      result.scores.kl[t] =
          num::kl_divergence({base_rows + row * vocab, vocab}, base.lse[t], logits, lse);
      result.scores.same_top[t] = num::argmax(logits) == base.top[t] ? 1 : 0;
      result.rows[t] = row_hash(logits);
    }
  };
  if (!base.context.empty()) hooks.context = &base.context;
  // What the context itself predicts, it predicts as the base does.
  hooks.judge_context = [&](model::Transformer& engine) {
    const int64_t count = std::min(window.context - window.first, window.targets());
    if (count > 0) hooks.judge(engine, 0, count, base_logits(engine, 0, count));
  };
  judged_pass(backend, scheme, window, settings, hooks, result);
  return result;
}

}  // namespace kvx::eval
