#include "eval/bench/measure.h"

#include <fmt/core.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "eval/backend.h"
#include "eval/bench/decode_bench.h"
#include "eval/bench/host_layer.h"
#include "eval/build_info.h"
#include "gpu/bench/registry.h"
#include "sim/api/error.h"
#include "sim/gen/fill.h"

namespace kvx::bench {
namespace {

constexpr int64_t kBlockValues = int64_t{1} << 22;  // of one side
constexpr uint64_t kSeed = 1;

Record measure_one(const Plan& plan, LayerBench& layer, const Descriptor& scheme,
                   const BenchShape& shape, Arithmetic arithmetic, BenchOp op) {
  const BenchTimes times = layer.time(op, plan.samples);
  const int64_t held = layer.used(Side::kK).total() + layer.used(Side::kV).total();
  const int64_t tokens = layer.length(BenchOp::kAppend);
  const auto values = static_cast<double>(2 * shape.sequences * tokens * shape.kv_heads) *
                      static_cast<double>(shape.head_dim * layer.layers());
  return {.session = 0,
          .op = op,
          .name = scheme.versioned(),
          .arithmetic = arithmetic_name(arithmetic),
          .model = plan.model,
          .shape = shape,
          .length = layer.length(op),
          .bytes = layer.bytes(op),
          .bits = 8.0 * static_cast<double>(held) / values,
          .seconds = spread_of(times.seconds),
          .calls = times.calls,
          .buffers = times.buffers,
          .cold = times.cold,
          .clock_mhz = times.clock_mhz,
          .check = {}};
}

}  // namespace

std::string device_name(const Plan& plan) {
  return plan.backend == eval::kCpu ? eval::host_info().cpu : gpu::device_info().name;
}

Machine open_machine(const Plan& plan) {
  Machine machine;
  machine.device = device_name(plan);
  if (plan.backend == eval::kCpu) {
    const HostRates rates = host_rates(plan.samples);
    machine.read = spread_of(rates.read);
    machine.copy = spread_of(rates.copy);
    machine.make = [&plan](const Descriptor& scheme, const CacheConfig& config,
                           const BenchShape& shape, const BenchInputs& inputs) {
      return make_host_layer(plan.artifacts.factory(scheme), config, shape, inputs);
    };
  } else {
    const gpu::MemoryRates rates = gpu::memory_rates(plan.samples);
    machine.read = spread_of(rates.read);
    machine.copy = spread_of(rates.copy);
    machine.make = gpu::make_layer_bench;
  }
  if (!plan.model.empty()) machine.make = decode_benches(plan);
  return machine;
}

BenchInputs bench_inputs(const BenchShape& shape) {
  const int64_t row_values = int64_t{shape.kv_heads} * shape.head_dim;
  BenchInputs inputs;
  inputs.rows = std::clamp<int64_t>(kBlockValues / row_values, 255, 4095) | 1;
  const gen::FillShape kv{.heads = shape.kv_heads, .dim = shape.head_dim};
  const auto filled = [](gen::Fill fill, uint32_t tensor, gen::FillShape of, int64_t rows) {
    std::vector<float> values(static_cast<size_t>(rows * of.heads * of.dim));
    gen::fill(fill, kSeed, tensor, of, 0, values);
    return values;
  };
  const bool even = shape.head_dim % 2 == 0;
  inputs.k = filled(even ? gen::Fill::kRopeKeys : gen::Fill::kHeavy, 0, kv, inputs.rows);
  inputs.v = filled(gen::Fill::kHeavy, 1, kv, inputs.rows);
  inputs.q = filled(gen::Fill::kNormal, 2, {.heads = shape.q_heads, .dim = shape.head_dim},
                    shape.sequences * shape.queries);
  for (float& x : inputs.q) x *= 0.125f;
  return inputs;
}

void measure(const Plan& plan, const Machine& machine, Document& document, const Watch& watch) {
  Session& session = document.sessions.back();
  std::exception_ptr refused;
  bool measured = false;
  for (const BenchShape& shape : plan.shapes) {
    const BenchInputs inputs = bench_inputs(shape);
    for (const auto& [scheme, arithmetic] : plan.subjects) {
      if (watch.stop()) return;
      const std::string subject = fmt::format("{}, {}", scheme.str(), shape_text(shape));
      watch.start(subject);
      std::unique_ptr<LayerBench> layer;
      try {
        layer = machine.make(scheme, config_of(plan, shape, arithmetic), shape, inputs);
      } catch (const Error& error) {
        if (error.exit() != Exit::kEnvironment) throw;
        refused = std::current_exception();
        session.absent.push_back({subject, error.what()});
        for (size_t i = 0; i < plan.ops.size(); ++i) watch.done();
        continue;
      }
      for (const BenchOp op : plan.ops) {
        if (watch.stop()) return;
        if (layer->has(op)) {
          Record record = measure_one(plan, *layer, scheme, shape, arithmetic, op);
          record.session = document.sessions.size() - 1;
          add_record(document, std::move(record));
          measured = true;
        }
        watch.done();
      }
    }
  }
  if (!measured && refused) std::rethrow_exception(refused);
}

}  // namespace kvx::bench
