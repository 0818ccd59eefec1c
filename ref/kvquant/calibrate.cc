// Calibration of kvquant: ranges of channels, codebooks, Q-Norm (ref/kvquant/calibrate.md).
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ref/kvquant/codebook.h"
#include "ref/kvquant/elements.h"
#include "ref/kvquant/settings.h"
#include "sim/api/calibrator.h"
#include "sim/api/descriptor.h"
#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::ref {
namespace kvquant {
namespace {

constexpr std::array<Side, 2> kSides = {Side::kK, Side::kV};

// One side of one layer.
struct Observed {
  int64_t channels = 0;
  std::vector<Window> windows;  // by number
  std::vector<uint16_t> lo, hi;
  std::vector<float> codebook;
  QNorm qnorm;
};

[[noreturn]] void refuse(int layer, Side side, int head, int channel, const std::string& what) {
  throw environment_error("layer " + std::to_string(layer) + ", " + side_name(side) + ", head " +
                          std::to_string(head) + ", channel " + std::to_string(channel) + ": " +
                          what);
}

class KvquantCalibrator final : public Calibrator {
 public:
  explicit KvquantCalibrator(const Settings& settings) : settings_(settings) {}

  CalibrationNeeds needs() const override {
    return {.keys = settings_.pre_rope ? KeySpace::kPreRope : KeySpace::kRotated,
            .gradients = fits(),
            .tokens = std::max<int64_t>(fits() ? 2 : 1, settings_.sink + 1)};
  }

  void observe(const CalibrationRows& rows) override {
    observe(rows, Side::kK, rows.k, rows.dk);
    observe(rows, Side::kV, rows.v, rows.dv);
  }

  int64_t pieces() const override { return std::ssize(layers_) * 2; }

  void fit(int64_t piece) override {
    const Side side = kSides[static_cast<size_t>(piece % 2)];
    Observed& of = std::next(layers_.begin(), piece / 2)->second[static_cast<size_t>(piece % 2)];
    const Axis axis = settings_.axis(side);
    if (axis == Axis::kToken && !fits()) return;
    const Elements elements(of.windows, of.channels, axis, settings_.quantile, settings_.sink,
                            settings_.paper);
    for (const Range& range : elements.ranges()) {
      of.lo.push_back(num::f16_encode(range.lo + 0.0f));
      of.hi.push_back(num::f16_encode(range.hi + 0.0f));
    }
    if (!fits()) return;
    of.codebook = fit_codebook(elements, settings_.paper ? Weight::kFisherRange : Weight::kFisher,
                               settings_.codes());
    of.qnorm = fit_qnorm(elements, of.codebook);
  }

  void export_to(const Sink& sink) const override {
    for (const auto& [layer, sides] : layers_) {
      for (const Side side : kSides) {
        const Observed& of = sides[static_cast<size_t>(side)];
        const std::string name = "layers." + std::to_string(layer) + "." + side_name(side) + ".";
        if (settings_.axis(side) == Axis::kChannel) {
          sink(name + "lo", "F16", {of.channels}, std::as_bytes(std::span(of.lo)));
          sink(name + "hi", "F16", {of.channels}, std::as_bytes(std::span(of.hi)));
        }
        if (!fits()) continue;
        sink(name + "codebook", "F32", {settings_.codes()}, std::as_bytes(std::span(of.codebook)));
        const std::array<float, 2> qnorm = {of.qnorm.alpha, of.qnorm.beta};
        sink(name + "qnorm", "F32", {2}, std::as_bytes(std::span(qnorm)));
      }
    }
  }

 private:
  bool fits() const { return settings_.type == Type::kNuq; }

  void observe(const CalibrationRows& rows, Side side, ConstRows x, ConstRows gradient) {
    Observed& of = layers_[rows.layer][static_cast<size_t>(side)];
    of.channels = int64_t{x.heads} * x.dim;
    const size_t at = static_cast<size_t>(rows.window);
    if (of.windows.size() <= at) of.windows.resize(at + 1);
    Window& window = of.windows[at];
    window.tokens = x.tokens;
    window.values.reserve(static_cast<size_t>(x.tokens * of.channels));
    window.fisher.reserve(fits() ? window.values.capacity() : 0);
    for (int64_t token = 0; token < x.tokens; ++token) {
      for (int head = 0; head < x.heads; ++head) {
        for (int channel = 0; channel < x.dim; ++channel) {
          const float value = x.row(token, head)[channel];
          const uint16_t bits = num::f16_encode(value);
          if (!std::isfinite(num::f16_decode(bits)))
            refuse(rows.layer, side, head, channel,
                   std::to_string(value) + " is not finite in f16");
          window.values.push_back(bits);
          if (!fits()) continue;
          const float slope = gradient.row(token, head)[channel];
          const float fisher = slope * slope;
          if (!std::isfinite(fisher))
            refuse(rows.layer, side, head, channel,
                   "the square of the gradient " + std::to_string(slope) + " is not finite");
          window.fisher.push_back(fisher);
        }
      }
    }
  }

  Settings settings_;
  std::map<int, std::array<Observed, 2>> layers_;  // by side
};

}  // namespace
}  // namespace kvquant

std::unique_ptr<Calibrator> make_kvquant_calibrator(const Descriptor& descriptor) {
  const kvquant::Settings settings = kvquant::read_settings(descriptor);
  if (!settings.calibrated())
    throw usage_error("kvquant: " + descriptor.str() +
                      " needs no calibration; nuq, kaxis=channel and vaxis=channel do");
  return std::make_unique<kvquant::KvquantCalibrator>(settings);
}

}  // namespace kvx::ref
