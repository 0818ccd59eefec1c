// What a calibrator is shown: windows of a text through an exact model.
#pragma once

#include <cstdint>
#include <string_view>

#include "eval/model_text.h"
#include "sim/api/calibrator.h"

namespace kvx::eval {

struct CalibrationTime {
  int64_t windows = 0;
  double window_seconds = 0;
  double fit_seconds = 0;
};

// Shows the calibrator the text, `length` tokens at a time, each window a sequence of its own; the
// last may be shorter, and is left out where it has fewer tokens than needed. Then fits it. The
// model runs on `backend` (backend.h), which decides no bit of what is shown. Progress on standard
// error. Throws a usage Error where no window is left, an environment Error where the model's
// sliding window is shorter than a window, where there is no device or its memory does not suffice.
CalibrationTime calibrate(const ModelText& in, int64_t length, std::string_view backend,
                          Calibrator& calibrator);

}  // namespace kvx::eval
