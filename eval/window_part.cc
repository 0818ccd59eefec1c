#include "eval/window_part.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>

#include "eval/equality.h"
#include "eval/files.h"
#include "eval/interrupt.h"
#include "eval/ppl.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

class WindowPart final : public RunPart {
 public:
  explicit WindowPart(RunContext& run)
      : run_(run),
        in_(run.in),
        ppl_(*run.in.ppl),
        folder_(run.folder),
        base_(Descriptor::parse(kBaseScheme)) {}

  // Passes to be run, the base's among them where schemes need it again.
  int64_t missing() const override {
    int64_t count = 0;
    for (int64_t window = 0; window < ppl_.windows; ++window)
      for (const CacheMode mode : ppl_.modes)
        for (const std::string& backend : in_.backends) {
          const int64_t schemes = std::ssize(lacking(mode, window, backend));
          count += schemes + (schemes > 0 || run_.lacks(key(mode, window, base_), backend) ? 1 : 0);
        }
    return count;
  }

  bool run() override {
    for (int64_t window = 0; window < ppl_.windows; ++window)
      for (const CacheMode mode : ppl_.modes)
        if (!run_window(mode, window)) return false;
    return true;
  }

 private:
  static UnitKey key(CacheMode mode, int64_t window, const Descriptor& scheme) {
    return window_key(model::cache_mode_name(mode), window, scheme.versioned());
  }

  std::vector<Descriptor> lacking(CacheMode mode, int64_t window,
                                  const std::string& backend) const {
    std::vector<Descriptor> schemes;
    for (const Descriptor& scheme : in_.schemes)
      if (!(scheme == base_) && run_.lacks(key(mode, window, scheme), backend))
        schemes.push_back(scheme);
    return schemes;
  }

  bool run_window(CacheMode mode, int64_t window) {
    const Window cut{window_tokens(ppl_.cut, ppl_.tokens, window), first_scored(ppl_.cut, mode),
                     ppl_.cut.context};
    std::map<std::string, std::vector<Descriptor>> schemes;  // by backend
    for (const std::string& backend : in_.backends)
      schemes[backend] = lacking(mode, window, backend);
    const auto base_needed = [&](const std::string& backend) {
      return !schemes[backend].empty() || run_.lacks(key(mode, window, base_), backend);
    };
    const auto base_pass = [&](const std::string& backend, const PassSettings& settings) {
      return run_base(run_.opened(backend), cut, settings, !schemes[backend].empty(),
                      base_windows_[backend]);
    };
    if (!run_unit(mode, window, cut, base_, base_needed, base_pass)) return false;
    for (const Descriptor& scheme : in_.schemes) {
      const auto needed = [&](const std::string& backend) {
        return std::ranges::find(schemes[backend], scheme) != schemes[backend].end();
      };
      const auto pass = [&](const std::string& backend, const PassSettings& settings) {
        return run_scheme(run_.opened(backend), scheme, cut, settings, base_windows_[backend]);
      };
      if (!run_unit(mode, window, cut, scheme, needed, pass)) return false;
    }
    return true;
  }

  // On every backend that needs it; the first result, or the recorded one, is what the others must
  // be.
  template <class Needed, class RunPass>
  bool run_unit(CacheMode mode, int64_t window, const Window& cut, const Descriptor& scheme,
                const Needed& needed, const RunPass& pass) {
    const UnitKey unit = key(mode, window, scheme);
    std::optional<PassResult> first;
    for (const std::string& backend : in_.backends) {
      if (!needed(backend)) continue;
      if (interrupted()) return false;
      run_.progress->start(fmt::format("window {} {} {}{}", unit.item, unit.mode,
                                       scheme_label(unit.scheme), run_.backend_label(backend)));
      const PassSettings settings = settings_for(mode, unit, backend);
      PassResult result = pass(backend, settings);
      result.record.key = unit;
      result.record.window = window;
      result.record.protocol = protocol_name(ppl_.cut.protocol);
      if (result.mismatch) refuse(unit, backend, *result.mismatch);
      if (const WindowRecord* recorded = folder_.find_window(unit)) {
        check(*recorded, folder_.positions(*recorded), result, scheme, cut, settings);
        if (run_.lacks(unit, backend)) folder_.add_run(result.record);
      } else if (first) {
        check(first->record, first->scores, result, scheme, cut, settings);
        first->record.runs.push_back(result.record.runs.front());
      } else {
        first = std::move(result);
      }
      run_.progress->finish();
    }
    if (first) folder_.add(first->record, first->scores);
    return true;
  }

  PassSettings settings_for(CacheMode mode, const UnitKey& unit, const std::string& backend) const {
    PassSettings settings;
    settings.mode = mode;
    settings.nonfinite = in_.nonfinite;
    settings.arithmetic = in_.arithmetic;
    settings.threads = in_.threads;
    settings.artifacts = in_.artifacts.artifacts();
    if (backend != kCpu) {
      const std::string drawn = fmt::format("{}/{}", in_.seed, unit.str());
      settings.shadow = {in_.shadow_layers,
                         std::stoull(sha256_hex(drawn).substr(0, 16), nullptr, 16)};
      settings.rope_steps = model::rope_steps(*in_.checkpoint);
    }
    return settings;
  }

  [[noreturn]] void refuse(const UnitKey& unit, const std::string& backend,
                           const ShadowMismatch& mismatch) {
    folder_.add_difference({{"key", unit.str()},
                            {"backend", backend},
                            {"expected_of", "reference"},
                            {"level", mismatch.level},
                            {"places", Json::array({place_json(mismatch.place)})}});
    throw Error(Exit::kVerdict,
                fmt::format("{}: {}: {} differs from the reference at {}: {}", folder_.path(),
                            unit.str(), backend, mismatch.level, place_text(mismatch.place)));
  }

  // `again` must have the values of `expected`.
  void check(const WindowRecord& expected, const PositionScores& scores, const PassResult& again,
             const Descriptor& scheme, const Window& cut, const PassSettings& settings) {
    const auto value = first_difference(expected, scores, again.record, again.scores);
    if (!value) return;
    const std::string other = expected.runs.front().backend;
    const std::string backend = again.record.runs.front().backend;
    std::vector<Place> places;
    std::string where;
    if (other == backend) {
      where = "; the recorded values are of the same backend";
    } else {
      try {
        places = locate(run_.opened(other), run_.opened(backend), scheme, cut, settings);
        if (places.empty()) where = "; computed once more, every layer and logit is equal";
      } catch (const Error& error) {
        where = fmt::format("; not located: {}", error.what());
      }
    }
    Json json{{"key", again.record.key.str()}, {"backend", backend},
              {"expected_of", other},          {"level", "E3"},
              {"value", value_text(*value)},   {"places", Json::array()}};
    for (const Place& place : places) {
      where += fmt::format("; {}", place_text(place));
      json["places"].push_back(place_json(place));
    }
    folder_.add_difference(json);
    throw Error(Exit::kVerdict,
                fmt::format("{}: {}: {} does not give the values of {}: {}{}", folder_.path(),
                            again.record.key.str(), backend, other, value_text(*value), where));
  }

  RunContext& run_;
  const Inputs& in_;
  const PplInputs& ppl_;
  RunFolder& folder_;
  Descriptor base_;
  std::map<std::string, BaseWindow> base_windows_;
};

}  // namespace

std::unique_ptr<RunPart> window_part(RunContext& run) { return std::make_unique<WindowPart>(run); }

}  // namespace kvx::eval
