// Rows of K and V that another engine computed, refusals in the CPU engine's words, and the view of
// a layer's cache.
#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "gpu/cache/layer_cache.h"
#include "gpu/engine/engine.h"
#include "gpu/engine/refusals.h"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

bool stay_finite(const ConstRows& rows, InputType input) {
  std::atomic<bool> finite = true;
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < rows.tokens; ++t) {
    for (int head = 0; head < rows.heads; ++head) {
      const float* row = rows.row(t, head);
      int good = 1;
      for (int64_t c = 0; c < rows.dim; ++c) good &= static_cast<int>(stays_finite(row[c], input));
      if (good == 0) finite.store(false, std::memory_order_relaxed);
    }
  }
  return finite;
}

}  // namespace

void Engine::append(SeqId seq, int layer, ConstRows k, ConstRows v) {
  const auto& c = config();
  const auto fits = [&](const ConstRows& rows) {
    return rows.tokens == k.tokens && rows.heads == c.kv_heads && rows.dim == c.head_dim;
  };
  if (!fits(k) || !fits(v) || layer < 0 || layer >= pool_.layers())
    throw std::logic_error("append: k and v are not of the shape of a layer");
  const auto found =
      arrivals_
          .try_emplace(seq, Arrival{.first = pool_.length(seq),
                                    .count = static_cast<int32_t>(k.tokens),
                                    .seen = std::vector<bool>(static_cast<size_t>(c.layers))})
          .first;
  Arrival& arrival = found->second;
  if (arrival.count != k.tokens || arrival.seen[static_cast<size_t>(layer)])
    throw std::logic_error("append: layers get different rows");
  if (settings_.nonfinite == NonFinite::kRefuse) {
    check_rows(layer, Side::kK, arrival.first, k);
    check_rows(layer, Side::kV, arrival.first, v);
  }
  pool_.reserve(seq, arrival.first + arrival.count, stream_);

  if (buffers_.reserve(1)) forget_graphs();
  const auto pass_rows = static_cast<int32_t>(buffers_.rows());
  for (int32_t first = 0; first < arrival.count; first += pass_rows) {
    const int32_t count = std::min(pass_rows, arrival.count - first);
    const PassSpan span{.first = arrival.first + first, .slot = pool_.slot(seq), .count = count};
    upload_rows(span, k.slice(first, count), v.slice(first, count));
    const AppendArgs args{.k = {.data = buffers_.k()},
                          .v = {.data = buffers_.v()},
                          .pass = {.spans = spans_.get(),
                                   .span_count = 1,
                                   .rows = count,
                                   .max_count = count,
                                   .max_length = span.first + count},
                          .view = {pool_.view(layer, Side::kK), pool_.view(layer, Side::kV)}};
    pool_.kernels(layer).append(args, stream_);
    pool_.kernels(layer).settle(args, stream_);
  }
  arrival.seen[static_cast<size_t>(layer)] = true;
  if (!std::ranges::all_of(arrival.seen, [](bool seen) { return seen; })) return;
  pool_.set_length(seq, arrival.first + arrival.count);
  arrivals_.erase(found);
}

void Engine::check_rows(int layer, Side side, int64_t first, const ConstRows& rows) const {
  const InputType input = pool_.kernels(layer).traits().input;
  if (stay_finite(rows, input)) return;
  for (int64_t t = 0; t < rows.tokens; ++t) {
    for (int head = 0; head < rows.heads; ++head) {
      const float* row = rows.row(t, head);
      const float* const bad = std::find_if(
          row, row + rows.dim, [&](float value) { return !stays_finite(value, input); });
      if (bad == row + rows.dim) continue;
      refuse_value({.layer = layer,
                    .side = side,
                    .head = head,
                    .token = first + t,
                    .channel = bad - row,
                    .value = *bad,
                    .input = input});
    }
  }
}

const LayerCache& Engine::cache(int layer) const {
  if (layer < 0 || layer >= pool_.layers()) throw std::out_of_range("no such layer");
  std::unique_ptr<LayerCache>& view = caches_[static_cast<size_t>(layer)];
  if (view == nullptr) view = std::make_unique<DeviceLayerCache>(pool_, layer, stream_);
  return *view;
}

// To the first of `spans_` and to [tokens][heads][dim] of the buffers, through page-locked memory:
// the host copies the next rows while the device takes these.
void Engine::upload_rows(const PassSpan& span, const ConstRows& k, const ConstRows& v) {
  RowStage& stage = row_stages_[next_row_stage_];
  next_row_stage_ = 1 - next_row_stage_;
  stage.taken.wait();
  const int64_t width = int64_t{k.heads} * k.dim, count = k.tokens * width;
  float* to = stage.rows.reserve(2 * count);
#pragma omp parallel for schedule(static)
  for (int64_t t = 0; t < k.tokens; ++t) {
    for (int head = 0; head < k.heads; ++head) {
      float* at = to + t * width + head * k.dim;
      std::copy_n(k.row(t, head), k.dim, at);
      std::copy_n(v.row(t, head), k.dim, at + count);
    }
  }
  *stage.span.reserve(1) = span;
  spans_.upload({stage.span.get(), 1}, 0, stream_);
  for (const auto& [device, host] :
       {std::pair(buffers_.k(), to), std::pair(buffers_.v(), to + count)})
    check(cudaMemcpyAsync(device, host, static_cast<size_t>(count) * sizeof(float),
                          cudaMemcpyHostToDevice, stream_),
          "rows to the device");
  stage.taken.record(stream_);
}

}  // namespace kvx::gpu
