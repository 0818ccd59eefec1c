// Calibrated scales of fp8: the greatest magnitude of a layer's K and V, of all heads or of each,
// over the greatest number of the format (ref/fp8.md, "Calibrated scales").
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <string>
#include <vector>

#include "ref/registry.h"
#include "sim/api/error.h"
#include "sim/num/formats.h"

namespace kvx::ref {
namespace {

class Fp8Calibrator final : public Calibrator {
 public:
  Fp8Calibrator(float largest, bool per_head) : largest_(largest), per_head_(per_head) {}

  CalibrationNeeds needs() const override { return {}; }

  void observe(const CalibrationRows& rows) override {
    observe(rows.layer, Side::kK, rows.k);
    observe(rows.layer, Side::kV, rows.v);
  }

  // scale = fl32(amax / largest), 1 where amax is 0
  void export_to(const Sink& sink) const override {
    for (const auto& [layer, sides] : amax_) {
      for (const Side side : {Side::kK, Side::kV}) {
        std::vector<float> scales = sides[static_cast<size_t>(side)];
        for (float& scale : scales) scale = scale == 0.0f ? 1.0f : scale / largest_;
        sink("layers." + std::to_string(layer) + "." + side_name(side) + ".scale", "F32",
             {static_cast<int64_t>(scales.size())}, std::as_bytes(std::span(scales)));
      }
    }
  }

 private:
  // amax: of the values as they are appended, rounded to fp16.
  void observe(int layer, Side side, ConstRows rows) {
    std::vector<float>& amax = amax_[layer][static_cast<size_t>(side)];
    amax.resize(per_head_ ? static_cast<size_t>(rows.heads) : 1);
    for (int64_t token = 0; token < rows.tokens; ++token) {
      for (int head = 0; head < rows.heads; ++head) {
        float& largest = amax[per_head_ ? static_cast<size_t>(head) : 0];
        for (int channel = 0; channel < rows.dim; ++channel) {
          const float x = num::f16_round(rows.row(token, head)[channel]);
          if (!std::isfinite(x)) {
            throw environment_error(
                "layer " + std::to_string(layer) + ", " + side_name(side) + ", head " +
                std::to_string(head) + ", channel " + std::to_string(channel) + ": " +
                std::to_string(rows.row(token, head)[channel]) + " is not finite in f16");
          }
          largest = std::max(largest, std::abs(x));
        }
      }
    }
  }

  float largest_;
  bool per_head_;
  std::map<int, std::array<std::vector<float>, 2>> amax_;  // by layer and side
};

}  // namespace

std::unique_ptr<Calibrator> make_fp8_calibrator(const Descriptor& descriptor) {
  const std::string scale = descriptor.get_word("scale");
  if (scale != "tensor" && scale != "head") {
    throw usage_error("fp8: scale=" + scale +
                      " needs no calibration; scale=tensor and scale=head do");
  }
  return std::make_unique<Fp8Calibrator>(descriptor.get_word("type") == "e5m2" ? 57344.0f : 448.0f,
                                         scale == "head");
}

}  // namespace kvx::ref
