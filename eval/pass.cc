#include "eval/pass.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <span>

#include "ref/registry.h"

namespace kvx::eval {
namespace {

using Clock = std::chrono::steady_clock;
using model::CacheMode;

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

Traits traits_of(const Descriptor& scheme, const model::ModelConfig& config,
                 const PassSettings& settings) {
  const CacheConfig cache{
      .shape = {0, static_cast<int>(config.kv_heads), static_cast<int>(config.head_dim)},
      .artifacts = settings.artifacts};
  return ref::make_cache(scheme, cache)->traits();
}

class Pass {
 public:
  Pass(Backend& backend, const Descriptor& scheme, const Window& window,
       const PassSettings& settings, const PassHooks& hooks)
      : config_(backend.config()),
        window_(window),
        hooks_(hooks),
        traits_(traits_of(scheme, config_, settings)),
        pieces_(pieces_of(window, settings.mode, claims(traits_.laws, Law::kChunk))),
        engine_(backend.engine({.scheme = scheme,
                                .mode = settings.mode,
                                .nonfinite = settings.nonfinite,
                                .arithmetic = scheme_arithmetic(scheme, settings.arithmetic),
                                .artifacts = settings.artifacts,
                                .tokens = static_cast<int64_t>(window.tokens.size()),
                                .pass_rows = largest_piece()})),
        seq_(engine_.open()) {}

  // To be called last; after an Error the engine is of no more use.
  void close() {
    engine_.set_tap({});
    engine_.close(seq_);
  }

  // Seconds it took.
  double run() {
    const Clock::time_point begin = Clock::now();
    for (const Piece& piece : pieces_) {
      if (piece.exact && context_is_there()) continue;
      listen(piece);
      forward(piece);
    }
    const double seconds = std::chrono::duration<double>(Clock::now() - begin).count() - aside_;
    for (PassListener* listener : hooks_.listeners) listener->finish(engine_, seq_);
    return seconds;
  }

  CacheUse use() const { return cache_use(engine_, seq_); }

 private:
  int64_t largest_piece() const {
    int64_t largest = 0;
    for (const Piece& piece : pieces_) largest = std::max(largest, piece.count);
    return largest;
  }

  bool context_is_there() {
    if (hooks_.context == nullptr || traits_.keys != KeySpace::kRotated) return false;
    const std::vector<ContextRows>& context = *hooks_.context;
    append_context(engine_, seq_, context, window_.context);
    for (PassListener* listener : hooks_.listeners) listener->append_context(context);
    if (hooks_.judge_context) hooks_.judge_context(engine_);
    return true;
  }

  void listen(const Piece& piece) {
    std::vector<int> layers;
    for (int layer = 0; layer < config_.layers; ++layer)
      if (std::any_of(hooks_.listeners.begin(), hooks_.listeners.end(),
                      [&](const PassListener* listener) { return listener->wants(piece, layer); }))
        layers.push_back(layer);
    if (layers.empty()) {
      engine_.set_tap({});
      return;
    }
    const auto tap = [this, piece](const model::LayerTap& layer) {
      const Clock::time_point begin = Clock::now();
      for (PassListener* listener : hooks_.listeners)
        if (listener->wants(piece, layer.layer)) listener->tap(piece, layer);
      aside_ += std::chrono::duration<double>(Clock::now() - begin).count();
    };
    engine_.set_tap(tap, layers);
  }

  void forward(const Piece& piece) {
    const int64_t tokens = static_cast<int64_t>(window_.tokens.size());
    const int64_t from = std::max(window_.first, piece.first);
    const int64_t to = std::min(piece.first + piece.count, tokens - 1);
    std::vector<int64_t> want;
    for (int64_t position = from; position < to; ++position) want.push_back(position - piece.first);
    const bool scored = !want.empty();
    if (!scored) want.push_back(piece.count - 1);  // no rows at all would mean every row
    const model::Chunk chunk{
        .seq = seq_,
        .tokens = std::span(window_.tokens)
                      .subspan(static_cast<size_t>(piece.first), static_cast<size_t>(piece.count)),
        .prompt_end = piece.exact,
        .exact = piece.exact};
    engine_.forward(
        {&chunk, 1},
        [&](int64_t first, int64_t count, const float* logits) {
          if (scored) hooks_.judge(engine_, from - window_.first + first, count, logits);
        },
        want);
  }

  const model::ModelConfig& config_;
  const Window& window_;
  const PassHooks& hooks_;
  Traits traits_;
  std::vector<Piece> pieces_;
  model::Transformer& engine_;
  SeqId seq_;
  double aside_ = 0;  // seconds of the listeners' taps
};

}  // namespace

void append_context(model::Transformer& engine, SeqId seq, const std::vector<ContextRows>& layers,
                    int64_t tokens) {
  const model::ModelConfig& config = engine.config();
  const auto rows = [&](const std::vector<float>& values) {
    return dense_rows(values.data(), tokens, static_cast<int>(config.kv_heads),
                      static_cast<int>(config.head_dim));
  };
  for (size_t layer = 0; layer < layers.size(); ++layer)
    engine.append(seq, static_cast<int>(layer), rows(layers[layer].k), rows(layers[layer].v));
}

CacheUse cache_use(const model::Transformer& engine, SeqId seq) {
  const int64_t layers = engine.config().layers;
  CacheUse use;
  for (const Side side : {Side::kK, Side::kV}) {
    const size_t i = static_cast<size_t>(side);
    double nominal = 0;
    for (int layer = 0; layer < layers; ++layer) {
      use.bytes[i] += engine.cache(layer).used(seq, side);
      nominal += engine.cache(layer).nominal_bits(side);
    }
    use.nominal[i] = nominal / static_cast<double>(layers);
  }
  return use;
}

int64_t default_kept_bytes() {
  constexpr int64_t kGiB = int64_t{1} << 30;
  const int64_t memory = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGESIZE);
  return std::clamp(memory / 8, kGiB, 4 * kGiB);
}

bool has_context(CacheMode mode) {
  return mode == CacheMode::kPrefillExact || mode == CacheMode::kContextExact;
}

WindowRecord run_pass(Backend& backend, const Descriptor& scheme, const Window& window,
                      const PassSettings& settings, const PassHooks& hooks) {
  const model::ModelConfig& config = backend.config();
  Pass pass(backend, scheme, window, settings, hooks);
  WindowRecord record;
  const double seconds = pass.run();
  record.runs = {{.backend = std::string(backend.name()), .seconds = seconds, .shadow = {}}};
  record.tokens = static_cast<int64_t>(window.tokens.size());
  record.context = has_context(settings.mode) ? window.context : 0;
  record.first_position = window.first;
  record.values = config.layers * config.kv_heads * config.head_dim * record.tokens;
  const CacheUse use = pass.use();
  record.bytes = use.bytes;
  record.nominal = use.nominal;
  pass.close();
  return record;
}

}  // namespace kvx::eval
