#include "eval/runner.h"

#include <fmt/core.h>

#include <algorithm>
#include <map>
#include <memory>

#include "eval/equality.h"
#include "eval/files.h"
#include "eval/interrupt.h"
#include "eval/ppl.h"
#include "eval/progress.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

using model::CacheMode;

class Runner {
 public:
  Runner(const Inputs& in, RunFolder& folder, bool quiet, const BackendMaker& make)
      : in_(in),
        folder_(folder),
        make_(make),
        base_(Descriptor::parse(kBaseScheme)),
        progress_(count_missing(), quiet) {}

  // False: interrupted.
  bool run() {
    for (int64_t window = 0; window < in_.windows; ++window)
      for (const CacheMode mode : in_.modes)
        if (!run_window(mode, window)) return false;
    return true;
  }

 private:
  static UnitKey key(CacheMode mode, int64_t window, const Descriptor& scheme) {
    return {model::cache_mode_name(mode), window, scheme.versioned()};
  }

  bool lacks(const UnitKey& unit, const std::string& backend) const {
    const UnitRecord* recorded = folder_.find(unit);
    return recorded == nullptr || !recorded->has_run(backend);
  }

  std::vector<Descriptor> missing(CacheMode mode, int64_t window,
                                  const std::string& backend) const {
    std::vector<Descriptor> schemes;
    for (const Descriptor& scheme : in_.schemes)
      if (!(scheme == base_) && lacks(key(mode, window, scheme), backend))
        schemes.push_back(scheme);
    return schemes;
  }

  // Passes to be run, the base's among them where schemes need it again.
  int64_t count_missing() const {
    int64_t count = 0;
    for (int64_t window = 0; window < in_.windows; ++window)
      for (const CacheMode mode : in_.modes)
        for (const std::string& backend : in_.backends) {
          const int64_t schemes = std::ssize(missing(mode, window, backend));
          count += schemes + (schemes > 0 || lacks(key(mode, window, base_), backend) ? 1 : 0);
        }
    return count;
  }

  bool run_window(CacheMode mode, int64_t window) {
    const Window cut{window_tokens(in_.cut, in_.tokens, window), first_scored(in_.cut, mode),
                     in_.cut.context};
    std::map<std::string, std::vector<Descriptor>> schemes;  // by backend
    for (const std::string& backend : in_.backends)
      schemes[backend] = missing(mode, window, backend);
    const auto base_needed = [&](const std::string& backend) {
      return !schemes[backend].empty() || lacks(key(mode, window, base_), backend);
    };
    const auto base_pass = [&](const std::string& backend, const PassSettings& settings) {
      return run_base(opened(backend), cut, settings, !schemes[backend].empty(),
                      base_windows_[backend]);
    };
    if (!run_unit(mode, window, cut, base_, base_needed, base_pass)) return false;
    for (const Descriptor& scheme : in_.schemes) {
      const auto needed = [&](const std::string& backend) {
        return std::ranges::find(schemes[backend], scheme) != schemes[backend].end();
      };
      const auto pass = [&](const std::string& backend, const PassSettings& settings) {
        return run_scheme(opened(backend), scheme, cut, settings, base_windows_[backend]);
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
      progress_.start(fmt::format("window {} {} {}{}", unit.window, unit.mode,
                                  scheme_label(unit.scheme),
                                  in_.backends.size() > 1 ? " " + backend : ""));
      const PassSettings settings = settings_for(mode, unit, backend);
      PassResult result = pass(backend, settings);
      result.record.key = unit;
      result.record.protocol = protocol_name(in_.cut.protocol);
      if (result.mismatch) refuse(unit, backend, *result.mismatch);
      if (const UnitRecord* recorded = folder_.find(unit)) {
        check(*recorded, folder_.positions(*recorded), result, scheme, cut, settings);
        if (lacks(unit, backend)) folder_.add_run(result.record);
      } else if (first) {
        check(first->record, first->scores, result, scheme, cut, settings);
        first->record.runs.push_back(result.record.runs.front());
      } else {
        first = std::move(result);
      }
      progress_.finish();
    }
    if (first) folder_.add(first->record, first->scores);
    return true;
  }

  PassSettings settings_for(CacheMode mode, const UnitKey& unit, const std::string& backend) const {
    PassSettings settings;
    settings.mode = mode;
    settings.nonfinite = in_.nonfinite;
    settings.threads = in_.threads;
    settings.artifacts = in_.artifacts.artifacts();
    if (backend != kCpu) {
      const std::string drawn = fmt::format("{}/{}", in_.seed, unit.str());
      settings.shadow = {in_.shadow_layers,
                         std::stoull(sha256_hex(drawn).substr(0, 16), nullptr, 16)};
    }
    return settings;
  }

  Backend& opened(const std::string& name) {
    std::unique_ptr<Backend>& backend = backends_[name];
    if (!backend) backend = make_(name);
    return *backend;
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
  void check(const UnitRecord& expected, const PositionScores& scores, const PassResult& again,
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
        places = locate(opened(other), opened(backend), scheme, cut, settings);
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

  const Inputs& in_;
  RunFolder& folder_;
  const BackendMaker& make_;
  Descriptor base_;
  std::map<std::string, std::unique_ptr<Backend>> backends_;
  std::map<std::string, BaseWindow> base_windows_;
  Progress progress_;
};

}  // namespace

bool run_missing(const Inputs& inputs, RunFolder& folder, bool quiet, const BackendMaker& make) {
  return Runner(inputs, folder, quiet, make).run();
}

}  // namespace kvx::eval
