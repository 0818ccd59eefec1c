#include "eval/calibration.h"

#include <fmt/core.h>
#include <omp.h>

#include <algorithm>
#include <chrono>
#include <exception>
#include <memory>
#include <vector>

#include "eval/backend.h"
#include "eval/progress.h"
#include "sim/api/error.h"

namespace kvx::eval {
namespace {

using Clock = std::chrono::steady_clock;
using Observe = std::function<void(const CalibrationRows&)>;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Parts of `length` tokens, the last one shorter; those of fewer than `least` are left out.
std::vector<std::span<const int32_t>> cut(std::span<const int32_t> tokens, int64_t length,
                                          int64_t least) {
  std::vector<std::span<const int32_t>> windows;
  while (!tokens.empty()) {
    const auto part = tokens.first(std::min(tokens.size(), static_cast<size_t>(length)));
    if (std::ssize(part) >= least) windows.push_back(part);
    tokens = tokens.subspan(part.size());
  }
  if (windows.empty())
    throw usage_error(fmt::format("--length {}: no window of {} or more tokens", length, least));
  return windows;
}

// Shows one window to `observe`.
using RunWindow =
    std::function<void(std::span<const int32_t> tokens, int64_t window, const Observe& observe)>;

RunWindow with_gradients(Backend& backend, int64_t longest, bool pre_rope) {
  const std::shared_ptr<model::LossGradient> gradient = backend.loss_gradient(longest);
  return [=](std::span<const int32_t> tokens, int64_t window, const Observe& observe) {
    gradient->run(tokens, [&](const model::KvGradient& of) {
      observe({.layer = of.layer,
               .window = window,
               .k = pre_rope ? of.k_pre : of.k,
               .v = of.v,
               .dk = pre_rope ? of.dk_pre : of.dk,
               .dv = of.dv});
    });
  };
}

RunWindow forward_only(Backend& backend, int64_t longest, bool pre_rope) {
  model::Transformer* const engine = &backend.engine(
      {.scheme = Descriptor::parse(kBaseScheme), .tokens = longest, .pass_rows = longest});
  return [=](std::span<const int32_t> tokens, int64_t window, const Observe& observe) {
    engine->set_tap([&](const model::LayerTap& tap) {
      observe({.layer = tap.layer,
               .window = window,
               .k = pre_rope ? tap.k_pre : tap.k,
               .v = tap.v,
               .dk = {},
               .dv = {}});
    });
    const model::Chunk chunk{.seq = engine->open(), .tokens = tokens};
    // The engine takes an empty list of wanted logits for all of them.
    const int64_t last = std::ssize(tokens) - 1;
    engine->forward({&chunk, 1}, [](int64_t, int64_t, const float*) {}, {&last, 1});
    engine->close(chunk.seq);
  };
}

void fit_pieces(Calibrator& calibrator, int threads) {
  const int64_t pieces = calibrator.pieces();
  Progress progress(pieces, false);
  std::exception_ptr failure;
#pragma omp parallel for schedule(dynamic) num_threads(threads)
  for (int64_t piece = 0; piece < pieces; ++piece) {
    try {
      calibrator.fit(piece);
    } catch (...) {
#pragma omp critical(kvx_fit_failure)
      failure = std::current_exception();
    }
#pragma omp critical(kvx_fit_progress)
    {
      progress.start("fit");
      progress.finish();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

CalibrationTime calibrate(const ModelText& in, int64_t length, std::string_view backend,
                          Calibrator& calibrator) {
  const CalibrationNeeds needs = calibrator.needs();
  const auto windows = cut(in.tokens, length, needs.tokens);
  model::require_in_window(in.checkpoint->config(), std::ssize(windows.front()));
  CalibrationTime time{.windows = std::ssize(windows)};
  Clock::time_point begin = Clock::now();
  {
    const std::unique_ptr<Backend> opened = open_backend(backend, *in.checkpoint, in.threads);
    const int64_t longest = std::ssize(windows.front());
    const bool pre_rope = needs.keys == KeySpace::kPreRope;
    const RunWindow run = needs.gradients ? with_gradients(*opened, longest, pre_rope)
                                          : forward_only(*opened, longest, pre_rope);
    Progress progress(time.windows, false);
    for (int64_t window = 0; window < time.windows; ++window) {
      progress.start("window");
      run(windows[static_cast<size_t>(window)], window,
          [&](const CalibrationRows& rows) { calibrator.observe(rows); });
      progress.finish();
    }
  }
  time.window_seconds = seconds_since(begin);
  begin = Clock::now();
  fit_pieces(calibrator, in.threads > 0 ? in.threads : omp_get_max_threads());
  time.fit_seconds = seconds_since(begin);
  return time;
}

}  // namespace kvx::eval
