#include "eval/runner.h"

#include <fmt/core.h>

#include <memory>

#include "eval/interrupt.h"
#include "eval/ppl.h"
#include "eval/progress.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

class Runner {
 public:
  Runner(const Inputs& in, RunFolder& folder, bool quiet)
      : in_(in),
        folder_(folder),
        base_(Descriptor::parse(kBaseScheme)),
        progress_(count_missing(), quiet) {}

  // False: interrupted.
  bool run() {
    std::unique_ptr<model::Model> model;
    for (int64_t window = 0; window < in_.windows; ++window) {
      for (const CacheMode mode : in_.modes) {
        if (missing(mode, window).empty() && folder_.find(key(mode, window, base_))) continue;
        if (!model) model = std::make_unique<model::Model>(*in_.checkpoint);
        if (!run_window(*model, mode, window)) return false;
      }
    }
    return true;
  }

 private:
  static UnitKey key(CacheMode mode, int64_t window, const Descriptor& scheme) {
    return {model::cache_mode_name(mode), window, scheme.versioned()};
  }

  std::vector<Descriptor> missing(CacheMode mode, int64_t window) const {
    std::vector<Descriptor> schemes;
    for (const Descriptor& scheme : in_.schemes)
      if (!(scheme == base_) && !folder_.find(key(mode, window, scheme))) schemes.push_back(scheme);
    return schemes;
  }

  int64_t count_missing() const {
    int64_t count = 0;
    for (int64_t window = 0; window < in_.windows; ++window)
      for (const CacheMode mode : in_.modes) {
        const int64_t schemes = static_cast<int64_t>(missing(mode, window).size());
        count += schemes + (schemes > 0 || !folder_.find(key(mode, window, base_)) ? 1 : 0);
      }
    return count;
  }

  bool run_window(const model::Model& model, CacheMode mode, int64_t window) {
    const Window cut{window_tokens(in_.cut, in_.tokens, window), first_scored(in_.cut, mode),
                     in_.cut.context};
    const PassSettings settings{mode, in_.nonfinite, in_.threads, in_.artifacts.artifacts()};
    const std::vector<Descriptor> schemes = missing(mode, window);
    if (interrupted()) return false;
    start(key(mode, window, base_));
    PassResult base = run_base(model, cut, settings, !schemes.empty(), base_window_);
    base.record.key = key(mode, window, base_);
    base.record.protocol = protocol_name(in_.cut.protocol);
    if (const UnitRecord* recorded = folder_.find(base.record.key)) {
      if (to_json(*recorded).at("nll_mean") != to_json(base.record).at("nll_mean"))
        throw Error(Exit::kVerdict,
                    fmt::format("{}: {} measured again has another NLL than the recorded one",
                                folder_.path(), base.record.key.str()));
    } else {
      folder_.add(base.record, base.scores);
    }
    progress_.finish();
    for (const Descriptor& scheme : schemes) {
      if (interrupted()) return false;
      const UnitKey unit = key(mode, window, scheme);
      start(unit);
      PassResult result = run_scheme(model, scheme, cut, settings, base_window_);
      result.record.key = unit;
      result.record.protocol = protocol_name(in_.cut.protocol);
      folder_.add(result.record, result.scores);
      progress_.finish();
    }
    return true;
  }

  void start(const UnitKey& unit) {
    progress_.start(
        fmt::format("window {} {} {}", unit.window, unit.mode, scheme_label(unit.scheme)));
  }

  const Inputs& in_;
  RunFolder& folder_;
  Descriptor base_;
  BaseWindow base_window_;
  Progress progress_;
};

}  // namespace

bool run_missing(const Inputs& inputs, RunFolder& folder, bool quiet) {
  return Runner(inputs, folder, quiet).run();
}

}  // namespace kvx::eval
