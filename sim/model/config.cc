#include "sim/model/config.h"

#include <fmt/format.h>

#include "sim/api/error.h"

namespace kvx::model {

void require_in_window(const ModelConfig& config, int64_t length) {
  if (config.sliding_window == 0 || length <= config.sliding_window) return;
  throw environment_error(fmt::format(
      "{} positions: the model's attention has a sliding window of {} (sliding_window), not "
      "supported: only texts that fit in the window are",
      length, config.sliding_window));
}

}  // namespace kvx::model
