#include "gpu/engine/engine.h"

#include <algorithm>
#include <bit>
#include <stdexcept>
#include <string>

#include "gpu/engine/memory_plan.h"
#include "gpu/engine/refusals.h"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

using model::CacheMode;
using model::Chunk;
using model::ModelConfig;

void require(bool condition, const char* what) {
  if (!condition) throw std::logic_error(what);
}

}  // namespace

int32_t Engine::HostPass::max_count() const {
  int32_t most = 0;
  for (const PassSpan& span : spans) most = std::max(most, span.count);
  return most;
}

int32_t Engine::HostPass::max_length() const {
  int32_t most = 0;
  for (const PassSpan& span : spans) most = std::max(most, span.first + span.count);
  return most;
}

Engine::Engine(std::shared_ptr<const DeviceModel> model, const Descriptor& scheme,
               const EngineSettings& settings)
    : Engine(model, scheme, settings, plan_memory(*model, scheme, settings)) {}

Engine::Engine(std::shared_ptr<const DeviceModel> model, const Descriptor& scheme,
               const EngineSettings& settings, const MemoryPlan& plan)
    : model_(std::move(model)),
      settings_(settings),
      pool_(scheme, plan.layers, plan.pool),
      buffers_(model_->config(), plan.pass_rows, stores_unrotated()),
      logits_(model_->config(), plan.logit_rows),
      scratch_(plan.scratch_floats),
      spans_(plan.pool.sequences),
      notes_(model_->config().layers),
      host_notes_(model_->config().layers),
      greedy_state_(1),
      choices_(plan.pool.sequences),
      ids_(kStepsAtOnce * plan.pool.sequences),
      caches_(plan.layers.size()) {}

Engine::~Engine() {
  cudaStreamSynchronize(stream_);
  cudaStreamSynchronize(logits_.copy_stream());
}

SeqId Engine::open() { return pool_.open(); }

SeqId Engine::fork(SeqId seq) {
  require(!arrivals_.contains(seq), "fork: some layers lack rows of the sequence's context");
  return pool_.fork(seq, stream_);
}

void Engine::close(SeqId seq) {
  pool_.close(seq);
  arrivals_.erase(seq);
}

int64_t Engine::length(SeqId seq) const { return pool_.length(seq); }

// Passes.

void Engine::check_steps(int64_t first, int64_t steps) const {
  const ModelConfig& c = config();
  const int64_t window = c.sliding_window > 0 ? c.sliding_window : c.max_positions;
  check_positions(
      c, first,
      std::min(steps, std::max<int64_t>(std::min(c.max_positions, window) - first, 0) + 1));
}

Engine::HostPass Engine::plan(std::span<const Chunk> chunks) const {
  HostPass pass;
  for (const Chunk& chunk : chunks) {
    const int64_t first = length(chunk.seq), count = static_cast<int64_t>(chunk.tokens.size());
    require(first == 0 || !(chunk.exact || settings_.mode == CacheMode::kAll),
            "a chunk in mode all or with exact reads must start its sequence");
    require(!arrivals_.contains(chunk.seq), "some layers lack rows of the sequence's context");
    require(std::ranges::find(pass.seqs, chunk.seq) == pass.seqs.end(),
            "two chunks of one sequence");
    check_positions(config(), first, count);
    if (count == 0) continue;
    pass.seqs.push_back(chunk.seq);
    pass.spans.push_back({.first = static_cast<int32_t>(first),
                          .slot = pool_.slot(chunk.seq),
                          .count = static_cast<int32_t>(count),
                          .row = static_cast<int32_t>(pass.tokens.size()),
                          .exact = chunk.exact ? 1 : 0});
    pass.tokens.insert(pass.tokens.end(), chunk.tokens.begin(), chunk.tokens.end());
    pass.exact = pass.exact || chunk.exact;
  }
  check_tokens(config(), pass.tokens);
  return pass;
}

void Engine::begin(const HostPass& pass) {
  const ModelConfig& c = config();
  const int64_t rows = pass.rows();
  // Notes have 32 bits for the place of a value.
  if (rows * 2 * c.kv_heads * c.head_dim > int64_t{UINT32_MAX})
    throw environment_error("a pass of " + std::to_string(rows) + " tokens is too long");
  for (size_t i = 0; i < pass.seqs.size(); ++i)
    pool_.reserve(pass.seqs[i], pass.spans[i].first + pass.spans[i].count, stream_);
  if (buffers_.reserve(rows)) forget_graphs();
  reserve_scratch(rows, device_pass(pass, step_bound(pass.max_length())));
  buffers_.upload_tokens(pass.tokens, stream_);
  spans_.upload(pass.spans, 0, stream_);
}

void Engine::set_lengths(const HostPass& pass, bool after) {
  for (size_t i = 0; i < pass.seqs.size(); ++i)
    pool_.set_length(pass.seqs[i], pass.spans[i].first + (after ? pass.spans[i].count : 0));
}

Pass Engine::device_pass(const HostPass& pass, int32_t max_length) const {
  return {.spans = spans_.get(),
          .span_count = static_cast<int32_t>(pass.spans.size()),
          .rows = static_cast<int32_t>(pass.rows()),
          .max_count = pass.max_count(),
          .max_length = max_length,
          .reads = settings_.mode == CacheMode::kAll ? Reads::kAll : Reads::kStreamed,
          .exact_spans = pass.exact};
}

int32_t Engine::step_bound(int32_t length) const {
  const auto segments = static_cast<uint32_t>((length + kSegment - 1) / kSegment);
  return static_cast<int32_t>(std::min<int64_t>(int64_t{std::bit_ceil(segments)} * kSegment,
                                                std::max<int64_t>(pool_.limits().tokens, length)));
}

void Engine::reserve_scratch(int64_t rows, const Pass& bounds) {
  const int64_t floats =
      scratch_floats(*model_, pool_.kernels(0), pool_.shape(), rows, logits_.rows(), bounds);
  if (floats <= scratch_.count()) return;
  scratch_.reserve(floats);
  forget_graphs();
}

void Engine::forget_graphs() {
  stream_.wait();
  graphs_.clear();
}

void Engine::forward(std::span<const Chunk> chunks, const model::LogitsSink& sink,
                     std::span<const int64_t> want) {
  const HostPass pass = plan(chunks);
  const int64_t rows = pass.rows();
  require(std::ranges::all_of(want, [&](int64_t row) { return row >= 0 && row < rows; }),
          "logits of a row that is not in the pass");
  if (rows == 0) return;
  begin(pass);
  set_lengths(pass, true);
  if (is_step(pass) && want.empty()) {
    const Pass step = device_pass(pass, step_bound(pass.max_length()));
    graphs_.run({StepKind::kLogits, step.span_count, step.max_length}, stream_, [&] {
      enqueue_trunk(step, nullptr);
      enqueue_head(0, 0, rows, nullptr);
    });
    give_logits(pass, sink, want, true);
  } else {
    enqueue_trunk(device_pass(pass, pass.max_length()), &pass);
    give_logits(pass, sink, want, false);
  }
}

bool Engine::is_step(const HostPass& pass) const {
  return pass.spans.size() == pass.tokens.size() && !pass.exact &&
         settings_.mode != CacheMode::kAll && !tap_ && pass.rows() <= logits_.rows();
}

void Engine::give_logits(const HostPass& pass, const model::LogitsSink& sink,
                         std::span<const int64_t> want, bool first_is_computed) {
  const int64_t wanted = want.empty() ? pass.rows() : static_cast<int64_t>(want.size());
  if (!want.empty()) buffers_.upload_wanted(want, stream_);
  if (settings_.nonfinite == NonFinite::kRefuse) {
    check(cudaMemcpyAsync(host_notes_.get(), notes_.get(), static_cast<size_t>(notes_.bytes()),
                          cudaMemcpyDeviceToHost, stream_),
          "notes to the host");
  }
  // Part i is computed while part i - 1 is copied and consumed.
  const int64_t at_once = logits_.rows(), parts = (wanted + at_once - 1) / at_once;
  const auto count_of = [&](int64_t part) { return std::min(at_once, wanted - part * at_once); };
  for (int64_t part = 0; part <= parts; ++part) {
    if (part < parts) {
      const int slot = static_cast<int>(part % LogitSlots::kSlots);
      if (part > 0 || !first_is_computed) {
        enqueue_head(slot, part * at_once, count_of(part),
                     want.empty() ? nullptr : buffers_.wanted());
      }
      logits_.copy(slot, count_of(part), stream_);
    }
    if (part == 0) continue;
    const int slot = static_cast<int>((part - 1) % LogitSlots::kSlots);
    logits_.wait(slot);
    if (part == 1 && settings_.nonfinite == NonFinite::kRefuse) check_notes(pass);
    given_slot_ = slot;
    sink((part - 1) * at_once, count_of(part - 1), logits_.host_logits(slot));
  }
}

void Engine::check_notes(const HostPass& pass) {
  for (int layer = 0; layer < pool_.layers(); ++layer) {
    if (host_notes_[layer] == kNothingNoted) continue;
    set_lengths(pass, false);
    refuse(layer, host_notes_[layer], pass);
  }
}

void Engine::refuse(int layer, NonFiniteNote note, const HostPass& pass) const {
  refuse_scale(layer, note, config(), pass.rows());
  NonFiniteValue at = value_of(note, config(), pass.rows());
  const auto after = std::ranges::upper_bound(pass.spans, at.token, {}, &PassSpan::row);
  const PassSpan& span = *std::prev(after);
  at.layer = layer;
  at.token += span.first - span.row;
  at.input = pool_.kernels(layer).traits().input;
  refuse_value(at);
}

void Engine::project(const float* hidden, int64_t count, float* logits) {
  const ModelConfig& c = config();
  const int slot = given_slot_;  // the other one may be computed just now
  reserve_scratch(0, {});
  for (int64_t first = 0; first < count; first += logits_.rows()) {
    const int64_t rows = std::min(logits_.rows(), count - first);
    check(cudaMemcpyAsync(logits_.hidden(slot), hidden + first * c.hidden,
                          static_cast<size_t>(rows * c.hidden) * sizeof(float),
                          cudaMemcpyHostToDevice, stream_),
          "hidden rows to the device");
    multiply(model_->head(), logits_.hidden(slot), c.hidden, rows, logits_.logits(slot), false);
    check(cudaMemcpyAsync(logits + first * c.vocab, logits_.logits(slot),
                          static_cast<size_t>(rows * c.vocab) * sizeof(float),
                          cudaMemcpyDeviceToHost, stream_),
          "logits to the host");
    stream_.wait();
  }
}

void Engine::set_tap(std::function<void(const model::LayerTap&)> tap, std::span<const int> layers) {
  tap_ = std::move(tap);
  tapped_.assign(layers.begin(), layers.end());
}

std::unique_ptr<model::Transformer> make_engine(std::shared_ptr<const DeviceModel> model,
                                                const Descriptor& scheme,
                                                const EngineSettings& settings) {
  return std::make_unique<Engine>(std::move(model), scheme, settings);
}

}  // namespace kvx::gpu
