#include "ref/kvquant/settings.h"

#include <cmath>
#include <string>

#include "sim/api/error.h"

namespace kvx::ref::kvquant {
namespace {

Axis axis_of(const Descriptor& descriptor, const char* key) {
  return descriptor.get_word(key) == "channel" ? Axis::kChannel : Axis::kToken;
}

}  // namespace

Settings read_settings(const Descriptor& descriptor) {
  Settings s;
  const std::string type = descriptor.get_word("type");
  s.type = type.starts_with("nuq") ? Type::kNuq : type.starts_with("nf") ? Type::kNf : Type::kInt;
  s.bits = type.back() - '0';
  s.outliers = descriptor.get_real("o");
  if (s.outliers > 0) {
    const double inverse = 2 / s.outliers;
    s.quantile = inverse <= 1e9 ? std::llround(inverse) : 0;
    if (s.quantile == 0 || std::abs(inverse - static_cast<double>(s.quantile)) > 1e-9 * inverse) {
      throw usage_error("kvquant: o=" + descriptor.get_word("o") +
                        ": 2/o must be a whole number up to 10^9");
    }
  }
  s.paper = descriptor.get_word("profile") == "paper";
  s.sink = descriptor.find_int("s").value_or(s.paper ? 1 : 0);
  s.qnorm = descriptor.has_flag("qnorm");
  s.axes = {axis_of(descriptor, "kaxis"), axis_of(descriptor, "vaxis")};
  s.pre_rope = descriptor.get_word("rope") == "pre";
  s.half_ranges = descriptor.get_word("zr") == "fp16";
  if (s.qnorm && s.type != Type::kNuq) {
    throw usage_error("kvquant: qnorm moves a calibrated codebook; " + type + " has none");
  }
  if (s.half_ranges && s.paper) {
    throw usage_error("kvquant: zr=fp16 is of profile=repo alone");
  }
  if (s.half_ranges && s.axes[0] == Axis::kToken && s.axes[1] == Axis::kToken) {
    throw usage_error("kvquant: zr=fp16 needs kaxis=channel or vaxis=channel");
  }
  return s;
}

int64_t outliers_per_side(const Settings& settings, int64_t channels) {
  return settings.sparse() ? (channels - 1) / settings.quantile + 1 : 0;
}

}  // namespace kvx::ref::kvquant
