#include "gpu/engine/memory_plan.h"

#include <algorithm>
#include <string>

#include "gpu/engine/workspace.h"
#include "sim/api/error.h"

namespace kvx::gpu {
namespace {

using model::ModelConfig;

std::vector<CacheConfig> layer_configs(const DeviceModel& model, const EngineSettings& settings) {
  const ModelConfig& c = model.config();
  std::vector<CacheConfig> layers;
  for (int64_t layer = 0; layer < c.layers; ++layer) {
    layers.push_back(
        {.shape = {.layer = static_cast<int>(layer),
                   .kv_heads = static_cast<int>(c.kv_heads),
                   .head_dim = static_cast<int>(c.head_dim)},
         .windows = settings.mode == model::CacheMode::kAll ? Windows::kNone : Windows::kKept,
         .nonfinite = settings.nonfinite,
         .arithmetic = settings.arithmetic,
         .artifacts = settings.artifacts,
         .rope_steps = model.host_rope_steps()});
  }
  return layers;
}

int64_t product_scratch(const Projection& w, int64_t rows) {
  int64_t most = 0;
  for (const Projection::Part& part : w.parts)
    most = std::max(most, matmul_scratch_floats(rows, part.weights.n(), part.weights.k()));
  return most;
}

std::string mib(int64_t bytes) { return std::to_string((bytes + (1 << 20) - 1) >> 20) + " MiB"; }

}  // namespace

int64_t scratch_floats(const DeviceModel& model, const SchemeKernels& kernels,
                       const CacheShape& shape, int64_t rows, int64_t logit_rows,
                       const Pass& bounds) {
  const DeviceLayer& layer = model.layers().front();  // all have one shape
  int64_t most =
      kernels.attend_scratch_floats(bounds, shape, static_cast<int>(model.config().heads));
  for (const Projection* w : {&layer.qkv, &layer.o, &layer.gate_up, &layer.down})
    most = std::max(most, product_scratch(*w, rows));
  return std::max(most, product_scratch(model.head(), logit_rows));
}

MemoryPlan plan_memory(const DeviceModel& model, const Descriptor& scheme,
                       const EngineSettings& settings) {
  const ModelConfig& c = model.config();
  const EngineLimits& limits = settings.limits;
  MemoryPlan plan;
  plan.layers = layer_configs(model, settings);
  const int32_t positions = static_cast<int32_t>(std::min<int64_t>(c.max_positions, INT32_MAX));
  plan.pool.sequences = std::max(limits.sequences, 1);
  plan.pool.tokens = limits.tokens > 0 ? std::min(limits.tokens, positions) : positions;
  const auto kernels = make_kernels(scheme, plan.layers.front());
  if (kernels == nullptr)
    throw usage_error("scheme " + std::string(scheme.name()) + " has no CUDA kernels");

  // For so many sequences.
  const CacheShape shape{.kv_heads = static_cast<int32_t>(c.kv_heads),
                         .head_dim = static_cast<int32_t>(c.head_dim),
                         .page_tokens = kSegment};
  const auto at_batch = [&](int32_t sequences) {
    MemoryPlan at = plan;
    at.pool.sequences = sequences;
    at.pass_rows = std::max(limits.pass_rows > 0 ? limits.pass_rows : plan.pool.tokens, sequences);
    at.logit_rows = LogitSlots::rows_at_once(c, at.pass_rows, sequences);
    const int32_t rows = static_cast<int32_t>(at.pass_rows);
    const Pass prefill{.span_count = sequences,
                       .rows = rows,
                       .max_count = std::min(rows, at.pool.tokens),
                       .max_length = at.pool.tokens};
    const Pass step{
        .span_count = sequences, .rows = sequences, .max_count = 1, .max_length = at.pool.tokens};
    for (const Pass& pass : {prefill, step}) {
      at.scratch_floats =
          std::max(at.scratch_floats,
                   scratch_floats(model, *kernels, shape, pass.rows, at.logit_rows, pass));
    }
    return at;
  };
  const auto bytes = [&](const MemoryPlan& at) {
    constexpr int64_t kOthers = int64_t{64} << 20;  // graphs, kernels that are still to be loaded
    return CachePool::bytes(scheme, at.layers, at.pool) +
           PassBuffers::bytes(c, at.pass_rows, kernels->traits().keys == KeySpace::kPreRope) +
           LogitSlots::bytes(c, at.logit_rows) + at.scratch_floats * int64_t{sizeof(float)} +
           kOthers;
  };
  const MemoryPlan whole = at_batch(plan.pool.sequences);
  const int64_t needed = bytes(whole), free = device_memory().first;
  if (needed <= free) return whole;

  int32_t fits = 0, too_many = plan.pool.sequences;
  while (too_many - fits > 1) {
    const int32_t middle = fits + (too_many - fits) / 2;
    (bytes(at_batch(middle)) <= free ? fits : too_many) = middle;
  }
  throw environment_error(
      "CUDA: device memory: " + std::to_string(plan.pool.sequences) + " sequences of " +
      std::to_string(plan.pool.tokens) + " tokens under " + std::string(scheme.name()) +
      " in passes of " + std::to_string(whole.pass_rows) + " tokens need " + mib(needed) + ", " +
      mib(free) + " are free: " +
      (fits > 0 ? "a batch of " + std::to_string(fits) + " fits" : "not even one sequence fits"));
}

}  // namespace kvx::gpu
