// Rows of K and V that another engine computed, refusals in the CPU engine's words, and the view of
// a layer's cache.
#include <algorithm>
#include <stdexcept>
#include <string>

#include "gpu/cache/layer_cache.h"
#include "gpu/engine/engine.h"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

const char* input_name(InputType input) {
  return input == InputType::kF16 ? "f16" : input == InputType::kBf16 ? "bf16" : "f32";
}

}  // namespace

void Engine::refuse_value(const NonFiniteValue& at) const {
  throw environment_error("layer " + std::to_string(at.layer) + ", " + side_name(at.side) +
                          ", head " + std::to_string(at.head) + ", token " +
                          std::to_string(at.token) + ", channel " + std::to_string(at.channel) +
                          ": " + std::to_string(at.value) + " is not finite in " +
                          input_name(at.input));
}

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
    spans_.upload({&span, 1}, 0, stream_);
    upload_rows(k.slice(first, count), buffers_.k());
    upload_rows(v.slice(first, count), buffers_.v());
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
    stream_.wait();
  }
  arrival.seen[static_cast<size_t>(layer)] = true;
  if (!std::ranges::all_of(arrival.seen, [](bool seen) { return seen; })) return;
  pool_.set_length(seq, arrival.first + arrival.count);
  arrivals_.erase(found);
}

void Engine::check_rows(int layer, Side side, int64_t first, const ConstRows& rows) const {
  const InputType input = pool_.kernels(layer).traits().input;
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

// To [tokens][heads][dim] on the device.
void Engine::upload_rows(const ConstRows& rows, float* to) {
  staged_rows_.clear();
  for (int64_t t = 0; t < rows.tokens; ++t) {
    for (int head = 0; head < rows.heads; ++head)
      staged_rows_.insert(staged_rows_.end(), rows.row(t, head), rows.row(t, head) + rows.dim);
  }
  check(cudaMemcpyAsync(to, staged_rows_.data(), staged_rows_.size() * sizeof(float),
                        cudaMemcpyHostToDevice, stream_),
        "rows to the device");
  stream_.wait();
}

}  // namespace kvx::gpu
