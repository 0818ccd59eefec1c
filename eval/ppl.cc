#include "eval/ppl.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <span>

#include "ref/registry.h"
#include "sim/num/likelihood.h"
#include "sim/num/reduce.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

// Logits [count][vocab] of the targets [first, first + count), in a call of the engine's sink.
using Judge =
    std::function<void(model::Engine& engine, int64_t first, int64_t count, const float* logits)>;

// Called before the context's pass; true if the context is in the engine's caches already.
using BeforeContext = std::function<bool(model::Engine& engine, SeqId seq)>;

// Tokens [first, first + count) of a window, fed in one pass.
struct Piece {
  int64_t first, count;
  bool exact;
};

bool has_context(CacheMode mode) {
  return mode == CacheMode::kPrefillExact || mode == CacheMode::kContextExact;
}

// A context is one pass; behind it, or without one, pieces of limited size give the bits of one
// pass and keep activations small, if the scheme's caches do not depend on chunks.
std::vector<Piece> pieces_of(const Window& window, CacheMode mode, bool any_chunks) {
  constexpr int64_t kPiece = 2048;
  const int64_t tokens = static_cast<int64_t>(window.tokens.size());
  std::vector<Piece> pieces;
  int64_t next = 0;
  if (has_context(mode)) {
    pieces.push_back({0, window.context, true});
    next = window.context;
  }
  const int64_t step = any_chunks && mode != CacheMode::kAll ? kPiece : tokens;
  for (; next < tokens; next += step)
    pieces.push_back({next, std::min(step, tokens - next), false});
  return pieces;
}

// The window as a new sequence; calls `judge` for every scored position, in order.
UnitRecord run_pass(const model::Model& model, const Descriptor& scheme, const Window& window,
                    const PassSettings& settings, const BeforeContext& before_context,
                    const Judge& judge) {
  const model::ModelConfig& config = model.config();
  const auto begin = std::chrono::steady_clock::now();
  const int64_t tokens = static_cast<int64_t>(window.tokens.size());

  model::Engine engine(model, ref::factory(scheme, settings.artifacts), settings.mode,
                       settings.threads, settings.nonfinite);
  const SeqId seq = engine.open();
  const bool any_chunks = claims(engine.cache(0).traits().laws, Law::kChunk);
  for (const Piece& piece : pieces_of(window, settings.mode, any_chunks)) {
    if (piece.exact && before_context(engine, seq)) continue;
    const int64_t from = std::max(window.first, piece.first);
    const int64_t to = std::min(piece.first + piece.count, tokens - 1);
    std::vector<int64_t> want;
    for (int64_t position = from; position < to; ++position) want.push_back(position - piece.first);
    const bool scored = !want.empty();
    if (!scored) want.push_back(piece.count - 1);  // no rows at all would mean every row
    const model::Chunk chunk{
        .seq = seq,
        .tokens = std::span(window.tokens)
                      .subspan(static_cast<size_t>(piece.first), static_cast<size_t>(piece.count)),
        .prompt_end = piece.exact,
        .exact = piece.exact};
    engine.forward(
        {&chunk, 1},
        [&](int64_t first, int64_t count, const float* logits) {
          if (scored) judge(engine, from - window.first + first, count, logits);
        },
        want);
    engine.set_tap({});
  }

  UnitRecord record;
  record.tokens = tokens;
  record.context = has_context(settings.mode) ? window.context : 0;
  record.first_position = window.first;
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

// Makes the engine's next pass leave K and V of all layers in `context`.
void record_context(model::Engine& engine, int64_t layers, std::vector<ContextRows>& context) {
  context.resize(static_cast<size_t>(layers));
  engine.set_tap([&context](const model::LayerTap& tap) {
    const auto copy = [](ConstRows rows) {
      return std::vector<float>(rows.data, rows.data + rows.tokens * rows.heads * rows.dim);
    };
    context[static_cast<size_t>(tap.layer)] = {copy(tap.k), copy(tap.v)};
  });
}

void append_context(model::Engine& engine, SeqId seq, const model::ModelConfig& config,
                    int64_t tokens, const std::vector<ContextRows>& context) {
  for (size_t layer = 0; layer < context.size(); ++layer) {
    const auto rows = [&](const std::vector<float>& values) {
      return dense_rows(values.data(), tokens, static_cast<int>(config.kv_heads),
                        static_cast<int>(config.head_dim));
    };
    engine.append(seq, static_cast<int>(layer), rows(context[layer].k), rows(context[layer].v));
  }
}

[[maybe_unused]] int team(const PassSettings& settings) {
  return settings.threads > 0 ? settings.threads : omp_get_max_threads();
}

double target_nll(const Window& window, size_t target, std::span<const float> logits, double lse) {
  const size_t position = static_cast<size_t>(window.first) + target;
  return num::nll(lse, logits[static_cast<size_t>(window.tokens[position + 1])]);
}

}  // namespace

PassResult run_base(const model::Model& model, const Window& window, const PassSettings& settings,
                    bool for_schemes, BaseWindow& base) {
  const size_t targets = static_cast<size_t>(window.targets());
  const size_t vocab = static_cast<size_t>(model.config().vocab);
  const size_t width = static_cast<size_t>(model.config().hidden);
  const bool keep_logits = for_schemes && window.targets() * model.config().vocab <=
                                              settings.kept_bytes / int64_t{sizeof(float)};
  base.logits.resize(keep_logits ? targets * vocab : 0);
  base.hidden.resize(for_schemes && !keep_logits ? targets * width : 0);
  base.lse.resize(targets);
  base.top.resize(targets);
  PassResult result{{}, PositionScores(targets)};
  std::fill(result.scores.same_top.begin(), result.scores.same_top.end(), 1.0);
  const auto judge = [&](const model::Engine& engine, int64_t first, int64_t count,
                         const float* rows) {
    const size_t begin = static_cast<size_t>(first), size = static_cast<size_t>(count);
    if (!base.logits.empty()) std::copy_n(rows, size * vocab, &base.logits[begin * vocab]);
    if (!base.hidden.empty())
      std::copy_n(engine.hidden(), size * width, &base.hidden[begin * width]);
#pragma omp parallel for schedule(static) num_threads(team(settings))
    for (size_t row = 0; row < size; ++row) {
      const size_t t = begin + row;
      const std::span<const float> logits(rows + row * vocab, vocab);
      base.lse[t] = num::log_sum_exp(logits);
      base.top[t] = num::argmax(logits);
      result.scores.nll[t] = target_nll(window, t, logits, base.lse[t]);
    }
  };
  const model::ModelConfig& config = model.config();
  base.context.clear();
  const auto before_context = [&](model::Engine& engine, SeqId) {
    const int64_t floats = 2 * config.layers * window.context * config.kv_heads * config.head_dim;
    if (for_schemes && floats <= settings.kept_bytes / int64_t{sizeof(float)})
      record_context(engine, config.layers, base.context);
    return false;
  };
  result.record =
      run_pass(model, Descriptor::parse(kBaseScheme), window, settings, before_context, judge);
  result.record.summarise(result.scores);
  return result;
}

PassResult run_scheme(const model::Model& model, const Descriptor& scheme, const Window& window,
                      const PassSettings& settings, const BaseWindow& base) {
  const size_t vocab = static_cast<size_t>(model.config().vocab);
  const size_t width = static_cast<size_t>(model.config().hidden);
  PassResult result{{}, PositionScores(static_cast<size_t>(window.targets()))};
  std::vector<float> projected;
  const auto base_logits = [&](model::Engine& engine, int64_t first, int64_t count) {
    const size_t begin = static_cast<size_t>(first);
    if (!base.logits.empty()) return &base.logits[begin * vocab];
    projected.resize(static_cast<size_t>(count) * vocab);
    engine.project(&base.hidden[begin * width], count, projected.data());
    return static_cast<const float*>(projected.data());
  };
  const auto judge = [&](model::Engine& engine, int64_t first, int64_t count, const float* rows) {
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
    }
  };
  const auto before_context = [&](model::Engine& engine, SeqId seq) {
    if (base.context.empty() || engine.cache(0).traits().keys != KeySpace::kRotated) return false;
    append_context(engine, seq, model.config(), window.context, base.context);
    // What the context itself predicts, it predicts as the base does.
    const int64_t count = std::min(window.context - window.first, window.targets());
    if (count > 0) judge(engine, 0, count, base_logits(engine, 0, count));
    return true;
  };
  result.record = run_pass(model, scheme, window, settings, before_context, judge);
  result.record.summarise(result.scores);
  return result;
}

}  // namespace kvx::eval
