#include "eval/error_part.h"

#include <fmt/core.h>
#include <omp.h>

#include <bit>
#include <chrono>
#include <exception>
#include <vector>

#include "eval/error_layer.h"
#include "eval/interrupt.h"
#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/model/parallel.h"

namespace kvx::eval {
namespace {

using Clock = std::chrono::steady_clock;
using model::CacheMode;

// The first value that two backends do not share; empty: none.
std::string difference(const ErrorRecord& expected, const ErrorRecord& found) {
  for (size_t layer = 0; layer < expected.layers.size(); ++layer) {
    const LayerErrors &a = expected.layers[layer], &b = found.layers.at(layer);
    const std::pair<const char*, double LayerErrors::*> values[] = {
        {"k", &LayerErrors::k},
        {"v", &LayerErrors::v},
        {"weights", &LayerErrors::weights},
        {"out", &LayerErrors::out}};
    for (const auto& [name, value] : values)
      if (std::bit_cast<uint64_t>(a.*value) != std::bit_cast<uint64_t>(b.*value))
        return fmt::format("{} of layer {}: expected {} ({:016x}), found {} ({:016x})", name, layer,
                           a.*value, std::bit_cast<uint64_t>(a.*value), b.*value,
                           std::bit_cast<uint64_t>(b.*value));
  }
  return "";
}

class ErrorPart final : public RunPart {
 public:
  explicit ErrorPart(RunContext& run) : run_(run), in_(run.in), error_(*run.in.error) {
    schemes_.push_back(Descriptor::parse(kBaseScheme));
    for (const Descriptor& scheme : in_.schemes)
      if (!(scheme == schemes_.front())) schemes_.push_back(scheme);
  }

  int64_t missing() const override {
    int64_t count = 0;
    for (int64_t window = 0; window < error_.windows; ++window)
      for (const std::string& backend : in_.backends) {
        const int64_t units = std::ssize(lacking(window, backend));
        count += units + (units > 0 ? 1 : 0);
      }
    return count;
  }

  bool run() override {
    for (int64_t window = 0; window < error_.windows; ++window)
      for (const std::string& backend : in_.backends)
        if (!run_window(window, backend)) return false;
    return true;
  }

 private:
  struct Unit {
    CacheMode mode;
    const Descriptor* scheme;
    UnitKey key;
  };

  std::vector<Unit> lacking(int64_t window, const std::string& backend) const {
    std::vector<Unit> units;
    for (const CacheMode mode : error_.modes)
      for (const Descriptor& scheme : schemes_) {
        Unit unit{mode, &scheme,
                  error_key(model::cache_mode_name(mode), window, scheme.versioned())};
        if (run_.lacks(unit.key, backend)) units.push_back(std::move(unit));
      }
    return units;
  }

  bool run_window(int64_t window, const std::string& backend) {
    const std::vector<Unit> units = lacking(window, backend);
    if (units.empty()) return true;
    if (interrupted()) return false;
    run_.progress->start(
        fmt::format("error window {} {}{}", window, kBaseScheme, run_.backend_label(backend)));
    const std::vector<LayerActivations> base = activations(window, backend);
    run_.progress->finish();
    for (const Unit& unit : units) {
      if (interrupted()) return false;
      run_.progress->start(fmt::format("error window {} {} {}{}", window, unit.key.mode,
                                       unit.scheme->str(), run_.backend_label(backend)));
      record(measured(unit, window, backend, base));
      run_.progress->finish();
    }
    return true;
  }

  // A rounding of nothing: what attention reads is the same in every cache mode.
  std::vector<LayerActivations> activations(int64_t window, const std::string& backend) {
    const Window cut{.tokens = window_tokens(error_.cut, error_.tokens, window),
                     .first = error_.cut.length - 1};
    ActivationsListener listener(in_.checkpoint->config());
    const PassSettings settings{.nonfinite = in_.nonfinite, .threads = in_.threads};
    run_pass(run_.opened(backend), Descriptor::parse(kBaseScheme), cut, settings,
             {.judge = {}, .listeners = {&listener}, .context = nullptr, .judge_context = {}});
    return listener.take();
  }

  ErrorRecord measured(const Unit& unit, int64_t window, const std::string& backend,
                       const std::vector<LayerActivations>& base) const {
    const Clock::time_point begin = Clock::now();
    const std::vector<LayerResult> results = layers(unit, base);
    ErrorRecord record;
    record.key = unit.key;
    record.window = window;
    record.tokens = error_.cut.length;
    for (const LayerResult& layer : results) {
      record.layers.push_back(layer.errors);
      for (const size_t side : {0, 1}) {
        record.bytes[side] += layer.bytes[side];
        record.nominal[side] += layer.nominal[side];
      }
    }
    for (double& bits : record.nominal) bits /= static_cast<double>(results.size());
    const model::ModelConfig& config = in_.checkpoint->config();
    record.values = config.layers * config.kv_heads * config.head_dim * record.tokens;
    record.runs = {{.backend = backend,
                    .seconds = std::chrono::duration<double>(Clock::now() - begin).count(),
                    .shadow = {}}};
    return record;
  }

  // The reference's caches, one a layer, side by side.
  std::vector<LayerResult> layers(const Unit& unit,
                                  const std::vector<LayerActivations>& base) const {
    const StoredCacheFactory make = in_.artifacts.factory(*unit.scheme);
    const std::vector<uint64_t> rope_steps = model::rope_steps(*in_.checkpoint);
    std::vector<LayerResult> results(base.size());
    std::vector<std::exception_ptr> failures(base.size());
    const int threads = in_.threads > 0 ? in_.threads : omp_get_max_threads();
    model::parallel_for(threads, std::ssize(base), [&](int64_t i) {
      const size_t layer = static_cast<size_t>(i);
      try {
        const auto cache =
            make({.shape = {static_cast<int>(layer), base[layer].kv_heads, base[layer].dim},
                  .windows = unit.mode == CacheMode::kAll ? Windows::kNone : Windows::kKept,
                  .nonfinite = in_.nonfinite,
                  .arithmetic = scheme_arithmetic(*unit.scheme, in_.arithmetic),
                  .artifacts = in_.artifacts.artifacts(),
                  .rope_steps = rope_steps});
        results[layer] = layer_result(*cache, base[layer], unit.mode);
      } catch (...) {
        failures[layer] = std::current_exception();
      }
    });
    for (const std::exception_ptr& failure : failures)
      if (failure) std::rethrow_exception(failure);
    return results;
  }

  void record(ErrorRecord found) {
    const ErrorRecord* recorded = run_.folder.find_error(found.key);
    if (recorded == nullptr) {
      run_.folder.add(std::move(found));
      return;
    }
    const std::string value = difference(*recorded, found);
    if (value.empty()) {
      run_.folder.add_run(found);
      return;
    }
    throw Error(Exit::kVerdict, run_.add_difference(*recorded, found, value));
  }

  RunContext& run_;
  const Inputs& in_;
  const ErrorInputs& error_;
  std::vector<Descriptor> schemes_;
};

}  // namespace

std::unique_ptr<RunPart> error_part(RunContext& run) { return std::make_unique<ErrorPart>(run); }

}  // namespace kvx::eval
