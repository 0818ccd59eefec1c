#include "eval/ppl.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <functional>

#include "ref/registry.h"
#include "sim/num/likelihood.h"
#include "sim/num/reduce.h"

namespace kvx::eval {
namespace {

using RowJudge = std::function<void(int64_t position, std::span<const float> logits)>;

// One pass over a window; calls `judge` for every scored position, rows in parallel.
UnitRecord run_pass(const model::Model& model, const Descriptor& scheme,
                    std::span<const int32_t> window, const PassSettings& settings,
                    const RowJudge& judge) {
  const model::ModelConfig& config = model.config();
  const auto begin = std::chrono::steady_clock::now();
  const int64_t tokens = static_cast<int64_t>(window.size());
  const size_t vocab = static_cast<size_t>(config.vocab);
  const int threads = settings.threads > 0 ? settings.threads : omp_get_max_threads();

  model::Engine engine(model, ref::factory(scheme), settings.mode, settings.threads,
                       settings.nonfinite);
  const SeqId seq = engine.open();
  const model::Chunk chunk{.seq = seq, .tokens = window};
  engine.forward({&chunk, 1}, [&](int64_t first, int64_t count, const float* logits) {
    const int64_t scored = std::min(count, tokens - 1 - first);
#pragma omp parallel for schedule(static) num_threads(threads)
    for (int64_t row = 0; row < scored; ++row)
      judge(first + row, {logits + static_cast<size_t>(row) * vocab, vocab});
  });

  UnitRecord record;
  record.tokens = tokens;
  record.values = config.layers * config.kv_heads * config.head_dim * tokens;
  for (const Side side : {Side::kK, Side::kV}) {
    const size_t i = static_cast<size_t>(side);
    double nominal = 0;
    for (int layer = 0; layer < config.layers; ++layer) {
      record.bytes[i] += engine.cache(layer).used(seq, side);
      nominal += engine.cache(layer).nominal_bits(side);
    }
    record.nominal[i] = nominal / static_cast<double>(config.layers);
  }
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return record;
}

float target_logit(std::span<const int32_t> window, int64_t position,
                   std::span<const float> logits) {
  return logits[static_cast<size_t>(window[static_cast<size_t>(position) + 1])];
}

}  // namespace

PassResult run_base(const model::Model& model, std::span<const int32_t> window,
                    const PassSettings& settings, bool keep_logits, BaseWindow& base) {
  const size_t targets = window.size() - 1;
  const size_t vocab = static_cast<size_t>(model.config().vocab);
  base.logits.assign(keep_logits ? targets * vocab : 0, 0.0f);
  base.lse.assign(targets, 0);
  base.top.assign(targets, -1);
  PassResult result;
  result.scores.nll.assign(targets, 0);
  result.scores.kl.assign(targets, 0);
  result.record = run_pass(model, Descriptor::parse(kBaseScheme), window, settings,
                           [&](int64_t position, std::span<const float> logits) {
                             const size_t t = static_cast<size_t>(position);
                             base.lse[t] = num::log_sum_exp(logits);
                             base.top[t] = num::argmax(logits);
                             result.scores.nll[t] =
                                 num::nll(base.lse[t], target_logit(window, position, logits));
                             if (keep_logits)
                               std::copy(logits.begin(), logits.end(),
                                         base.logits.begin() + static_cast<ptrdiff_t>(t * vocab));
                           });
  result.scores.same_top = static_cast<int64_t>(targets);
  result.record.summarise(result.scores);
  return result;
}

PassResult run_scheme(const model::Model& model, const Descriptor& scheme,
                      std::span<const int32_t> window, const PassSettings& settings,
                      const BaseWindow& base) {
  const size_t targets = window.size() - 1;
  const size_t vocab = static_cast<size_t>(model.config().vocab);
  PassResult result;
  result.scores.nll.assign(targets, 0);
  result.scores.kl.assign(targets, 0);
  std::vector<uint8_t> same(targets, 0);
  result.record = run_pass(
      model, scheme, window, settings, [&](int64_t position, std::span<const float> logits) {
        const size_t t = static_cast<size_t>(position);
        const std::span<const float> reference(base.logits.data() + t * vocab, vocab);
        const double lse = num::log_sum_exp(logits);
        result.scores.nll[t] = num::nll(lse, target_logit(window, position, logits));
        result.scores.kl[t] = num::kl_divergence(reference, base.lse[t], logits, lse);
        same[t] = num::argmax(logits) == base.top[t] ? 1 : 0;
      });
  result.scores.same_top = std::count(same.begin(), same.end(), 1);
  result.record.summarise(result.scores);
  return result;
}

}  // namespace kvx::eval
